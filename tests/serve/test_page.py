"""The page in a real browser: what a person sees, types, clicks, shares and hears.

Every test runs against the app that the `app` fixture makes, a stand-in for the service; failures of the
service are played by intercepting requests, so the same tests can run against the real one. Whatever a test
does, the page may ask nobody but its own server and may write no error to the console: `visit` checks that.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

pytest.importorskip("playwright", reason="needs playwright: the module is not installed")

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Locator, Page, Request, Route, expect, sync_playwright
from starlette.types import ASGIApp
from stub import PAGE, hue_of, make_app

pytestmark = pytest.mark.needs("chromium", "playwright")

WHALE = "a whale hunt that becomes an obsession"
MANY = "pocket guide"  # finds more than one screen of them
PAUSE = 250  # milliseconds of typing pause that the page waits for
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Visit = Callable[..., Page]


# ---- the browser and the service -----------------------------------------------------------------


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The address of an app on a port of its own, for as long as the block runs."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(timeout=5)


@pytest.fixture(scope="session")
def app() -> ASGIApp:
    """The service under the page: with another app over the same books, the tests run against that."""
    return make_app(("books",))


@pytest.fixture(scope="session")
def url(app: ASGIApp) -> Iterator[str]:
    with serving(app) as address:
        yield address


@pytest.fixture(scope="session")
def url_of_two() -> Iterator[str]:
    with serving(make_app(("books", "titles"))) as address:
        yield address


@pytest.fixture(scope="module")  # while it is open, no other test can run an event loop
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Opens pages (`visit("?q=whale", width=360)`); at the end, checks what they asked and logged."""
    contexts = []
    asked: list[str] = []
    logged: list[str] = []
    forgiven: list[str] = []

    def open_page(
        path: str = "",
        *,
        base: str = url,
        width: int = 1280,
        height: int = 900,
        forgive: str = "",
        before: Callable[[Page], object] | None = None,
        **options: Any,
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "console", lambda line: logged.append(line.text) if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: logged.append(str(error)))
        if forgive:
            forgiven.append(forgive)
        if before:
            before(page)
        page.goto(base + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert {urlsplit(one).hostname for one in asked if not one.startswith(("data:", "blob:"))} == {
        "127.0.0.1"
    }
    assert [line for line in logged if not any(one in line for one in forgiven)] == []


def said(page: Page) -> dict[str, list[str]]:
    """The query string of the address bar."""
    return parse_qs(urlsplit(page.url).query)


def searches(page: Page) -> list[dict[str, Any]]:
    """The bodies of the searches that the page asks for from now on, as they happen."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/search") and request.method == "POST":
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


def failing(status: int, problem: dict[str, Any], **headers: str) -> Callable[[Route], None]:
    """A handler that answers with a problem."""
    body = json.dumps({"type": "about:blank", "status": status, **problem})
    return lambda route: route.fulfill(
        status=status, body=body, headers={"content-type": "application/problem+json", **headers}
    )


def answering(*documents: dict[str, Any], **more: Any) -> Callable[[Route], None]:
    """A handler that answers every search with these documents; `_highlights` in one becomes the hit's."""
    hits = [
        {
            "id": one.get("id", f"d{rank}"),
            "rank": rank,
            "score": 1 / rank,
            "scores": {"text": 0.5},
            "highlights": one.pop("_highlights", None),
            "document": one,
        }
        for rank, one in enumerate(documents, start=1)
    ]
    answer = {
        "hits": hits,
        "facets": {},
        "offset": 0,
        "k": 24,
        "snapshot": "s",
        "cache": "off",
        "took_ms": 1,
        **more,
    }
    return lambda route: route.fulfill(json=answer)


def wait_for(page: Page, expression: str) -> None:
    """Waits until it is true in the page. Playwright's own way evaluates strings: forbidden here."""
    until = time.monotonic() + 5
    while not page.evaluate(expression):
        assert time.monotonic() < until, expression
        page.wait_for_timeout(20)


def hits(page: Page) -> Any:
    return page.locator("#hits article.card")


def likes(inside: Page | Locator) -> Locator:
    return inside.get_by_role("link", name="More like this")


def titles(page: Page) -> list[str]:
    found: list[str] = page.locator("#hits h2").all_inner_texts()
    return found


# ---- typing --------------------------------------------------------------------------------------


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


# ---- cards ---------------------------------------------------------------------------------------


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


# ---- the address ---------------------------------------------------------------------------------


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


# ---- pictures ------------------------------------------------------------------------------------

# A file as a browser hands it over, drawn here: one colour (a hue, so that the stand-in knows it again).
GIVE = """async ([how, file]) => {
    const { hue, width = 80, height = 120, type = "image/png", name = "mine.png", text, words } = file;
    let blob = new Blob([text ?? ""], { type });
    if (hue !== undefined) {
        const canvas = Object.assign(document.createElement("canvas"), { width, height });
        const brush = canvas.getContext("2d");
        brush.fillStyle = `hsl(${hue} 40% 35%)`;
        brush.fillRect(0, 0, width, height);
        blob = await new Promise(resolve => canvas.toBlob(resolve, type));
    }
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], name, { type }));
    if (words) transfer.setData("text/plain", words);
    const options = { bubbles: true, cancelable: true };
    const event = how === "paste" ? new ClipboardEvent("paste", { clipboardData: transfer, ...options })
        : new DragEvent(how, { dataTransfer: transfer, ...options });
    document.body.dispatchEvent(event);
    return event.defaultPrevented;
}"""
CHIP = "Take the picture away"


def give(page: Page, how: str, **file: Any) -> bool:
    """Drops or pastes a picture; whether the page took the event for itself."""
    expect(page.locator(".welcome, .notice, #hits article").first).to_be_visible()
    taken: bool = page.evaluate(GIVE, [how, file])
    return taken


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


# ---- covers --------------------------------------------------------------------------------------


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


# ---- when there is nothing, or something failed --------------------------------------------------


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


# ---- for everyone --------------------------------------------------------------------------------


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


# ---- the files -----------------------------------------------------------------------------------


def test_the_files_keep_to_the_strict_policy() -> None:
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)
    for path in PAGE.iterdir():
        text = path.read_text()
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            path.name
        )
        assert len(text.splitlines()) <= 300, path.name
    loaded = re.findall(r'(?:href|src)="page/([\w.]+)"', html)
    imported = [
        name for path in PAGE.glob("*.js") for name in re.findall(r'from "\./([\w.]+)"', path.read_text())
    ]
    assert {path.name for path in PAGE.iterdir()} == {"index.html", *loaded}
    assert set(imported) == {name for name in loaded if name.endswith(".js")} - {"page.js"}
