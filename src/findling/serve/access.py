"""Who came, and what became of it: request ids, metrics, the access log, and headers on every answer."""

from __future__ import annotations

import contextvars
import datetime
import re
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from findling.serve import problems
from findling.serve.lines import Lines
from findling.serve.metrics import Metrics
from findling.stages import Stages

_SANE = re.compile(rb"[\w.:/+=@-]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Visit:
    """One request on its way: what is known of it, and what whoever works on it finds out.

    `traceparent` is W3C's, where the client sent a good one; `key` the id of the key it came with, never the
    key; `cache` and `query` are told by the handler.
    """

    request_id: str
    traceparent: str | None = None
    client: str = ""
    key: str | None = None
    cache: str | None = None
    query: str | None = None
    stages: Stages = field(default_factory=Stages)

    @classmethod
    def of(cls, headers: Headers, client: str) -> Visit:
        """The visit that a request with these headers begins."""
        sent = dict(headers)
        wished, parent = sent.get(b"x-request-id", b""), sent.get(b"traceparent", b"")
        return cls(
            request_id=wished.decode() if _SANE.fullmatch(wished) else secrets.token_hex(8),
            traceparent=parent.decode() if _TRACEPARENT.fullmatch(parent) else None,
            client=client,
        )

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to, if any."""
        return self.traceparent.split("-")[1] if self.traceparent else None


_visit: contextvars.ContextVar[Visit] = contextvars.ContextVar("findling-visit")


def visit() -> Visit:
    """The visit that the running request is."""
    return _visit.get()


class Access:
    """Outermost middleware: sees every request and every answer, and turns bugs into plain problems."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, headers: Headers, log: bool, log_queries: bool
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._headers = headers
        self._log_queries = log_queries
        self._lines = Lines(sys.stderr) if log else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and note what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        mine = Visit.of(scope["headers"], scope["client"][0] if scope["client"] else "")
        _visit.set(mine)
        self._metrics.begin()
        status = size = 0

        async def sent(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._headers, *_own(mine)]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception as error:
            # A bug. Who asked gets an answer all the same, unless it has begun; the log gets the rest.
            answer = await problems.on_any_error(Request(scope), error)
            if status:
                raise
            await answer(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            stages = mine.stages.seconds()
            self._metrics.observe(route, status, seconds, stages, mine.cache)
            if self._lines:
                self._tell(self._lines, scope, mine, route, status, size, seconds, stages)

    def _tell(
        self,
        lines: Lines,
        scope: Scope,
        mine: Visit,
        route: str,
        status: int,
        size: int,
        seconds: float,
        stages: dict[str, float],
    ) -> None:
        told: dict[str, Any] = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "request_id": mine.request_id,
            "trace_id": mine.trace_id,
            "client": mine.client,
            "key": mine.key,
            "method": scope["method"],
            "path": scope["path"],
            "route": route,
            "status": status,
            "bytes": size,
            "ms": round(seconds * 1000, 3),
            "stages_ms": {name: round(spent * 1000, 3) for name, spent in stages.items()},
            "cache": mine.cache,
        }
        if self._log_queries:
            told["query"] = mine.query
        lines.write(msgspec.json.encode({k: v for k, v in told.items() if v not in (None, {})}).decode())


def _own(mine: Visit) -> Headers:
    headers = [(b"x-request-id", mine.request_id.encode())]
    return [*headers, (b"traceparent", mine.traceparent.encode())] if mine.traceparent else headers
