"""Spans of requests, as an OpenTelemetry collector gets them."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from running import inside

from findling.config import ServeOptions
from findling.errors import ConfigError, MissingExtra
from findling.serve.app import create
from findling.serve.live import Collection
from findling.serve.tracing import Tracer

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SEARCH = "/collections/small/search?q=secretwords"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector's address, and what was posted to it."""
    posted: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


@pytest.mark.needs("opentelemetry")
def test_a_request_is_a_span_of_its_clients_trace_with_its_stages_below(
    collection: Collection, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    address, posted = collector
    with inside(create([collection], ServeOptions(otel=address))) as caller:
        answer = caller.call(SEARCH, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        assert answer.status == 200
        version, trace, own, flags = answer.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert own != SPAN
        assert len(caller.call("/livez").headers["traceparent"]) == 55  # a trace of its own
        unwanted = caller.call("/livez", headers={"traceparent": f"00-{'1' * 32}-{SPAN}-00"})
        assert unwanted.headers["traceparent"].endswith("-00")
    spans = [
        span
        for path, body in posted
        if path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert not any(span.trace_id.hex() == "1" * 32 for span in spans), "its client does not sample it"
    [root] = [span for span in spans if span.trace_id.hex() == TRACE and span.span_id.hex() == own]
    told = {item.key: item.value for item in root.attributes}
    assert root.name == "GET /collections/{collection}/search"
    assert root.parent_span_id.hex() == SPAN
    assert told["http.response.status_code"].int_value == 200
    assert told["url.path"].string_value == SEARCH.partition("?")[0]
    stages = [span for span in spans if span.parent_span_id == root.span_id]
    assert {"wait", "encode", "index", "lexical", "documents"} <= {span.name for span in stages}
    for span in stages:
        assert root.start_time_unix_nano <= span.start_time_unix_nano + 1_000_000
        assert span.end_time_unix_nano <= root.end_time_unix_nano + 1_000_000
    assert not any(b"secretwords" in body for _, body in posted)


@pytest.mark.slow  # leaving, it is given a few seconds to come back
@pytest.mark.needs("opentelemetry")
def test_a_collector_that_is_away_holds_up_nothing(collection: Collection, free_port: int) -> None:
    options = ServeOptions(otel=f"http://127.0.0.1:{free_port}")
    with inside(create([collection], options)) as caller:
        assert caller.call(SEARCH).status == 200


def test_what_is_no_address_and_a_missing_library_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tracer.of(None) is None
    with pytest.raises(ConfigError, match=r"serve\.otel is 'collector'"):
        Tracer.of("collector")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtra, match=r"findling\[otel\]"):
        Tracer.of("http://127.0.0.1:4318")
