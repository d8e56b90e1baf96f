"""What became of each request: metrics, spans, the access log, and headers on every answer."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from findling.serve import problems
from findling.serve.lines import Lines
from findling.serve.metrics import Metrics
from findling.serve.tracing import Tracer
from findling.serve.visit import Visit

Headers = list[tuple[bytes, bytes]]


class Access:
    """Outermost middleware: sees every request and every answer, and turns bugs into plain problems."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        tracer: Tracer | None,
        headers: Headers,
        log: bool,
        log_queries: bool,
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._tracer = tracer
        self._headers = headers
        self._lines = Lines(sys.stderr) if log else None
        self._log_queries = log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and note what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mine = Visit.begin(scope)
        span = self._tracer.begin(mine) if self._tracer else None
        self._metrics.begin()

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                mine.status = message["status"]
                message["headers"] = [*message["headers"], *self._headers, *_own(mine)]
            else:
                mine.bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception as error:
            # A bug. Who asked gets an answer all the same, unless it has begun; the log gets the rest.
            answer = problems.of_bug(Request(scope), error)
            if mine.status:
                raise
            await answer(scope, receive, sent)
        finally:
            mine.end(scope)
            self._metrics.observe(mine)
            if self._tracer:
                self._tracer.end(span, mine)
            if self._lines:
                self._lines.write(_line(mine, self._log_queries))


def _own(mine: Visit) -> Headers:
    headers = [(b"x-request-id", mine.request_id.encode())]
    return [*headers, (b"traceparent", mine.traceparent.encode())] if mine.traceparent else headers


def _line(mine: Visit, with_query: bool) -> str:
    """A visit as a line of JSON; what is not known is left out."""
    told: dict[str, Any] = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "request_id": mine.request_id,
        "trace_id": mine.trace_id,
        "client": mine.client,
        "key": mine.key,
        "method": mine.method,
        "path": mine.path,
        "route": mine.route,
        "status": mine.status,
        "bytes": mine.bytes,
        "ms": round(mine.seconds * 1000, 3),
        "stages_ms": {name: round(spent * 1000, 3) for name, spent in mine.stages.seconds().items()},
        "cache": mine.cache,
        "query": mine.query if with_query else None,
    }
    return msgspec.json.encode({k: v for k, v in told.items() if v is not None and v != {}}).decode()
