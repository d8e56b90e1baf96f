"""The cards of the page: what they show, and that nothing in a document is run."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

import pytest
from browsing import MANY, WHALE, Visit, answering, hits, likes, said, titles
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.needs("chromium", "playwright")


def test_a_card_has_title_authors_year_and_picture(visit: Visit) -> None:
    page = visit("?q=" + quote(WHALE))
    card = page.get_by_role("article", name="Moby-Dick; or, The Whale")
    expect(card.locator(".by")).to_have_text("Herman Melville · 1851")
    image = card.locator(".cover img")
    expect(image).to_have_attribute("loading", "lazy")
    expect(image).to_have_js_property("naturalWidth", 240)
    assert (image.get_attribute("width"), image.get_attribute("height")) == ("120", "180")
    assert urlsplit(image.evaluate("image => image.src")).path == "/collections/books/documents/OL1M/picture"
    expect(page.locator("#tally")).to_have_text(re.compile(r"^\d+ results? in 3\.2 ms$"))


def test_a_book_without_a_picture_gets_a_drawn_cover_always_the_same(visit: Visit) -> None:
    drawings = []
    page = visit()
    for words in ("frankenstein", "creature ice"):
        page.goto(f"{page.url.split('?')[0]}?q={words}")
        drawing = page.get_by_role("article", name="Frankenstein").locator(".cover svg.drawn")
        expect(drawing).to_be_visible()
        drawings.append(drawing.inner_html())
    assert drawings[0] == drawings[1]
    assert "Frankenstein" in drawings[0]


def test_drawn_covers_differ_and_hold_every_kind_of_title(visit: Visit) -> None:
    page = visit("?q=" + MANY)
    expect(hits(page)).to_have_count(24)
    drawings = page.locator("svg.drawn").evaluate_all("all => all.map(one => one.innerHTML)")
    assert len(set(drawings)) == 24
    page = visit(
        before=lambda page: page.route(
            "**/search",
            answering(
                *(
                    {"title": title}
                    for title in ("", "W" * 90, "百年孤独の物語と長い題名", "a " * 80, "مئة عام من العزلة")
                )
            ),
        )
    )
    page.keyboard.type("anything")
    expect(hits(page)).to_have_count(5)
    overflowing = page.locator("svg.drawn").evaluate_all(
        """all => all.flatMap(one => {
            const frame = one.getBoundingClientRect();
            return [...one.querySelectorAll("text")].filter(text => {
                const box = text.getBoundingClientRect();
                return box.left < frame.left || box.right > frame.right || box.bottom > frame.bottom;
            }).map(text => text.textContent);
        })"""
    )
    assert overflowing == []
    assert titles(page)[0] == "Untitled"


def test_a_picture_that_is_missing_is_drawn_instead(visit: Visit) -> None:
    page = visit(
        "?q=dracula",
        before=lambda page: page.route("**/picture", lambda route: route.fulfill(status=404)),
        forgive="404",
    )
    expect(page.get_by_role("article", name="Dracula").locator("svg.drawn")).to_be_visible()
    expect(page.locator(".cover img")).to_have_count(0)


def test_pictures_come_from_the_service_and_allowed_hosts(visit: Visit) -> None:
    expected = {
        "covers/1.svg": "collections/my%20books/documents/a%2Fb/picture",
        "https://covers.example/1.jpg": "https://covers.example/1.jpg",
        "http://covers.example/1.jpg": "https://covers.example/1.jpg",
        "//covers.example/1.jpg": "https://covers.example/1.jpg",
        "https://elsewhere.example/1.jpg": None,
        "https://covers.example@elsewhere.example/1.jpg": None,
        "http://[": None,
        "": None,
        None: None,
    }
    script = """async ([collection, values]) => {
        const { pictureOf } = await import("/page/api.js");
        return values.map(value => pictureOf(collection, "a/b", value));
    }"""
    collection = {"name": "my books", "image_hosts": ["covers.example"]}
    found = visit().evaluate(script, [collection, list(expected)])
    assert dict(zip(expected, found, strict=True)) == expected


def test_filters_are_quoted_and_read_back(visit: Visit) -> None:
    made = {
        "year = 1851": ["year", 1851, False],
        "fiction = true": ["fiction", True, False],
        "subjects contains 'Reader''s companions'": ["subjects", "Reader's companions", True],
        '"page ""count""" = 3': ['page "count"', 3, False],
        "\"in\" = 'x'": ["in", "x", False],
    }
    script = """async (all) => {
        const { condition, plain } = await import("/page/state.js");
        return all.map(one => [condition(...one), plain(condition(...one))]);
    }"""
    found = visit().evaluate(script, list(made.values()))
    assert [expression for expression, _ in found] == list(made)
    assert [read["column"] for _, read in found] == [column for column, *_ in made.values()]
    assert [read["value"] for _, read in found] == ["1851", "true", "Reader's companions", "3", "x"]


