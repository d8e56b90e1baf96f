"""The service as someone who means no good would ask it, byte by byte over a socket."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import resource
from typing import Any

import pytest
from running import Caller, Running
from test_limits import everything, status_of, wire

SEARCH = "/collections/small/search"
HOST = b"Host: localhost\r\n"


def said(service: Caller, request: bytes) -> bytes:
    """What is answered to some bytes, up to the end of the connection."""
    with wire(service) as connection:
        connection.sendall(request)
        return everything(connection)


def post(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in (b"Connection: close", *headers))
    length = f"Content-Length: {len(body)}\r\n".encode()
    return f"POST {SEARCH} HTTP/1.1\r\n".encode() + HOST + length + head + b"\r\n" + body


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n\r\n",  # HTTP/0.9
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \x00 HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Bad Header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\n Y: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        post(b"{}", b"Transfer-Encoding: chunked"),  # two lengths: what smuggling is made of
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    ],
    ids=range(16),
)
def test_what_is_hardly_http_is_refused_in_good_form(service: Running, request_: bytes) -> None:
    answer = said(service, request_)
    assert 400 <= status_of(answer) < 500, answer[:100]
    assert answer.count(b"HTTP/1.1 ") == 1, "one request has one answer, or something was smuggled"
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "method", ["TRACE", "TRACK", "DEBUG", "PUT", "PATCH", "DELETE", "PROPFIND", "OPTIONS"]
)
def test_other_methods_are_refused(service: Running, method: str) -> None:
    head = f"{method} /collections HTTP/1.1\r\nX-Secret: echo\r\nConnection: close\r\n".encode()
    answer = said(service, head + HOST + b"\r\n")
    assert status_of(answer) in (400, 405)
    assert b"echo" not in answer


def test_head_is_get_without_a_body(service: Running) -> None:
    for path in ("/", "/collections", f"{SEARCH}?q=whale", "/livez"):
        answer = said(service, f"HEAD {path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert status_of(answer) == 200
        assert (b"content-length" in head, body) == (True, b"")


def test_no_websocket_is_opened(service: Running) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    assert status_of(said(service, b"GET /livez HTTP/1.1\r\n" + HOST + upgrade + key)) == 200


INJECTED = "%0d%0aX-Injected:%20yes%0d%0aSet-Cookie:%20a=b"


@pytest.mark.parametrize(
    "path",
    [
        f"/{INJECTED}",
        f"/search?query={INJECTED}",
        f"/collections/{INJECTED}/search?q=x",
        f"/collections/small/documents/{INJECTED}",
        f"/page/{INJECTED}",
        f"/favicon.ico?{INJECTED}",
    ],
)
def test_no_header_is_injected(service: Running, path: str) -> None:
    reply = service.call(path, headers={"X-Request-Id": "a%0d%0ab"})
    assert not {"x-injected", "set-cookie"} & reply.headers.keys()
    assert reply.status in (200, 404)


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../../../../etc/passwd",
        "/page/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/page/%2e%2e/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/....//app.py",
        "/page/..%5capp.py",
        "/page/%00",
        "/page/page.js%00.html",
        "/page/" + "a" * 5000,
        "/page/.",
        "/page/",
        "/collections/small/documents/..%2f..%2fbooks.jsonl/picture",
        "/collections/..%2f..%2fetc/search?q=x",
    ],
)
def test_no_path_leads_outside(service: Running, path: str) -> None:
    answer = said(service, f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n\r\n")
    assert status_of(answer) == 404
    assert b"root:" not in answer


BODIES: dict[str, bytes] = {
    "NaN": b'{"vector": [NaN]}',
    "Infinity": b'{"vector": [Infinity]}',
    "beyond float32": b'{"vector": [' + b",".join([b"1e39"] * 64) + b"]}",
    "beyond float64": b'{"vector": [1e999]}',
    "zeros": b'{"vector": [' + b",".join([b"0"] * 64) + b"]}",
    "no numbers": b'{"vector": []}',
    "weight NaN": b'{"q": "x", "weights": {"text": NaN}}',
    "weight beyond": b'{"q": "x", "weights": {"text": 1e400}}',
    "deep": b'{"where": ' + b'{"not": ' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "deep list": b'{"q": "x", "where": {"and": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    "invalid UTF-8": b'{"q": "\xff\xfe\xc0\x80"}',
    "overlong UTF-8": b'{"q": "\xe0\x80\xaf"}',
    "half a character": b'{"q": "\\ud800"}',
    "half in a filter": b'{"q": "x", "where": {"column": "title", "op": "=", "value": "\\udfff"}}',
    "half in like": b'{"like": "\\ud800"}',
    "half in a facet": b'{"q": "x", "facets": ["\\ud800"]}',
    "byte order mark": b'\xef\xbb\xbf{"q": "x"}',
    "UTF-16": '{"q": "x"}'.encode("utf-16"),
    "control characters": b'{"q": "\x00\x01"}',
    "two documents": b'{"q": "x"}{"q": "y"}',
    "a long number": b'{"q": "x", "k": ' + b"9" * 100_000 + b"}",
    "a long fraction": b'{"vector": [0.' + b"1" * 100_000 + b"]}",
    "a long exponent": b'{"vector": [1e' + b"9" * 100_000 + b"]}",
    "a number in a filter": b'{"q": "x", "where": {"column": "year", "op": "=", "value": '
    + b"9" * 5000
    + b"}}",
    "many columns": b'{"q": "x", "facets": [' + b",".join([b'"nope"'] * 50_000) + b"]}",
    "a huge key": b'{"' + b"k" * 1_000_000 + b'": 1}',
    "empty": b"",
    "spaces": b" " * 1_000_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bodies_made_to_hurt_are_refused(service: Running, body: bytes) -> None:
    reply = service.call(SEARCH, body)
    assert (reply.status, reply.type) == (400, "application/problem+json"), reply.body[:300]
    assert len(reply.body) < 2000, "nobody needs their megabyte back"


@pytest.mark.parametrize(
    "body",
    [
        {"q": "x", "where": "title = '" + "a" * 999_000},
        {"q": "x", "where": "title = '" + "''" * 499_000},
        {"q": "x", "where": '"' + "a" * 999_000},
        {"q": "x", "where": "title" * 199_000 + " = 1"},
        {"q": "x", "where": " " * 999_000 + "'"},
        {"q": "x", "where": {"column": "title " * 1_000_000, "op": "=", "value": 1}},
        {"like": "a " * 1_000_000},
        {"q": "x", "facets": ["a " * 1_000_000]},
    ],
    ids=["quote", "quotes", "name", "long name", "spaces", "JSON name", "like", "facet"],
)
def test_long_texts_take_neither_time_nor_memory(service: Running, body: Any) -> None:
    def most() -> float:
        text = service.call("/metrics").body.decode()
        sizes = re.findall(r"^process_resident_memory_bytes\S* (\S+)$", text, re.MULTILINE)
        return max(map(float, sizes))

    before = most()
    reply = service.call(SEARCH, body)
    assert reply.status in (400, 404)
    assert len(reply.body) < 2000
    assert most() - before < 200_000_000


def test_a_vector_is_a_direction_however_long(service: Running) -> None:
    told = [
        service.call(SEARCH, {"vector": [size * (at % 5 - 2) for at in range(64)], "mode": "semantic"}).json()
        for size in (1.0, 1e38, 1e-30)
    ]
    scores = [[(hit["id"], round(hit["score"], 4)) for hit in answer["hits"]] for answer in told]
    assert scores[0] == scores[1] == scores[2] != []


def test_of_two_equal_keys_the_last_counts(service: Running) -> None:
    assert len(service.call(SEARCH, b'{"q": "x", "k": 2, "k": 1}').json()["hits"]) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        "q=%ff%fe",
        "q=%",
        "q=%zz",
        "q=a&q=b",
        "q=x&k=1&k=2",
        "q=x&k=%00",
        "q=x&k=١",
        "q=x&where=%00",
        "q=x&facets=,,,",
    ],
)
def test_odd_parameters_are_answered_or_refused(service: Running, parameters: str) -> None:
    address = f"GET {SEARCH}?{parameters} HTTP/1.1\r\n".encode()
    answer = said(service, address + HOST + b"Connection: close\r\n\r\n")
    assert status_of(answer) in (200, 400)


def test_a_body_compressed_or_of_another_kind_is_refused(service: Running) -> None:
    for kind in ("text/xml", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 10_000):
        assert service.call(SEARCH, b"\x1f\x8b" + bytes(100), kind=kind).status == 400


def test_a_form_made_to_hurt_is_refused(service: Running) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\nx\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="image"; filename="../../a"\r\n\r\nx\r\n'
    header = (
        b'--b\r\nContent-Disposition: form-data; name="q"\r\n' + b"X: " + b"a" * 1_000_000 + b"\r\n\r\nx\r\n"
    )
    many = b'--b\r\nContent-Disposition: form-data; name="q"\r\n' + b"X: a\r\n" * 100_000 + b"\r\nx\r\n"
    for form in (part * 10_000, file * 2, header, many, part[:-10], b"--b" * 100_000):
        reply = service.call(SEARCH, form + b"--b--\r\n", kind="multipart/form-data; boundary=b")
        assert (reply.status, reply.type) == (400, "application/problem+json"), (form[:80], reply.status)


def test_a_thousand_connections_that_say_nothing_keep_nobody_out(service: Running) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with contextlib.ExitStack() as opened:
            for number in range(1000):
                connection = opened.enter_context(wire(service))
                if number % 2:
                    connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            assert service.call(f"{SEARCH}?q=whale").status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert service.call(f"{SEARCH}?q=whale").status == 200


def test_pipelined_requests_are_answered_in_their_order(service: Running) -> None:
    one = f"GET {SEARCH}?q=whale&k=%d HTTP/1.1\r\n".encode() + HOST
    asked = b"".join(one % k + b"\r\n" for k in (1, 2, 3)) + one % 4 + b"Connection: close\r\n\r\n"
    answer = said(service, asked)
    sizes: list[Any] = [
        len(json.loads(part.partition(b"\r\n\r\n")[2])["hits"])
        for part in answer.split(b"HTTP/1.1 200 OK")[1:]
    ]
    assert sizes == [1, 2, 3, 4]


def test_no_answer_tells_where_things_are(service: Running) -> None:
    for body in ({"like": "nope"}, {"image": base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()}, {"q": 1}):
        text = service.call(SEARCH, body).body.decode()
        assert str(service.home) not in text
        assert "Traceback" not in text
