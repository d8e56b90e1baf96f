"""Typing into the page."""

from __future__ import annotations

import pytest
from browsing import MANY, PAUSE, WHALE, Visit, hits, said, searches, wait_for
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_it_is_ready_to_type_in_and_says_what_it_is(visit: Visit) -> None:
    page = visit()
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.locator(".welcome .lead")).to_be_visible()
    expect(page.locator("#about")).to_have_text("67 documents in books")
    page.keyboard.type("dracula")
    expect(hits(page)).to_have_count(1)
    expect(page).to_have_title("dracula · findling")


def test_an_example_can_be_clicked(visit: Visit) -> None:
    page = visit()
    page.get_by_role("link", name=WHALE).click()
    expect(page.get_by_role("searchbox")).to_have_value(WHALE)
    expect(page.get_by_role("heading", name="Moby-Dick; or, The Whale")).to_be_visible()
    assert said(page) == {"q": [WHALE]}


def test_typing_searches_once_it_pauses_and_makes_one_visit(visit: Visit) -> None:
    page = visit(before=lambda page: page.clock.install(time=0))
    expect(page.locator(".welcome")).to_be_visible()
    page.clock.pause_at(60_000)
    before = page.evaluate("history.length")
    bodies = searches(page)
    for words in ("treasure", " island"):
        page.keyboard.type(words)
        page.clock.run_for(PAUSE - 10)
        assert [body["q"] for body in bodies] == (["treasure"] if words == " island" else [])
        with page.expect_response("**/search"):
            page.clock.run_for(20)
    expect(page.locator("#hits mark")).to_have_text(["Treasure", "Island"])
    assert [body["q"] for body in bodies] == ["treasure", "treasure island"]
    assert said(page) == {"q": ["treasure island"]}
    assert page.evaluate("history.length") == before + 1


def test_enter_searches_at_once(visit: Visit) -> None:
    page = visit()
    expect(page.locator(".welcome")).to_be_visible()
    # In the page's own clock, so that a slow machine cannot make a pause of it.
    page.evaluate(
        """() => {
            const real = window.fetch;
            window.fetch = (...all) => {
                window.waited = performance.now() - window.began;
                return real(...all);
            };
            const box = document.getElementById("q");
            window.began = performance.now();
            box.value = "solaris";
            box.dispatchEvent(new Event("input", { bubbles: true }));
            box.form.requestSubmit();
        }"""
    )
    expect(hits(page)).to_have_count(1)
    assert page.evaluate("window.waited") < PAUSE / 2


def test_new_words_start_at_the_top(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    page.mouse.wheel(0, 900)
    wait_for(page, "scrollY > 800")
    page.get_by_role("searchbox").fill("kitchens")
    expect(page.locator("#hits mark").first).to_have_text("Kitchens")
    wait_for(page, "scrollY === 0")


def test_a_late_answer_to_an_older_question_is_not_shown(visit: Visit) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "dracula" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page = visit(before=lambda page: page.route("**/search", hold), forgive="net::ERR")
    gone: list[str] = []
    page.on("requestfailed", lambda request: gone.append(request.failure or ""))
    page.keyboard.type("dracula")
    page.keyboard.press("Enter")
    expect(page.locator("body.searching")).to_be_attached()
    page.keyboard.type(" frankenstein")
    page.keyboard.press("Control+a")
    page.keyboard.type("frankenstein")
    page.keyboard.press("Enter")
    expect(page.locator("#hits h2")).to_have_text(["Frankenstein"])
    assert len(held) >= 1
    assert any("ABORTED" in reason for reason in gone)
    expect(page.locator("body.searching")).to_have_count(0)


def test_esc_clears_and_slash_comes_back(visit: Visit) -> None:
    page = visit("?q=dracula&where=year%20%3D%201897")
    expect(hits(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator("#asked")).to_be_hidden()
    assert said(page) == {}
    page.locator(".examples a").first.focus()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.get_by_role("searchbox")).to_have_value("")
