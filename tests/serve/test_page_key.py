"""The page of a service that asks for a key, in a real browser, against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright: the module is not installed")

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from running import Caller, inside

import small
from findling import build, config
from findling.config import ServeOptions
from findling.serve import auth
from findling.serve.app import create
from findling.serve.live import Collection

pytestmark = pytest.mark.needs("chromium", "playwright")

KEY, LINE = auth.new_key("search")
CONFIG = small.CONFIG.replace("[vectors.text]", 'picture = "cover"\n[vectors.text]')


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Caller]:
    Image.new("RGB", (40, 60), "teal").save(tmp_path / "moby.png")
    books = [{**book, "cover": "moby.png" if book["id"] == "moby" else None} for book in small.BOOKS]
    build.build(config.load(small.write(tmp_path, books, CONFIG)))
    collection = Collection(config.load(tmp_path), tmp_path / "models")
    with inside(create([collection], ServeOptions(keys=[LINE]))) as caller:
        yield caller


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        try:
            opened = browser.new_context().new_page()
            opened.set_default_timeout(10_000)
            yield opened
        finally:
            browser.close()


def test_the_page_asks_for_the_key_keeps_it_and_shows_pictures_with_it(guarded: Caller, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{guarded.base}/?q=whale")
    box = page.get_by_label("Key", exact=True)
    expect(box).to_have_attribute("type", "password")
    for wrong, told in (("é", "no key"), ("findling_0000_wrong", "not known")):
        box.fill(wrong)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("alert").filter(has_text=told)).to_be_visible()
    box.fill(f" {KEY} ")
    box.press("Enter")
    first = page.locator("#hits article").first
    expect(first).to_contain_text("Moby-Dick")
    expect(page.locator("#hits img").first).to_have_js_property("naturalWidth", 40)
    assert KEY not in page.url
    assert not any(KEY in address for address in asked)
    page.reload()
    expect(first).to_contain_text("Moby-Dick")
    other = page.context.new_page()  # another tab is asked again
    other.goto(f"{guarded.base}/?q=whale")
    expect(other.get_by_label("Key", exact=True)).to_be_visible()
