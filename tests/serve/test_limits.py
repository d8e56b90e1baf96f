"""Every documented limit, hit from outside over HTTP: just inside it is taken, just outside it is refused."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from running import Caller, Reply, Running, inside
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from findling.records import MAX_K, MAX_QUERY_CHARACTERS, MAX_REACH, MAX_TERMS
from findling.serve import batcher, limits, problems, protocol, requests
from findling.serve.app import create
from findling.serve.live import Collection

SEARCH = "/collections/small/search"
PATIENCE = 20.0


def refused(service: Caller, body: Any, status: int = 400) -> str:
    """What is said of a body that is refused."""
    reply = service.call(SEARCH, body)
    assert (reply.status, reply.type) == (status, "application/problem+json"), reply.body[:200]
    return str(reply.json()["detail"])


def taken(service: Caller, body: Any) -> bool:
    return service.call(SEARCH, body).status == 200


# ---- what one query may ask ----------------------------------------------------------------------


def test_k(service: Running) -> None:
    assert taken(service, {"q": "whale", "k": MAX_K})
    assert "1 to 1000" in refused(service, {"q": "whale", "k": MAX_K + 1})
    assert service.call(f"{SEARCH}?q=whale&k=1001").status == 400


def test_offset_and_k(service: Running) -> None:
    assert taken(service, {"q": "whale", "k": 10, "offset": MAX_REACH - 10})
    assert "10000" in refused(service, {"q": "whale", "k": 10, "offset": MAX_REACH - 9})


@pytest.mark.parametrize("character", ["x", "é", "🐉", '"'])
def test_characters_of_a_query(service: Running, character: str) -> None:
    longest = character * MAX_QUERY_CHARACTERS
    assert taken(service, {"q": longest, "mode": "lexical"})
    assert "8001 characters" in refused(service, {"q": longest + character})
    # What fits into an address is taken there as well.
    in_address = service.call(f"{SEARCH}?q={quote(longest)}&mode=lexical")
    assert in_address.status == (414 if len(quote(longest)) > protocol.MAX_ADDRESS else 200)


def test_further_terms(service: Running) -> None:
    assert taken(service, {"also": [{"q": "whale"}] * MAX_TERMS})
    assert "17 further terms" in refused(service, {"also": [{"q": "whale"}] * (MAX_TERMS + 1)})


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"column": "year", "op": ">", "value": 1}
    for _ in range(depth):
        tree = {"not": tree}
    return tree


def test_depth_of_a_filter(service: Running) -> None:
    for inside_, outside in (("(" * 32 + "year > 1" + ")" * 32, "(" * 33 + "year > 1" + ")" * 33),):
        assert taken(service, {"q": "x", "where": inside_})
        assert "nested deeper than 32" in refused(service, {"q": "x", "where": outside})
    assert taken(service, {"q": "x", "where": nested(32)})
    assert "nested deeper than 32" in refused(service, {"q": "x", "where": nested(33)})


def test_characters_of_a_filter(service: Running) -> None:
    start = "title != '"
    assert taken(service, {"q": "x", "where": f"{start}{'x' * (1_000_000 - len(start) - 1)}'"})
    assert "1,000,001 characters" in refused(
        service, {"q": "x", "where": f"{start}{'x' * (1_000_000 - len(start))}'"}
    )


def test_values_of_a_body(service: Running) -> None:
    body = b'{"q": "x", "weights": {"text": 1}, "facets": ["authors"' + b', "authors"' * 100_000 + b"]}"
    assert "too many values" in refused(service, body)
    for bomb in (b"[" * 10**7, b'{"also": [' + b"{}," * 10**7, b'{"where": {"and": [' + b"{}," * 10**7):
        assert "too many values" in refused(service, bomb)


# ---- pictures ------------------------------------------------------------------------------------


def png(width: int, height: int, padding: int = 0) -> bytes:
    """A small file of a large black picture; `padding` bytes make it as large as one likes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        size, check = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(kind + content))
        return size + kind + content + check

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    filled = chunk(b"tEXt", b"x\0" + bytes(padding)) if padding else b""
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), chunk(b"IDAT", packed), filled, chunk(b"IEND", b"")]
    return b"".join(parts)


def by_picture(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode(), "mode": "semantic"}


