"""Requests as OpenTelemetry spans, sent over OTLP/HTTP where `[serve] otel` names a collector.

A request is a span of kind server, a child of the client's where it sent a `traceparent`; each lap of a
search is a child of it. The spans of a request are handed over once it was answered, and sent by a thread.
"""

from __future__ import annotations

import logging
import re
import time
from http import HTTPStatus
from typing import Any, Self

from findling.errors import ConfigError, extra
from findling.serve.visit import Visit

_SEND_SECONDS = 5
_NANO = 1_000_000_000


class Tracer:
    """Makes the spans of requests; raises MissingExtra without the extra `otel`."""

    def __init__(self, endpoint: str) -> None:
        with extra("otel", "serve.otel"):
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        self._trace = trace
        self._parent_of = TraceContextTextMapPropagator().extract
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_SEND_SECONDS)
        self._provider = TracerProvider(resource=Resource.create({"service.name": "findling"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("findling")
        # Says at length that a collector is away, for each batch; a line of it is enough.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    @classmethod
    def of(cls, endpoint: str | None) -> Self | None:
        """A tracer, where there is a collector; raises ConfigError for an address that is none."""
        if not endpoint:
            return None
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", endpoint):
            raise ConfigError(f"serve.otel is {endpoint!r}", todo='write for example "http://127.0.0.1:4318"')
        return cls(endpoint)

    def begin(self, visit: Visit) -> Any:
        """The span of a request that has come; the visit's traceparent becomes this span's."""
        carried = {"traceparent": visit.traceparent} if visit.traceparent else {}
        span = self._tracer.start_span(
            visit.method, self._parent_of(carried), self._trace.SpanKind.SERVER, start_time=time.time_ns()
        )
        found = span.get_span_context()
        visit.traceparent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"
        return span

    def end(self, span: Any, visit: Visit) -> None:
        """The request was answered: its stages become spans too, and all are handed over."""
        now, ticks = time.time_ns(), time.perf_counter()
        span.update_name(f"{visit.method} {visit.route}")
        span.set_attributes(_attributes(visit))
        if visit.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.set_status(self._trace.StatusCode.ERROR)
        if span.is_recording():
            inside = self._trace.set_span_in_context(span)
            for stage, begun, ended in visit.stages.laps:
                lap = self._tracer.start_span(stage, inside, start_time=now - int((ticks - begun) * _NANO))
                lap.end(now - int((ticks - ended) * _NANO))
        span.end(now)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def _attributes(visit: Visit) -> dict[str, str | int]:
    """What a span tells, by the names of OpenTelemetry's semantic conventions for HTTP (1.23)."""
    told: dict[str, str | int | None] = {
        "http.request.method": visit.method,
        "http.route": visit.route,
        "http.response.status_code": visit.status,
        "http.response.body.size": visit.bytes,
        "url.path": visit.path,
        "client.address": visit.client,
        "findling.cache": visit.cache,
        "findling.request_id": visit.request_id,
        "findling.key": visit.key,
    }
    return {name: value for name, value in told.items() if value is not None}
