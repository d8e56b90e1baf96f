"""Errors as people and programs want them over HTTP: problem details (RFC 9457), never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

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


class Problems:
    """Innermost middleware: what an endpoint raises is answered as a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and say what became of it if that is no answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:  # nobody is there to be told
            await Response(status_code=CLIENT_GONE)(scope, receive, send)
        except FindlingError as error:
            await of_own_error(Request(scope), error)(scope, receive, send)
        except HTTPException as error:
            await _of_refused(Request(scope), error)(scope, receive, send)


def of_own_error(request: Request, error: FindlingError) -> Response:
    """A failure that has words of its own."""
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, Overloaded):
        _log.error("%s %s: %s", request.method, request.url.path, error)
    # What is left of a body that is too large or too slow is not waited for.
    unread = error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    headers = {"Connection": "close"} if unread else None
    return problem(error.status, error.code, error.title, str(error), headers)


def of_bug(request: Request, error: Exception) -> Response:
    """A bug: logged here, told without detail to whoever asked."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "internal", "Internal error", "this should not have happened; the log says more")


def _of_refused(request: Request, error: HTTPException) -> Response:
    """What routing refuses: an unknown path, a wrong method."""
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "-")
    detail = (
        f"there is nothing at {request.url.path}" if error.status_code == HTTPStatus.NOT_FOUND else phrase
    )
    return problem(error.status_code, code, phrase, detail, error.headers)
