"""Results as covers."""

from __future__ import annotations

import pytest
from browsing import MANY, Visit, answering, hits, likes, said, searches, titles, wait_for
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_results_can_be_looked_at_as_covers(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    bodies = searches(page)
    page.get_by_role("radio", name="Covers").check()
    assert said(page) == {"q": [MANY], "view": ["covers"]}
    tops = hits(page).evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert tops.count(tops[0]) >= 4
    title = hits(page).first.locator(".text")
    expect(title).to_have_css("opacity", "0")
    expect(page.get_by_role("article", name=titles(page)[0])).to_have_count(1)
    hits(page).first.hover()
    expect(title).to_have_css("opacity", "1")
    page.get_by_role("button", name="Show more").click()
    expect(hits(page)).to_have_count(45)
    page.get_by_role("radio", name="List").check()
    assert "view" not in said(page)
    assert len(bodies) == 1  # only for more: the view asks nothing
    page.go_back()
    expect(page.get_by_role("radio", name="Covers")).to_be_checked()
    expect(page.locator("#hits.covers")).to_have_count(1)


def test_covers_load_as_they_come_near_and_move_nothing(visit: Visit) -> None:
    shifts = """new PerformanceObserver(list => {
        for (const one of list.getEntries()) window.shifted = (window.shifted ?? 0) + one.value;
    }).observe({ type: "layout-shift", buffered: true });"""
    documents = [{"id": f"p{i}", "title": f"Book {i}", "cover_url": f"{i}.jpg"} for i in range(200)]
    loaded: list[str] = []

    def before(page: Page) -> None:
        page.add_init_script(shifts)
        page.route("**/search", answering(*documents))
        page.on("request", lambda request: loaded.append(request.url) if "/picture" in request.url else None)

    page = visit("?q=x&view=covers", before=before)
    expect(hits(page)).to_have_count(200)
    expect(page.locator(".cover img").first).to_have_js_property("complete", True)
    page.wait_for_timeout(200)
    assert 5 <= (at_first := len(loaded)) < 150
    page.evaluate("window.shifted = 0")
    hits(page).nth(120).scroll_into_view_if_needed()
    expect(hits(page).nth(120).locator(".cover img")).to_have_js_property("complete", True)
    assert len(loaded) > at_first
    assert page.evaluate("window.shifted") < 0.05
    frames = page.locator(".cover").evaluate_all("all => all.map(one => one.offsetWidth / one.offsetHeight)")
    assert all(abs(ratio - 2 / 3) < 0.01 for ratio in frames)


def test_the_keyboard_moves_among_covers_by_rows_and_opens_one(visit: Visit) -> None:
    page = visit("?q=" + MANY + "&view=covers")
    expect(hits(page)).to_have_count(24)
    across = page.evaluate(
        "getComputedStyle(document.getElementById('hits')).gridTemplateColumns.split(' ').length"
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(hits(page).nth(across)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(hits(page).nth(across + 1)).to_be_focused()
    expect(hits(page).nth(across + 1).locator(".text")).to_have_css("opacity", "1")
    page.keyboard.press("Enter")
    panel = hits(page).nth(across + 1).locator(".details")
    expect(panel.locator(".name")).to_have_text(titles(page)[across + 1])
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name=f"Details: {titles(page)[across + 1]}")).to_be_focused()
    page.keyboard.press("Tab")
    expect(likes(panel)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expect(hits(page).nth(0)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("searchbox")).to_be_focused()


@pytest.mark.parametrize("view", ["", "&view=covers"])
def test_details_are_as_wide_as_all_columns_and_cover_no_card(visit: Visit, view: str) -> None:
    page = visit("?q=" + MANY + view)
    expect(hits(page)).to_have_count(24)
    places = """() => {
        const box = one => one.getBoundingClientRect();
        const panels = [...document.querySelectorAll(".details:not([hidden])")];
        const hits = box(document.getElementById("hits"));
        return panels.map(panel => {
            const { top, bottom, left, right } = box(panel);
            const texts = [...document.querySelectorAll("#hits .text, #hits .cover")].map(box);
            return {
                gaps: [left - hits.left, hits.right - right],
                covered: texts.filter(one => one.bottom > top + 1 && one.top < bottom - 1).length,
                id: panel.closest("li").dataset.id,
            };
        });
    }"""

    def opened(at: int) -> None:
        one = hits(page).nth(at)
        (one.locator(".cover") if view else one.locator(".toggle")).click()

    opened(1)
    for width in (1280, 700, 360):
        page.set_viewport_size({"width": width, "height": 900})
        wait_for(page, "document.querySelectorAll('.details:not([hidden])').length === 1")
        page.wait_for_timeout(50)
        (found,) = page.evaluate(places)
        assert found["covered"] == 0
        assert all(abs(gap) < 2 for gap in found["gaps"])
    page.set_viewport_size({"width": 1280, "height": 900})
    likes(hits(page).nth(1)).first.hover()  # nothing lies over it
    opened(0)  # in the same row, where there is room for one
    (found,) = page.evaluate(places)
    assert found["id"] == hits(page).nth(0).evaluate("one => one.parentElement.dataset.id")


def test_on_a_phone_covers_have_their_titles_below(visit: Visit) -> None:
    page = visit("?q=" + MANY + "&view=covers", width=360, height=740, has_touch=True, is_mobile=True)
    expect(hits(page)).to_have_count(24)
    places = hits(page).first.evaluate(
        "one => ['.cover', '.text'].map(name => one.querySelector(name).getBoundingClientRect().toJSON())"
    )
    assert places[1]["top"] >= places[0]["bottom"]
    expect(hits(page).first.locator(".text")).to_have_css("opacity", "1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_first_year_stands_before_the_year_of_the_edition(visit: Visit) -> None:
    years = [(2001, 1851), (1851, 1851), (2001, None), (None, 1851), (None, None)]
    documents = [{"title": f"Book {i}", "year": a, "first_year": b} for i, (a, b) in enumerate(years)]
    served = {"name": "books", "title": "title", "columns": ["title", "authors", "year", "first_year"]}

    def before(page: Page) -> None:
        page.route("**/collections", lambda route: route.fulfill(json={"collections": [served]}))
        page.route("**/search", answering(*documents))

    page = visit("?q=x", before=before)
    expect(hits(page)).to_have_count(5)
    expect(page.locator("#hits .card > .text > .by")).to_have_text(
        ["1851; this edition 2001", "1851", "2001", "1851"]
    )
