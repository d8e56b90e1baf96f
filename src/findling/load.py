"""A load generator: closed loop, or open loop at a rate, with latencies from the intended start.

In a closed loop each connection asks anew when it was answered, so a slow server is asked less. In an open
loop requests are due at fixed times whatever the server does, and what waits for a free connection has
waited: that avoids the coordinated omission that Gil Tene named ("How NOT to Measure Latency", 2015).
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import httptools

from findling.errors import ConfigError, FindlingError

Order = Literal["file", "zipf"]
ORDERS: tuple[Order, ...] = ("file", "zipf")
PATIENCE = 30.0  # seconds until a request counts as an error
_HIT = b'"cache":"hit"'
_STEP = math.log(1.01)  # buckets of a hundredth
_LEAST = 1e-6


class Histogram:
    """Latencies in buckets that each span a hundredth, from a microsecond to minutes."""

    def __init__(self) -> None:
        self._counts = [0] * 2200
        self.total = 0

    def add(self, seconds: float) -> None:
        """One latency."""
        at = int(math.log(max(seconds, _LEAST) / _LEAST) / _STEP)
        self._counts[min(at, len(self._counts) - 1)] += 1
        self.total += 1

    def percentile(self, share: float) -> float:
        """Seconds that a share of all latencies does not exceed, to a hundredth; 0 where there are none."""
        wanted, seen = share * self.total, 0
        for at, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return _LEAST * math.exp((at + 0.5) * _STEP)
        return 0.0


@dataclass
class Report:
    """What a load found: latencies in seconds, `cache_hits` answers that a cache gave, and errors by kind."""

    seconds: float = 0.0
    requests: int = 0
    cache_hits: int = 0
    latencies: Histogram = field(default_factory=Histogram)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        """Requests that were not answered with a status of 2xx."""
        return sum(self.failures.values())

    def told(self) -> dict[str, Any]:
        """The report as `findling load --json` prints it."""
        percentile = self.latencies.percentile
        return {
            "requests": self.requests,
            "errors": self.errors,
            "rps": round((self.requests - self.errors) / self.seconds, 1) if self.seconds else 0.0,
            "latency_ms": {f"p{n}": round(percentile(n / 100) * 1000, 3) for n in (50, 95, 99)},
            "cache_hits": self.cache_hits,
        }


@dataclass(frozen=True)
class Target:
    """Where requests go: `path` holds `{}` where the query belongs; `headers` are sent with each."""

    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, url: str, headers: Sequence[tuple[str, str]] = ()) -> Target:
        """A URL with `{}`, a search endpoint that takes `q`, or a service whose first collection is meant."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError(f"{url!r} cannot be loaded", todo="give a URL that begins with http://")
        path = parts.path or "/"
        if "{}" in url:
            path = f"{path}?{parts.query}" if parts.query else path
        elif path.rstrip("/").endswith("/search"):
            path = f"{path.rstrip('/')}?{parts.query}{'&' if parts.query else ''}q={{}}"
        else:
            path = f"/collections/{_first_collection(url, headers)}/search?q={{}}"
        return cls(parts.hostname, parts.port or 80, path, tuple(headers))

    def request(self, query: str) -> bytes:
        """The bytes of a request for a query."""
        path = self.path.replace("{}", urllib.parse.quote(query, safe=""))
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _first_collection(url: str, headers: Sequence[tuple[str, str]]) -> str:
    request = urllib.request.Request(f"{url.rstrip('/')}/collections", headers=dict(headers))  # noqa: S310 - http, as checked
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - the same
            name: str = json.load(answer)["collections"][0]["name"]
            return urllib.parse.quote(name)
    except (OSError, ValueError, LookupError) as error:
        raise FindlingError(
            f"{url} does not tell its collections: {error}", todo="give a search: …/search?query={}"
        ) from None


