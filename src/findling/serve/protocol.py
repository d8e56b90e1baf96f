"""HTTP on the wire, for clients that mean no good: uvicorn's protocol with bounds of size and time.

uvicorn waits as long as it takes for the rest of a request's head and for a reader of an answer, and takes
heads of any size; here each has a limit, and what cannot be read is refused as a problem document.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from findling.serve import problems

MAX_HEAD = 131_072  # bytes of request line and headers
MAX_ADDRESS = 65_000  # bytes; httptools cannot tell the parts of one of 65,536
HEAD_SECONDS = 10.0  # from the first byte of a request to the end of its headers
READ_SECONDS = 30.0  # for a client that does not read what is sent
MAX_WIRE = 256_000_000  # bytes of one request in all, however its body is cut into chunks
MAX_CONNECTIONS = 4096  # of one worker
_LINGER_SECONDS = 1.0  # between a refusal and the end, so that it is read before the connection is reset


class Guarded(HttpToolsProtocol):
    """One connection."""

    max_head = MAX_HEAD
    head_seconds = HEAD_SECONDS
    read_seconds = READ_SECONDS
    max_connections = MAX_CONNECTIONS

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._in_head = True
        self._refused = False
        self._head_bytes = 0  # of the parsed parts
        self._wire_bytes = 0  # of all that came since the request began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Someone connects."""
        super().connection_made(transport)
        if len(self.connections) > 2 * self.max_connections:
            transport.abort()
            return
        if len(self.connections) > self.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "too many connections at once")
            return
        self._head_timer = self.loop.call_later(self.head_seconds, self._on_slow_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        _stop(self._head_timer)
        _stop(self._read_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        if self._refused:
            return
        self._wire_bytes += len(data)
        super().data_received(data)
        # The parser keeps an unfinished header to itself, and so it is the bytes that count.
        if self._in_head and self._wire_bytes > self.max_head:
            self._refuse_head()
        elif self._wire_bytes > MAX_WIRE:
            self.transport.abort()
        elif self._begun:
            if self._in_head and self._head_timer is None:  # most heads come whole, and need none
                self._head_timer = self.loop.call_later(self.head_seconds, self._on_slow_head)
        elif self._answering is None and self.timeout_keep_alive_task is None:
            # Line ends between requests are nothing, and keep no connection open.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    @property
    def _answering(self) -> RequestResponseCycle | None:
        """The request that is being answered, if any."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first
        return None if cycle is None or cycle.response_complete else cycle

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._begun, self._in_head, self._head_bytes, self._wire_bytes = True, True, 0, 0

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count(len(url))
        super().on_url(url)
        if len(self.url) > MAX_ADDRESS:
            detail = (
                f"the address has more than {MAX_ADDRESS:,} bytes; send long queries in the body of a POST"
            )
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "bad-request", detail)
            raise ValueError(detail)  # ends the parsing

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after a body in chunks."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there; the body may follow."""
        self._in_head = False
        self._head_timer = _stop(self._head_timer)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is there, its body too."""
        self._begun = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is sent to."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(self.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._read_timer = _stop(self._read_timer)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed is refused; uvicorn calls this, also for errors that callbacks raise."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad-request", msg.rstrip("."))

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.max_head:
            self._refuse_head()
            raise ValueError("the head is too large")  # ends the parsing

    def _refuse_head(self) -> None:
        detail = f"the request's line and headers are too large; at most {self.max_head:,} bytes are taken"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "bad-request", detail)

    def _on_slow_head(self) -> None:
        self._head_timer = None
        if self._begun:
            detail = f"the request's head did not arrive within {self.head_seconds:g} seconds"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "bad-request", detail)
        else:
            self.transport.close()

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        """Say why, unless an answer is under way, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        answering = self._answering
        if answering is None or not answering.response_started:
            answer = problems.problem(status, code, status.phrase, detail, {"Connection": "close"})
            line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
            self.transport.write(line + head + b"\r\n" + bytes(answer.body))
        if answering is not None:
            answering.disconnected = True  # whatever works on it need not go on
            answering.message_event.set()
        self.transport.write_eof()
        _stop(self._head_timer)
        self._head_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """No timer in the place of one."""
    if timer is not None:
        timer.cancel()
    return None
