"""The page in a real browser: what a person sees, types, clicks, shares and hears.

Every test runs against the app that the `app` fixture makes, a stand-in for the service; failures of the
service are played by intercepting requests, so the same tests can run against the real one. Whatever a test
does, the page may ask nobody but its own server and may write no error to the console: `visit` checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp
from stub import make_app

if TYPE_CHECKING:
    from browsing import Visit
    from playwright.sync_api import Browser, Page

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


@pytest.fixture(scope="session")
def app() -> ASGIApp:
    """The service under the page: with another app over the same books, the tests run against that."""
    return make_app(("books",))


@pytest.fixture(scope="session")
def url(app: ASGIApp) -> Iterator[str]:
    """The address of the app."""
    from browsing import serving

    with serving(app) as address:
        yield address


@pytest.fixture(scope="session")
def url_of_two() -> Iterator[str]:
    """The address of a service with two collections."""
    from browsing import serving

    with serving(make_app(("books", "titles"))) as address:
        yield address


@pytest.fixture(scope="module")  # while it is open, no other test can run an event loop
def browser(chromium: str) -> Iterator[Browser]:
    """Chromium, open."""
    from playwright.sync_api import sync_playwright

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