def queries_in(order: Order, queries: Sequence[str], seed: int = 0) -> Iterator[str]:
    """Queries without end: in the order of the file, or drawn by 1 / place (Zipf, s = 1)."""
    if order == "file":
        while True:
            yield from queries
    chance = random.Random(seed)  # noqa: S311 - a repeatable load, no secret
    total, sums = 0.0, []
    for place in range(1, len(queries) + 1):
        total += 1 / place
        sums.append(total)
    while True:
        yield from chance.choices(queries, cum_weights=sums, k=1000)


async def run(
    target: Target,
    queries: Iterator[str],
    concurrency: int,
    seconds: float,
    rate: float | None = None,
    told: Callable[[Report], object] = bool,
) -> Report:
    """Load a target with so many connections for some seconds; `told` hears of it each second.

    With `rate`, so many requests a second are due in an open loop; else it is a closed one.
    """
    report = Report()
    started = time.perf_counter()
    end = started + seconds
    due = _due(started, end, rate)
    connections = [_Connection(target, report) for _ in range(concurrency)]
    ticking = asyncio.create_task(_tick(report, started, told))
    try:
        await asyncio.gather(*(_drive(each, due, queries, end) for each in connections))
    finally:
        ticking.cancel()
        report.seconds = time.perf_counter() - started
        for each in connections:
            each.close()
    return report


def run_alone(
    target: Target,
    queries: Iterator[str],
    concurrency: int,
    seconds: float,
    rate: float | None = None,
    told: Callable[[Report], object] = bool,
) -> Report:
    """`run` in a loop of its own: uvloop's where there is one, so that less of the machine goes to asking."""
    work = run(target, queries, concurrency, seconds, rate, told)
    try:
        import uvloop
    except ImportError:  # on Windows
        return asyncio.run(work)
    return uvloop.run(work)


def _due(started: float, end: float, rate: float | None) -> Iterator[float | None]:
    """When each request is due; None: as soon as somebody can ask."""
    number = 0
    while rate is None:
        yield None
    while (at := started + number / rate) < end:
        yield at
        number += 1


async def _drive(
    connection: _Connection, due: Iterator[float | None], queries: Iterator[str], end: float
) -> None:
    for at in due:
        now = time.perf_counter()
        if at is not None and at > now:
            await asyncio.sleep(at - now)
        if time.perf_counter() >= end and at is None:
            return
        await connection.ask(next(queries), at)


async def _tick(report: Report, started: float, told: Callable[[Report], object]) -> None:
    while True:
        await asyncio.sleep(1)
        report.seconds = time.perf_counter() - started
        told(report)


class _Connection(asyncio.Protocol):
    """One connection that is kept: a request, its answer, the next request."""

    def __init__(self, target: Target, report: Report) -> None:
        self._target, self._report = target, report
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._answered: asyncio.Future[None] | None = None
        self._hit = False

    async def ask(self, query: str, due: float | None) -> None:
        """Send a query and note how it was answered."""
        started = time.perf_counter() if due is None else due
        self._report.requests += 1
        try:
            async with asyncio.timeout(PATIENCE):
                if self._transport is None:
                    loop = asyncio.get_running_loop()
                    await loop.create_connection(lambda: self, self._target.host, self._target.port)
                assert self._transport is not None  # noqa: S101 - connection_made has set it
                self._answered = asyncio.get_running_loop().create_future()
                self._hit = False
                self._parser = httptools.HttpResponseParser(self)
                self._transport.write(self._target.request(query))
                await self._answered
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            self._failed(type(error).__name__)
            self.close()
            return
        self._report.latencies.add(time.perf_counter() - started)
        self._report.cache_hits += self._hit
        status = self._parser.get_status_code()
        if not 200 <= status < 300:
            self._failed(str(status))
        if not self._parser.should_keep_alive():
            self.close()

    def close(self) -> None:
        """Give the connection up; the next request opens another."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """A part of an answer's body; the parser calls this."""
        self._hit = self._hit or _HIT in body

    def on_message_complete(self) -> None:
        """An answer is whole; the parser calls this."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has closed it."""
        self._transport = None
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("closed"))

    def _failed(self, kind: str) -> None:
        self._report.failures[kind] = self._report.failures.get(kind, 0) + 1
