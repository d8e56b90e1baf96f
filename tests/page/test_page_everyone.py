"""The page by keyboard, for screen readers, in every width and light."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from browsing import MANY, WHALE, Visit, answering, give, hits, likes
from playwright.sync_api import expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    page = visit()
    page.keyboard.type("sea ship whale")
    page.keyboard.press("Enter")
    expect(hits(page).nth(2)).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(hits(page).nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(hits(page).nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(hits(page).nth(0).locator(".details")).to_be_visible()
    page.keyboard.press("Tab")
    expect(likes(hits(page).nth(0))).to_be_focused()
    assert page.locator(":focus").evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#asked li")).to_have_count(1)
    expect(page.locator("#hits")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the results")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=re.compile("Take back: Like"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_every_control_has_a_name_and_every_region_a_role(visit: Visit) -> None:
    page = visit("?q=" + quote(WHALE))
    page.locator(".toggle").first.click()
    for role in ("banner", "search", "complementary", "main", "contentinfo", "status"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.locator("h1")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Results for {WHALE}")
    nameless = page.locator("a:visible, button:visible, input, select, fieldset").evaluate_all(
        """all => all.filter(one => !(one.ariaLabel || one.innerText?.trim() || one.labels?.length
            || one.querySelector?.("legend"))).map(one => one.outerHTML)"""
    )
    assert nameless == []
    ids = page.locator("[id]").evaluate_all("all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    pointed = page.locator("[aria-labelledby], [aria-controls], [aria-describedby]").evaluate_all(
        """all => all.flatMap(one => ["aria-labelledby", "aria-controls", "aria-describedby"]
            .map(name => one.getAttribute(name)).filter(Boolean))"""
    )
    assert set(pointed) <= set(ids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(visit: Visit, scheme: str) -> None:
    page = visit(color_scheme=scheme, forgive="400", reduced_motion="reduce")
    whale = "?q=" + quote(WHALE) + "&where=year%20%3D%201851"
    for path in (
        "",
        whale,
        whale + "&view=covers",
        "?like=OL1M&field=cover",
        "?q=zzz&where=year%20%3D%201851",
        "?q=x&where=!",
    ):
        page.goto(page.url.split("?")[0] + path)
        expect(page.locator("#hits article, #notice section").first).to_be_visible()
        if page.locator(".toggle").count():
            page.locator(".toggle").first.evaluate("toggle => toggle.click()")
        give(page, "drop", text="no picture", type="text/plain")
        expect(page.locator("#trouble")).to_be_visible()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(paper) < 300) == (scheme == "dark")
        assert page.evaluate(CONTRAST) == []


# WCAG 2.2, 1.4.3: at least 4.5, or 3 for large text. Returns the texts below that.
CONTRAST = """() => {
    const parse = color => (color.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = node => {
        for (let one = node; one; one = one.parentElement) {
            const color = parse(getComputedStyle(one).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = walker.nextNode(); text; text = walker.nextNode()) {
        const node = text.parentElement;
        if (!text.data.trim() || !node.checkVisibility()) continue;
        if (node.closest("svg, script, noscript, option")) continue;
        const style = getComputedStyle(node);
        const [a, b] = [light(parse(style.color)), light(behind(node))].sort((x, y) => y - x);
        const large = parseFloat(style.fontSize) >= 24;
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) poor.push(`${text.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
    }
    return poor;
}"""


def test_no_width_scrolls_sideways(visit: Visit, url_of_two: str) -> None:
    document = {
        "title": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2,
        "authors": ["A" * 120],
        "description": "https://example.org/" + "a" * 300,
        "subjects": ["S" * 200],
        "home_page": "https://example.org/" + "b" * 300,
    }
    facets = {"subjects": [{"value": "S" * 200, "count": 123456}]}
    page = visit(
        "?q=x&where=" + quote("subjects contains '" + "S" * 200 + "'"),
        base=url_of_two,
        width=320,
        before=lambda page: page.route("**/search", answering(document, facets=facets)),
    )
    page.locator(".toggle").click()
    page.locator("summary").click()
    for _ in range(2):
        for width in (320, 360, 600, 768, 1000, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.keyboard.press("/")
        page.keyboard.press("Escape")
        expect(page.locator(".welcome")).to_be_visible()


def test_on_a_phone_the_facets_stay_folded(visit: Visit) -> None:
    page = visit("?q=" + MANY, width=360, height=740)
    expect(page.get_by_role("link", name="Reader's companions 45")).to_be_hidden()
    page.get_by_text("Narrow the results").click()
    page.get_by_role("link", name="Reader's companions 45").click()
    expect(page.locator("#asked li")).to_have_count(1)


def test_motion_stops_for_those_who_ask(visit: Visit) -> None:
    page = visit("?q=dracula", reduced_motion="reduce")
    expect(hits(page)).to_have_count(1)
    page.evaluate("document.body.classList.add('searching')")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.masthead'), '::after').animationName")
        == "none"
    )


def test_the_link_can_be_copied(visit: Visit) -> None:
    page = visit("?q=dracula", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
