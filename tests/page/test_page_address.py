"""The page's address: what it shares, restores and goes back to."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from browsing import MANY, WHALE, Visit, hits, likes, said, searches, titles, wait_for
from playwright.sync_api import Route, expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_the_mode_can_be_switched_and_explains_itself(visit: Visit) -> None:
    page = visit("?q=whale")
    expect(hits(page).first).to_be_visible()
    bodies = searches(page)
    expect(page.get_by_role("radio", name="Both")).to_be_checked()
    page.get_by_role("radio", name="Words").check()
    expect(page.locator("#hint")).to_have_text("where these very words stand")
    assert said(page) == {"q": ["whale"], "mode": ["lexical"]}
    page.get_by_role("radio", name="Both").check()
    expect(page.locator("#hint")).to_have_text("by meaning and by words together")
    assert said(page) == {"q": ["whale"]}
    assert [body.get("mode") for body in bodies] == ["lexical", "hybrid"]


def test_words_can_be_compared_with_what_pictures_show(visit: Visit) -> None:
    page = visit("?q=whale")
    expect(hits(page).first).to_be_visible()
    bodies = searches(page)
    page.get_by_role("radio", name="Looks").check()
    expect(page.locator("#hint")).to_have_text("what its picture shows")
    assert said(page) == {"q": ["whale"], "mode": ["looks"]}
    assert [(body["mode"], body["field"]) for body in bodies] == [("semantic", "cover")]
    page.get_by_role("radio", name="Meaning").check()
    expect(page.locator("#hint")).to_have_text("what it is about, in whatever words")
    assert "field" not in bodies[-1]


def test_without_pictures_there_are_no_looks_to_search_by(visit: Visit, url_of_two: str) -> None:
    page = visit("?collection=titles&q=whale&mode=looks", base=url_of_two)
    expect(page.get_by_role("radio", name="Both")).to_be_checked()
    expect(page.get_by_role("radio", name="Looks")).to_have_count(0)


def test_more_like_this_is_a_link_and_back_returns(visit: Visit) -> None:
    page = visit("?q=" + quote(WHALE))
    expect(hits(page).first).to_be_visible()
    first = titles(page)
    bodies = searches(page)
    link = page.get_by_role("link", name="More like this: Moby-Dick; or, The Whale")
    expect(link).to_have_attribute("href", "?like=OL1M")
    link.click()
    expect(page.get_by_role("link", name="Take back: Like Moby-Dick; or, The Whale")).to_be_visible()
    expect(page.get_by_role("heading", name="Treasure Island")).to_be_visible()
    assert bodies == [{"k": 24, "offset": 0, "like": "OL1M", "facets": ["year", "subjects", "language"]}]
    assert "Moby-Dick; or, The Whale" not in titles(page)
    expect(page.get_by_role("searchbox")).to_have_value("")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value(WHALE)
    expect(page.locator("#hits h2")).to_have_text(first)
    page.go_forward()
    expect(page.get_by_role("heading", name="Treasure Island")).to_be_visible()
    assert len(bodies) == 1  # both answers were remembered
    page.keyboard.press("/")
    page.keyboard.type("dracula")
    expect(page.locator("#hits h2")).to_have_text(["Dracula"])
    assert said(page) == {"q": ["dracula"]}


def test_a_shared_link_restores_everything(visit: Visit) -> None:
    link = "?q=guide&mode=semantic&where=subjects%20contains%20'Reader''s%20companions'&offset=24"
    page = visit(link)
    expect(page.get_by_role("searchbox")).to_have_value("guide")
    expect(page.get_by_role("radio", name="Meaning")).to_be_checked()
    expect(page.locator("#asked .what")).to_have_text(["Reader's companions"])
    expect(hits(page)).to_have_count(45)
    page.goto(page.url.split("?")[0] + "?like=OL1M")
    expect(page.locator("#asked .what")).to_have_text(["Moby-Dick; or, The Whale"])


def test_going_back_restores_the_place_on_the_page(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    page.mouse.wheel(0, 700)
    wait_for(page, "scrollY > 600")
    place = page.evaluate("scrollY")
    # By its address, not by the mouse, which would scroll.
    likes(page).nth(10).evaluate("link => link.click()")
    expect(page.locator("#asked li")).to_have_count(1)
    wait_for(page, "scrollY === 0")
    page.go_back()
    wait_for(page, f"Math.abs(scrollY - {place}) < 5")


def test_facets_narrow_and_chips_take_it_back(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    bodies = searches(page)
    page.locator("#narrow").get_by_role("link", name="Reader's companions 45").click()
    expect(page.locator("#asked .what")).to_have_text(["Reader's companions"])
    page.locator("#narrow").get_by_role("link", name="1990").click()
    expect(hits(page)).to_have_count(3)
    assert said(page)["where"] == ["subjects contains 'Reader''s companions'", "year = 1990"]
    assert bodies[-1]["where"] == "(subjects contains 'Reader''s companions') and (year = 1990)"
    expect(page.locator("#narrow a[aria-current]")).to_have_count(2)
    page.get_by_role("link", name="Take back: Year 1990").click()
    expect(hits(page)).to_have_count(24)
    page.get_by_role("link", name="Take back: Subjects Reader's companions").click()
    expect(page.locator("#asked")).to_be_hidden()
    assert said(page) == {"q": [MANY]}


def test_a_long_facet_opens(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(page.locator("#narrow section").first.locator("a:visible")).to_have_count(8)
    page.get_by_role("button", name="Show all of Year").click()
    expect(page.locator("#narrow section").first.locator("a:visible")).to_have_count(20)
    expect(page.locator("#narrow section").first.locator("a").nth(8)).to_be_focused()


def test_more_adds_to_the_results(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(page.locator("#tally")).to_have_text("The closest 24 in 3.2 ms")
    bodies = searches(page)
    page.get_by_role("button", name="Show more").click()
    expect(hits(page)).to_have_count(45)
    expect(hits(page).nth(24)).to_be_focused()
    expect(page.locator("#tally")).to_have_text("45 results in 3.2 ms")
    expect(page.locator("#further")).to_be_hidden()
    assert bodies == [{"k": 24, "offset": 24, "q": MANY, "mode": "hybrid"}]
    assert said(page)["offset"] == ["24"]
    assert len(set(page.locator("#hits li").evaluate_all("all => all.map(one => one.dataset.id)"))) == 45


def test_more_starts_again_when_another_snapshot_went_live(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    bodies = searches(page)

    def renamed(route: Route) -> None:
        answer = route.fetch().json()
        route.fulfill(json={**answer, "snapshot": "newer"})

    page.route("**/search", renamed)
    page.get_by_role("button", name="Show more").click()
    expect(hits(page)).to_have_count(45)
    assert [(body["offset"], body["k"]) for body in bodies] == [(24, 24), (0, 48)]


def test_collections_are_chosen_only_where_there_is_a_choice(visit: Visit, url_of_two: str) -> None:
    page = visit("?q=whale")
    expect(hits(page).first).to_be_visible()
    expect(page.get_by_label("Collection", exact=True)).to_be_hidden()
    page = visit("?q=whale", base=url_of_two)
    page.get_by_label("Collection", exact=True).select_option("titles")
    expect(page.locator("#hits h2")).to_have_text(
        ["List of whale species by length", "The whale that sank the Essex ship"]
    )
    expect(page.locator("#hits .by").first).to_have_text("Views 1,234")
    expect(page.locator("#hits .cover")).to_have_count(0)
    assert said(page) == {"collection": ["titles"], "q": ["whale"]}
    expect(page.locator("#about")).to_have_text("3 documents in titles")
