"""Errors as people and programs want them over HTTP: problem details (RFC 9457), never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from findling.errors import FindlingError, Overloaded

_log = logging.getLogger("findling.serve")
RETRY_AFTER_SECONDS = 1
_MOST_TOLD = 1000  # characters: what was wrong may have been a megabyte
CLIENT_GONE = 499  # nginx's word for a client that did not wait


def problem(
    status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem document; `code` is stable, `detail` is for people."""
    detail = detail if len(detail) <= _MOST_TOLD else f"{detail[:_MOST_TOLD]}…"
    body = {"type": f"urn:findling:{code}", "title": title, "status": status, "detail": detail, "code": code}
    sent = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        sent.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return Response(msgspec.json.encode(body), status, headers=sent, media_type="application/problem+json")


async def on_own_error(request: Request, error: FindlingError) -> Response:
    """A failure that has words of its own."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Overloaded):
        _log.error("%s %s: %s", request.method, request.url.path, error)
    # What is left of a body that is too large or too slow is not waited for.
    unread = error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    headers = {"Connection": "close"} if unread else None
    return problem(error.status, error.code, error.title, str(error), headers)


async def on_http_error(request: Request, error: HTTPException) -> Response:
    """What routing refuses: an unknown path, a wrong method."""
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "-")
    detail = (
        f"there is nothing at {request.url.path}" if error.status_code == HTTPStatus.NOT_FOUND else phrase
    )
    return problem(error.status_code, code, phrase, detail)


async def on_any_error(request: Request, error: Exception) -> Response:
    """A bug: logged here, told without detail to whoever asked."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal", "Internal error", "this should not have happened; the log says more")


async def on_gone(request: Request, error: ClientDisconnect) -> Response:
    """Nobody is there to be told."""
    del request, error
    return Response(status_code=CLIENT_GONE)


HANDLERS: dict[Any, Any] = {
    ClientDisconnect: on_gone,
    FindlingError: on_own_error,
    HTTPException: on_http_error,
    Exception: on_any_error,
}
