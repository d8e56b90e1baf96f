"""What tests of the page share: a server for an app, and how they look at a page and play a service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("playwright", reason="needs playwright: the module is not installed")

import uvicorn
from playwright.sync_api import Locator, Page, Request, Route, expect
from starlette.types import ASGIApp

WHALE = "a whale hunt that becomes an obsession"
MANY = "pocket guide"  # finds more than one screen of them
PAUSE = 250  # milliseconds of typing pause that the page waits for
Visit = Callable[..., Page]

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


def give(page: Page, how: str, **file: Any) -> bool:
    """Drops or pastes a picture; whether the page took the event for itself."""
    expect(page.locator(".welcome, .notice, #hits article").first).to_be_visible()
    taken: bool = page.evaluate(GIVE, [how, file])
    return taken