def test_pixels_of_a_picture(service: Running) -> None:
    assert taken(service, by_picture(png(10_000, 5_000)))
    assert "50,000,000 pixels" in refused(service, by_picture(png(10_000, 5_001)))
    assert "50,000,000 pixels" in refused(service, by_picture(png(65_000, 1_000)))


def test_bytes_of_a_picture(service: Running) -> None:
    small = png(8, 8)
    most = 20_000_000 - len(small) - 14
    assert taken(service, by_picture(png(8, 8, most)))
    assert "20,000,000 bytes" in refused(service, by_picture(png(8, 8, most + 1)))


@pytest.mark.parametrize("name", ["secret", "/etc/passwd", "http://127.0.0.1/a.png", "file:///etc/passwd"])
def test_a_picture_is_bytes_and_never_an_address(service: Running, name: str) -> None:
    refused(service, {"image": name})
    refused(service, {"image": base64.b64encode(name.encode()).decode()})


def test_an_archive_is_no_picture(service: Running) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "TIFF")
    assert "TIFF is not taken" in refused(service, by_picture(content.getvalue()))
    assert "not a picture" in refused(service, by_picture(b"PK\x03\x04" + bytes(100)))


# ---- bodies --------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A JSON body of exactly that many bytes."""
    start, end = b'{"q": "whale", "k": 1', b"}"
    return start + b" " * (size - len(start) - len(end)) + end


def test_bytes_of_a_body(service: Running) -> None:
    assert taken(service, padded(limits.MAX_BODY))
    assert "32,000,000 bytes" in refused(service, padded(limits.MAX_BODY + 1), 413)


def wire(caller: Caller, timeout: float = PATIENCE) -> socket.socket:
    host, _, port = caller.base.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65536):
            got += more
    return got


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_bytes_of_a_body_in_chunks(service: Running) -> None:
    with wire(service) as connection:
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        connection.sendall(head)
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(32):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        assert status_of(everything(connection)) == 413


def test_who_asks_before_sending_too_much_is_told_at_once(service: Running) -> None:
    with wire(service) as connection:
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 32000001\r\n"
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert status_of(everything(connection)) == 413


# ---- time and memory, on a service that is less patient ------------------------------------------


class Impatient(protocol.Guarded):
    head_seconds = 0.1
    read_seconds = 0.1
    max_head = 4096
    max_connections = 20
    ended = threading.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.ended.set()


async def _count(request: Request) -> Response:
    return Response(str(len(await request.body())))


async def _large(request: Request) -> Response:
    return Response(bytes(50_000_000))


@pytest.fixture(scope="module")
def impatient() -> Iterator[Caller]:
    """Small limits, so that reaching them takes no time."""
    app = Starlette(
        routes=[Route("/", _count, methods=["GET", "POST"]), Route("/large", _large)],
        middleware=[
            Middleware(limits.Bodies, most=2000, seconds=0.1, altogether=3000),
            Middleware(problems.Problems),
        ],
    )
    with inside(app, Impatient) as caller:
        yield caller


def test_seconds_of_a_head(impatient: Caller) -> None:
    for beginning in (b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"GET /" + b"a" * 100):
        with wire(impatient) as connection:
            connection.sendall(beginning)
            answer = everything(connection)
        assert status_of(answer) == 408
        assert b"application/problem+json" in answer
    with wire(impatient) as connection:
        assert everything(connection) == b""  # nothing was said, so nothing is answered
    with wire(impatient) as connection:  # a second request of a connection is no slower
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
        assert [int(part[:3]) for part in everything(connection).split(b"HTTP/1.1 ")[1:]] == [200, 408]


