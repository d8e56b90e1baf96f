"""The page when nothing is found, or something failed."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from browsing import MANY, WHALE, Visit, answering, failing, hits, searches
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_nothing_found_says_what_can_be_done(visit: Visit) -> None:
    page = visit("?q=dracula&where=year%20%3D%201851&mode=lexical")
    expect(page.get_by_role("status")).to_have_text("No results in 3.2 ms")
    expect(page.get_by_role("heading", name="Nothing was found.")).to_be_visible()
    expect(page.get_by_role("link", name="Search by meaning instead of by words")).to_be_visible()
    page.get_by_role("link", name="Search without the filter").click()
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])


def test_a_service_out_of_reach_can_be_asked_again(visit: Visit) -> None:
    page = visit(
        "", before=lambda page: page.route("**/collections", lambda route: route.abort()), forgive="net::ERR"
    )
    expect(page.get_by_role("alert")).to_contain_text("The search service cannot be reached.")
    page.keyboard.type("dracula")
    page.unroute("**/collections")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("searchbox").fill("solaris")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_role("searchbox")).to_have_value("solaris")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#hits h2")).to_have_text(["Solaris"])


def test_a_busy_service_is_asked_again_when_it_said(visit: Visit) -> None:
    busy = failing(
        503,
        {"title": "Overloaded", "detail": "64 searches wait already.", "code": "overloaded"},
        **{"retry-after": "1"},
    )
    page = visit(forgive="503", before=lambda page: page.clock.install(time=0))
    expect(page.locator(".welcome")).to_be_visible()
    page.clock.pause_at(60_000)
    page.route("**/search", busy, times=1)
    page.keyboard.type("dracula")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("It asks us to come back in a second.")
    expect(page.get_by_role("alert")).to_contain_text("64 searches wait already.")
    page.clock.run_for(10)
    expect(page.get_by_role("button", name="Try again")).to_contain_text("by itself in 1 s")
    page.clock.run_for(1500)
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])


def test_a_service_that_stays_busy_is_not_hammered(visit: Visit) -> None:
    page = visit("", forgive="503")
    page.clock.install()
    page.route("**/search", failing(503, {"title": "Overloaded"}, **{"retry-after": "2"}))
    bodies = searches(page)
    page.keyboard.type("dracula")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    for _ in range(6):
        page.clock.run_for(3000)
        expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")  # however slow the machine
        expect(page.get_by_role("alert")).to_be_visible()
    assert len(bodies) == 4  # once for Enter, and three times by itself
    expect(page.get_by_role("button", name="Try again")).to_have_text("Try again")


def test_a_filter_that_cannot_be_read_is_explained(visit: Visit) -> None:
    page = visit("?q=dracula&where=year%20!!%203", forgive="400")
    expect(page.get_by_role("alert")).to_contain_text("cannot read the filter at 'year !! 3'")
    expect(page.locator(".failed")).to_contain_text("status 400 · bad-query")
    page.get_by_role("link", name="Search without the filters").click()
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])


def test_an_answer_that_is_no_json_is_a_failure_not_a_blank_page(visit: Visit) -> None:
    page = visit(
        "?q=dracula", before=lambda page: page.route("**/search", lambda route: route.fulfill(body="<html>"))
    )
    expect(page.get_by_role("alert")).to_contain_text("The search service failed.")


def test_a_failure_of_more_keeps_what_is_there(visit: Visit) -> None:
    page = visit("?q=" + MANY, forgive="net::ERR")
    expect(hits(page)).to_have_count(24)
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#further").get_by_role("alert")).to_be_visible()
    expect(hits(page)).to_have_count(24)
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(hits(page)).to_have_count(45)


def test_a_link_to_a_collection_that_is_gone_names_the_others(visit: Visit) -> None:
    page = visit("?collection=records&q=dracula")
    expect(page.get_by_role("heading", name="There is no collection of that name.")).to_be_visible()
    page.get_by_role("link", name="books").click()
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])


def test_no_collection_at_all_says_how_to_make_one(visit: Visit) -> None:
    empty: dict[str, list[str]] = {"collections": []}
    page = visit(before=lambda page: page.route("**/collections", lambda route: route.fulfill(json=empty)))
    expect(page.get_by_role("heading", name="Nothing is published yet.")).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("findling build")


def test_an_incomplete_answer_says_so(visit: Visit) -> None:
    page = visit(
        "?q=x", before=lambda page: page.route("**/search", answering({"title": "One"}, degraded=True))
    )
    expect(page.locator("#degraded")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("1 result in 1.0 ms")


def test_waiting_shows_shapes_and_moves_nothing(visit: Visit) -> None:
    shifts = """new PerformanceObserver(list => {
        for (const one of list.getEntries()) window.shifted = (window.shifted ?? 0) + one.value;
    }).observe({ type: "layout-shift", buffered: true });"""

    held: list[Route] = []

    def before(page: Page) -> None:
        page.add_init_script(shifts)
        page.route("**/search", lambda route: held.append(route))  # noqa: PLW0108 - no builtin passes

    page = visit("?q=" + quote(WHALE), before=before)
    expect(page.locator("#hits")).to_have_attribute("aria-busy", "true")
    expect(page.locator(".ghost").first).to_be_visible()
    held[0].continue_()
    expect(hits(page).first).to_be_visible()
    expect(page.locator(".ghost")).to_have_count(0)
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")
    page.wait_for_timeout(100)
    assert (page.evaluate("window.shifted") or 0) < 0.05
