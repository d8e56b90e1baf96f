"""Searching the page by a picture: dropped, pasted, chosen."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from browsing import Visit, failing, give, hits, likes, said, searches, titles
from PIL import Image
from playwright.sync_api import FilePayload, expect
from stub import hue_of

pytestmark = pytest.mark.needs("chromium", "playwright")


CHIP = "Take the picture away"


def sent(body: dict[str, Any]) -> Image.Image:
    """The picture in the body of a search."""
    return Image.open(io.BytesIO(base64.b64decode(body["image"])))


def test_a_dropped_picture_finds_what_looks_like_it(visit: Visit) -> None:
    page = visit()
    bodies = searches(page)
    assert give(page, "dragover", hue=0)
    expect(page.get_by_text("Drop the picture to search by it")).to_be_visible()
    give(page, "drop", hue=hue_of("OL6M"))
    expect(page.locator("#drop")).to_be_hidden()
    expect(hits(page)).to_have_count(8)
    assert titles(page)[0] == "Dracula"
    assert list(bodies[0]) == ["k", "offset", "image", "mode", "facets"]
    assert bodies[0]["mode"] == "semantic"
    assert (sent(bodies[0]).format, sent(bodies[0]).size) == ("PNG", (80, 120))  # small enough as it is
    chip = page.get_by_role("img", name="Your picture: mine.png")
    expect(chip).to_have_js_property("naturalWidth", 80)
    expect(page.get_by_role("heading", level=1)).to_have_text("Results for your picture")
    expect(page.locator("#hint")).to_have_text("what looks most like your picture")
    expect(page.get_by_role("radio", name="Words")).to_be_hidden()
    assert said(page) == {}


def test_a_drag_that_leaves_or_brings_no_file_shows_nothing(visit: Visit) -> None:
    page = visit()
    give(page, "dragenter", hue=0)
    expect(page.locator("#drop")).to_be_visible()
    give(page, "dragleave", hue=0)
    expect(page.locator("#drop")).to_be_hidden()
    text = """() => {
        const transfer = new DataTransfer();
        transfer.setData("text/plain", "whale");
        const event = new DragEvent("dragover", { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    assert page.evaluate(text) is False
    expect(page.locator("#drop")).to_be_hidden()


def test_a_large_picture_is_sent_small_and_as_jpeg(visit: Visit) -> None:
    page = visit()
    bodies = searches(page)
    give(page, "drop", hue=hue_of("OL15M"), width=3000, height=1500)
    expect(hits(page).first).to_be_visible()
    assert (sent(bodies[0]).format, sent(bodies[0]).size) == ("JPEG", (512, 256))
    assert titles(page)[0] == "Treasure Island"


def test_a_kind_that_the_service_cannot_read_is_made_a_jpeg(visit: Visit) -> None:
    page = visit()
    bodies = searches(page)
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="40"></svg>'
    give(page, "drop", text=drawing, type="image/svg+xml", name="drawing.svg")
    expect(hits(page).first).to_be_visible()
    assert (sent(bodies[0]).format, sent(bodies[0]).size) == ("JPEG", (50, 40))
    assert sent(bodies[0]).convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # what is clear, on white


def test_a_pasted_picture_is_searched_by_with_the_words_that_are_there(visit: Visit) -> None:
    page = visit("?q=dracula")
    expect(hits(page)).to_have_count(1)
    bodies = searches(page)
    assert give(page, "paste", hue=hue_of("OL1M"))
    expect(hits(page)).to_have_count(8)
    assert (bodies[0]["q"], bodies[0]["mode"]) == ("dracula", "hybrid")
    assert titles(page)[0] == "Dracula"
    expect(page.locator("#hint")).to_have_text("what looks like your picture and fits your words")
    expect(page).to_have_title("your picture and dracula · findling")
    page.locator(".toggle").first.click()
    expect(page.locator(".found-by")).to_have_text("Found by its meaning, its words and its cover.")
    page.get_by_role("button", name=CHIP).click()
    expect(hits(page)).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.locator("#picture")).to_be_hidden()
    assert "image" not in bodies[-1]
    assert not give(page, "paste", hue=0, words="the words of a letter")
    expect(page.locator("#picture")).to_be_hidden()


def test_a_picture_can_be_chosen_and_chosen_again(visit: Visit) -> None:
    page = visit()
    content = io.BytesIO()
    Image.new("RGB", (60, 90), "#2d6b52").save(content, "PNG")
    file = FilePayload(name="chosen.png", mimeType="image/png", buffer=content.getvalue())
    for name in ("choose one", "Search by a picture"):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name=name).click()
        assert not chooser.value.is_multiple()
        chooser.value.set_files(file)
        expect(hits(page)).to_have_count(8)
        page.get_by_role("button", name=CHIP).click()
        expect(page.locator(".welcome")).to_be_visible()


def test_a_cover_of_the_page_can_be_dropped_on_the_box(visit: Visit) -> None:
    page = visit("?q=solaris dracula whale")
    expect(hits(page).nth(2)).to_be_visible()
    page.get_by_role("article", name="Dracula").locator("img").drag_to(page.get_by_role("searchbox"))
    expect(page.get_by_role("button", name=CHIP)).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(hits(page)).to_have_count(8)
    assert titles(page)[0] == "Dracula"


def test_what_is_no_picture_is_explained(visit: Visit) -> None:
    page = visit()
    bodies = searches(page)
    heavy = "Object.defineProperty(File.prototype, 'size', { get: () => 90_000_000 })"
    for file, words in (
        ({"text": "Dear all", "type": "text/plain", "name": "letter.txt"}, "“letter.txt” is not a picture."),
        ({"text": "not really", "type": "image/jpeg", "name": "a.jpg"}, "“a.jpg” cannot be read"),
        ({"text": "GIF89a, not really", "type": "image/gif"}, "too many pixels: 8236 by 28526"),
        ({"hue": 0, "width": 1, "height": 1}, "too small to show anything"),
        ({"hue": 0, "heavy": True}, "“mine.png” is too large: 90 MB"),
    ):
        if file.get("heavy"):
            page.evaluate(heavy)
        give(page, "drop", **file)
        expect(page.get_by_role("alert")).to_contain_text(words)
        expect(page.locator("#picture")).to_be_hidden()
    page.get_by_role("searchbox").fill("dracula")
    expect(hits(page)).to_have_count(1)
    expect(page.locator("#trouble")).to_be_hidden()
    assert len(bodies) == 1


def test_a_picture_that_the_service_refuses_is_explained(visit: Visit) -> None:
    page = visit(forgive="400")
    refusal = {
        "title": "The query",
        "detail": "the picture cannot be decoded: cut short",
        "code": "bad-query",
    }
    page.route("**/search", failing(400, refusal))
    give(page, "drop", hue=0)
    expect(page.get_by_role("alert")).to_contain_text("The picture cannot be searched by.")
    expect(page.get_by_role("button", name=CHIP)).to_be_visible()


def test_back_and_forward_keep_the_picture_and_a_link_leaves_it_out(visit: Visit) -> None:
    page = visit("?q=dracula", permissions=["clipboard-read", "clipboard-write"])
    expect(hits(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Copy link", exact=True)).to_be_visible()
    give(page, "drop", hue=hue_of("OL1M"))
    expect(hits(page)).to_have_count(8)
    bodies = searches(page)
    page.get_by_role("button", name="Copy link without the picture").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").endswith("/?q=dracula")
    page.go_back()
    expect(hits(page)).to_have_count(1)
    expect(page.locator("#picture")).to_be_hidden()
    page.go_forward()
    expect(hits(page)).to_have_count(8)
    expect(page.get_by_role("img", name="Your picture: mine.png")).to_be_visible()
    likes(page).first.click()
    expect(page.locator("#asked li")).to_have_count(1)
    expect(page.locator("#picture")).to_be_hidden()
    page.go_back()
    expect(hits(page)).to_have_count(8)
    assert [list(body) for body in bodies] == [["k", "offset", "like", "facets"]]  # the rest was remembered
    page.reload()
    expect(hits(page)).to_have_count(1)
    expect(page.locator("#trouble")).to_contain_text("kept only while the page is open")


def test_esc_and_another_question_take_the_picture_away(visit: Visit) -> None:
    page = visit()
    give(page, "drop", hue=0)
    expect(hits(page)).to_have_count(8)
    page.get_by_role("searchbox").press("Escape")
    expect(page.locator(".welcome")).to_be_visible()
    expect(page.locator("#picture")).to_be_hidden()
    give(page, "drop", hue=0)
    expect(hits(page)).to_have_count(8)
    page.locator("#narrow").get_by_role("link", name="Whaling").click()
    expect(hits(page)).to_have_count(2)
    expect(page.get_by_role("button", name=CHIP)).to_be_visible()


def test_a_collection_without_pictures_asks_for_none(visit: Visit, url_of_two: str) -> None:
    page = visit("?collection=titles&q=whale&view=covers", base=url_of_two)
    expect(hits(page)).to_have_count(2)
    expect(page.get_by_role("button", name="Search by a picture")).to_be_hidden()
    expect(page.get_by_role("radio", name="Covers")).to_be_hidden()
    expect(page.locator("#hits.covers")).to_have_count(0)
    assert give(page, "dragover", hue=0)  # the browser would leave the page for the file
    expect(page.locator("#drop")).to_be_hidden()
    give(page, "drop", hue=0)
    assert not give(page, "paste", hue=0)
    expect(page.locator("#picture")).to_be_hidden()
    page.get_by_role("combobox", name="Collection").select_option("books")
    expect(page.get_by_role("button", name="Search by a picture")).to_be_visible()
    expect(page.locator("#hits.covers")).to_have_count(1)


def test_looks_like_this_is_a_link_where_there_is_a_picture(visit: Visit) -> None:
    page = visit("?q=whale solaris")
    expect(hits(page).nth(1)).to_be_visible()
    expect(page.get_by_role("link", name="Looks like this: Solaris")).to_have_count(0)
    expect(page.get_by_role("link", name="More like this: Solaris")).to_have_count(1)
    bodies = searches(page)
    link = page.get_by_role("link", name="Looks like this: Moby-Dick; or, The Whale")
    expect(link).to_have_attribute("href", "?like=OL1M&field=cover")
    link.click()
    expect(hits(page)).to_have_count(7)
    asked = {"k": 24, "offset": 0, "like": "OL1M", "field": "cover", "mode": "semantic"}
    assert bodies == [{**asked, "facets": ["year", "subjects", "language"]}]
    expect(page.locator("#hint")).to_have_text("what looks most like the one you chose")
    expect(page).to_have_title("Looks like Moby-Dick; or, The Whale · findling")
    page.locator(".toggle").first.click()
    expect(page.locator(".found-by")).to_have_text("Found by its cover.")
    page.get_by_role("link", name="Take back: Looks like Moby-Dick; or, The Whale").click()
    expect(page.locator(".welcome")).to_be_visible()
    assert said(page) == {}


def test_what_has_no_picture_cannot_be_looked_alike_and_says_why(visit: Visit) -> None:
    page = visit("?like=OL5M&field=cover", forgive="400")
    expect(page.get_by_role("alert")).to_contain_text("There is no picture to compare.")
    expect(page.locator("#asked .chip")).to_have_text("Looks like Frankenstein×")