def test_bytes_of_a_head(impatient: Caller) -> None:
    for filling in ("X: " + "a" * 5000, "a: b\r\n" * 1000):
        with wire(impatient) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{filling}\r\n\r\n".encode())
            assert status_of(everything(connection)) == 431
    with wire(impatient) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for piece in (b"GET / HTTP/1.1\r\nX: ", *[b"a" * 100_000] * 100):  # and it never ends
                connection.sendall(piece)
        assert status_of(everything(connection)) == 431
    with wire(impatient) as connection:
        connection.sendall(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n")
        assert status_of(everything(connection)) == 431


def test_bytes_of_trailers(impatient: Caller) -> None:
    with wire(impatient) as connection:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        connection.sendall(head + b"a: b\r\n" * 2000)
        assert status_of(everything(connection)) == 431


def test_bytes_of_a_head_as_documented(service: Running) -> None:
    assert service.call(f"/livez?{'x' * (protocol.MAX_ADDRESS - 7)}").status == 200
    assert service.call(f"/livez?{'x' * (protocol.MAX_ADDRESS - 6)}").status == 414
    assert service.call("/livez", headers={"X": "x" * 100_000}).status == 200
    assert service.call("/livez", headers={"X": "x" * 132_000}).status == 431


def test_seconds_of_a_body(impatient: Caller) -> None:
    with wire(impatient) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome")
        answer = everything(connection)
    assert status_of(answer) == 408
    assert b"connection: close" in answer.lower()


def test_a_reader_that_does_not_read_is_let_go(impatient: Caller) -> None:
    with wire(impatient) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        Impatient.ended.clear()
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000)
        assert Impatient.ended.wait(PATIENCE)


def test_bytes_of_all_bodies_together(impatient: Caller) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500\r\n\r\n"
    with wire(impatient) as first, wire(impatient) as second, wire(impatient) as third:
        for connection in (first, second):
            connection.sendall(head + b"x" * 1499)
        third.sendall(head + b"x" * 1499)
        answers = [everything(connection) for connection in (third, first, second)]
    assert 503 in map(status_of, answers)
    assert b"retry-after" in b"".join(answers).lower()
    assert impatient.call("/", b"x" * 1500).body == b"1500"  # what was held is free again


def test_connections(impatient: Caller) -> None:
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(wire(impatient)) for _ in range(20)]
        late = opened.enter_context(wire(impatient))
        answer = everything(late)
        assert status_of(answer) == 503
        assert b"retry-after: 1" in answer.lower()
        assert len(held) == 20
    assert impatient.call("/").status == 200


def test_more_requests_than_may_wait_are_refused_at_once(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is bounded by count, so who is let in never waits for more than that many others."""
    monkeypatch.setattr(batcher, "PENDING", 4)
    searching, release = threading.Semaphore(0), threading.Event()
    collection.refresh()
    collection.searcher.together = 1  # or one thread might take all
    right = collection.searcher.search

    def slow(*arguments: Any) -> Any:
        searching.release()
        assert release.wait(PATIENCE)
        return right(*arguments)

    monkeypatch.setattr(collection.searcher, "search", slow)
    replies: list[int] = []
    with inside(create([collection])) as caller:

        def ask(number: int) -> Reply:
            return caller.call(f"{SEARCH}?q=whale+{number}")  # each another, or one search would do for all

        waiting = [threading.Thread(target=lambda n=n: replies.append(ask(n).status)) for n in range(4)]
        for thread in waiting:
            thread.start()
        for _ in range(2):  # as many as there are threads to search
            assert searching.acquire(timeout=PATIENCE)
        while 'findling_queue_depth{worker="0"} 4' not in caller.call("/metrics").body.decode():
            threading.Event().wait(0.01)
        refusals = [ask(number) for number in range(10, 30)]
        release.set()
        for thread in waiting:
            thread.join(PATIENCE)
    assert {reply.status for reply in refusals} == {503}
    assert {reply.headers["retry-after"] for reply in refusals} == {"1"}
    assert {reply.json()["code"] for reply in refusals} == {"overloaded"}
    assert replies == [200] * 4


def test_the_limits_are_those_that_the_guide_tells() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    told = {
        "32 MB": (limits.MAX_BODY, 32_000_000),
        "within 30 s": (limits.BODY_SECONDS, 30),
        "256 MB": (limits.ALL_BODIES, 256_000_000),
        "128 KiB": (protocol.MAX_HEAD, 128 * 1024),
        "within 10 s": (protocol.HEAD_SECONDS, 10),
        "65,000 bytes": (protocol.MAX_ADDRESS, 65_000),
        "4,096": (protocol.MAX_CONNECTIONS, 4096),
        "100,000 values": (requests.MAX_VALUES, 100_000),
    }
    assert [words for words, (is_, meant) in told.items() if words not in guide or is_ != meant] == []
