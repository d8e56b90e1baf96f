"""Bounds on what one client, one body and all bodies together may take."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import time
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from findling.errors import Overloaded, QueryError
from findling.serve import problems

MAX_BODY = 32_000_000
BODY_SECONDS = 30.0  # for the whole of a body, however slowly it trickles
ALL_BODIES = 256_000_000  # bytes of bodies that a worker holds at once
_DRAINED = 4 * MAX_BODY  # how much of a refused body is read, so that its sender gets to hear the answer

_SLOTS = 1 << 14
_PROBES = 8
_BURST_SECONDS = 2.0
_NO_TIME = 1e-9  # sums of steps are a little off


class Rates:
    """A rate for each client: so many requests a second, and a burst of two seconds' worth.

    Kept as the time at which a client's bucket is full again (the generic cell rate algorithm, ITU-T I.371),
    in a table of fixed size that worker processes share where `file` is given. Where more clients come than
    it has room for, those whose buckets fill soonest are forgotten first.
    """

    def __init__(self, rate: float, file: Path | None = None) -> None:
        self._step = 1 / rate
        self._slack = max(1.0, rate * _BURST_SECONDS) * self._step - self._step
        size = _SLOTS * 16
        descriptor = -1
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(descriptor, size)
        table = memoryview(mmap.mmap(descriptor, size))
        if descriptor >= 0:
            os.close(descriptor)
        self._names = table[: _SLOTS * 8].cast("Q")
        self._full_at = table[_SLOTS * 8 :].cast("d")

    def take(self, client: str) -> float:
        """0 where the client may go on, else the seconds until it may."""
        # The monotonic clock is the same for all processes of a machine.
        now = time.monotonic()
        name = int.from_bytes(hashlib.blake2b(client.encode(), digest_size=8).digest(), "little")
        slot = self._slot(name)
        full_at = max(now, self._full_at[slot]) if self._names[slot] == name else now
        wait = full_at - now - self._slack
        if wait > _NO_TIME:
            return wait
        self._names[slot], self._full_at[slot] = name, full_at + self._step
        return 0.0

    def _slot(self, name: int) -> int:
        near = [(name + step) % _SLOTS for step in range(_PROBES)]
        for slot in near:
            if self._names[slot] == name:
                return slot
        return min(near, key=self._full_at.__getitem__)


class Bodies:
    """Middleware: a body is small enough, arrives in time, and all bodies together fit into memory."""

    def __init__(
        self,
        app: ASGIApp,
        most: int = MAX_BODY,
        seconds: float = BODY_SECONDS,
        altogether: int = ALL_BODIES,
    ) -> None:
        self.app = app
        self._most = most
        self._seconds = seconds
        self._altogether = altogether
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, its body watched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        headers = dict(scope["headers"])
        if _length(headers) > self._most:
            if headers.get(b"expect", b"").lower() != b"100-continue":
                await _drain(receive, deadline)
            answer = problems.of_own_error(Request(scope), _too_large(self._most))
            await answer(scope, receive, send)
            return
        mine, ended = 0, False

        async def watched() -> Message:
            nonlocal mine, ended
            if ended:  # what comes now is that the client has gone, and one may wait for that
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _too_slow(self._seconds) from None
            size = len(message.get("body", b""))
            mine += size
            self._held += size
            ended = not message.get("more_body", False)
            if mine > self._most:
                await _drain(receive, deadline)
                raise _too_large(self._most)
            if self._held > self._altogether:
                raise Overloaded("too many large requests at once", todo="try again in a second")
            return message

        try:
            await self.app(scope, watched, send)
        finally:
            self._held -= mine


def _length(headers: dict[bytes, bytes]) -> int:
    told = headers.get(b"content-length", b"")
    return int(told) if told.isdigit() else 0


def _too_large(most: int) -> QueryError:
    error = QueryError("the body is too large", todo=f"at most {most:,} bytes are taken")
    error.status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return error


def _too_slow(seconds: float) -> QueryError:
    error = QueryError(f"the body did not arrive within {seconds:g} seconds", todo="send it faster")
    error.status = HTTPStatus.REQUEST_TIMEOUT
    return error


async def _drain(receive: Receive, deadline: float) -> None:
    """Read on what nobody wants, for a while: closing at once would take the answer from the sender."""
    read, more = 0, True
    try:
        async with asyncio.timeout_at(deadline):
            while more and read < _DRAINED:
                message = await receive()
                read += len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return