def test_matches_are_marked_by_characters_not_by_utf16_units(visit: Visit) -> None:
    document = {
        "title": "🐋🐋 whale 百年",
        "authors": ["Ann Whale", "Bo"],
        "description": "x " * 200 + "whale song",
        "_highlights": {
            "title": [[3, 8], [9, 11]],
            "description": [[400, 405], [5, 5], [-3, 0], [9, 99999999]],
            "authors": [[4, 9]],
        },
    }
    page = visit(before=lambda page: page.route("**/search", answering(document)))
    page.keyboard.type("whale")
    expect(page.locator("#hits h2 mark")).to_have_text(["whale", "百年"])
    expect(page.locator("#hits .by mark")).to_have_text("Whale")
    expect(page.locator("#hits .about .start mark").first).to_be_visible()


def test_details_show_every_field_and_why_it_was_found(visit: Visit) -> None:
    page = visit("?q=" + quote("murder library monks"))
    card = page.get_by_role("article", name="The Name of the Rose")
    toggle = card.get_by_role("button", name="Details: The Name of the Rose")
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.click()
    expect(toggle).to_have_attribute("aria-expanded", "true")
    panel = card.locator(".details")
    expect(panel.locator("dt")).to_have_text(["Pages", "Subjects", "Language", "Home page", "Id"])
    expect(panel).to_contain_text("Italian")
    expect(panel.locator("a[target=_blank]")).to_have_attribute("href", "https://example.org/works/OL11M")
    expect(panel.locator("a[target=_blank]")).to_have_attribute("rel", "noopener noreferrer")
    expect(panel.locator(".scores th")).to_have_text(["Meaning", "Words", "Together"])
    toggle.click()
    expect(panel).to_be_hidden()
    toggle.click()
    panel.get_by_role("link", name="Monks").click()
    expect(page.get_by_role("link", name="Take back: Subjects Monks")).to_be_visible()
    assert said(page)["where"] == ["subjects contains 'Monks'"]


def test_nothing_in_a_document_is_run_or_followed(visit: Visit) -> None:
    evil = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
    document = {
        "id": "../x?<b>",
        "title": evil,
        "authors": [evil],
        "year": evil,
        "description": evil,
        "subjects": [evil, "javascript:window.hacked=1"],
        "home_page": "javascript:window.hacked=1",
        "mirror": "javascript://example.org/%0awindow.hacked=1",
        "language": "jav",
        "pages": {"nested": [evil]},
        "_highlights": {"title": [[0, 4]], "description": [[0, 9]]},
    }
    facets = {"subjects": [{"value": evil, "count": 1}, {"value": "javascript:window.hacked=1", "count": 1}]}
    columns = [column for column in document if not column.startswith("_")]
    served = {"name": "books", "title": "title", "columns": columns, "facets": ["subjects"], "documents": 1}

    def before(page: Page) -> None:
        page.route("**/collections", lambda route: route.fulfill(json={"collections": [served]}))
        page.route("**/search", answering(document, facets=facets))

    page = visit("?q=x&where=" + quote(evil) + "&mode=" + quote(evil), before=before)
    expect(page.locator("#hits h2")).to_have_text(evil)
    page.locator(".toggle").click()
    expect(page.locator(".details")).to_contain_text("javascript:window.hacked=1")
    expect(page.locator(".details")).to_contain_text("javascript://example.org/")
    assert page.locator("#hits img, #hits script, #narrow img, #asked img").count() == 0
    links = page.locator("a").evaluate_all("all => all.map(one => one.href)")
    assert all(urlsplit(link).scheme == "http" for link in links)
    likes(page).click()
    expect(page.locator("#asked .what").first).to_have_text(evil)
    assert said(page) == {"like": ["../x?<b>"]}
    assert page.evaluate("window.hacked") is None
