"""One picture from the web: redirects followed by hand, limits kept while it comes in, tries repeated."""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from findling.fetch import reasons, robots
from findling.fetch.addresses import CheckedResolver, Target, check_literal, target
from findling.fetch.cache import PictureCache
from findling.fetch.options import FetchOptions, Timing
from findling.fetch.pace import Pace
from findling.fetch.reasons import Failed
from findling.pictures import DAMAGED, MAX_BYTES, TOO_MANY_BYTES

_REDIRECTS = 5
_FAILURES_IN_A_ROW = 40
_GIVEN_UP_FOR = 300.0
_LONGEST_BACKOFF = 60.0
_IDLE = 3.0
_BY_STATUS = {
    401: reasons.FORBIDDEN, 402: reasons.FORBIDDEN, 403: reasons.FORBIDDEN, 451: reasons.FORBIDDEN,
    404: reasons.NOT_FOUND, 410: reasons.NOT_FOUND,
    408: reasons.TIMED_OUT, 425: reasons.TOO_MANY, 429: reasons.TOO_MANY,
}  # fmt: skip


class Answer(NamedTuple):
    """What came: `content` is None where the picture has not changed, `location` set for a redirect."""

    content: bytes | None = None
    etag: str | None = None
    modified: str | None = None
    location: str | None = None


class Held(NamedTuple):
    """What is known of a picture that is already had."""

    etag: str | None
    modified: str | None


@dataclass(frozen=True)
class _Wish:
    """What of a host is asked for; more than `limit` bytes are refused, or where that will do not read."""

    accept: str
    limit: int
    held: Held | None = None
    obeying: bool = True
    beginning: bool = False


_ROBOTS = _Wish("text/plain", robots.MAX_BYTES, obeying=False, beginning=True)


class Web:
    """Asks hosts for pictures; lives in one event loop."""

    def __init__(self, options: FetchOptions, cache: PictureCache, pace: Pace, timing: Timing) -> None:
        self._options = options
        self._pace = pace
        self._timing = timing
        self._robots = robots.Robots(self._robots_txt, cache, timing)
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(options.connections)
        )
        # A try's time begins when there is a connection for it, so aiohttp's own limit is never met.
        self._all = asyncio.Semaphore(options.total_connections)
        self._wanting: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()
        self._given_up: dict[str, float] = {}
        self._sessions = {lasting: self._session(lasting=lasting) for lasting in (True, False)}

    def _session(self, *, lasting: bool) -> aiohttp.ClientSession:
        """Connections to be used again, or once: idle ones to many hosts would use up a process's files."""
        kept: dict[str, Any] = {"keepalive_timeout": _IDLE} if lasting else {"force_close": True}
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=CheckedResolver(self._options.allow_hosts), limit=0, ttl_dns_cache=60, **kept
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={"User-Agent": self._options.user_agent},
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._options.connect_timeout, sock_read=self._options.read_timeout
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()

    async def get(self, url: str, held: Held | None = None) -> Answer:
        """A picture, or word that the one held is still the same; raises Failed."""
        wish = _Wish("image/jpeg, image/png, image/webp, image/gif, image/*;q=0.5", MAX_BYTES, held)
        return await self._patiently(lambda: self._follow(url, wish))

    async def _robots_txt(self, url: str) -> bytes | None:
        return (await self._patiently(lambda: self._follow(url, _ROBOTS))).content

    async def _patiently(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask again while what failed may pass; the waits double, each cut by chance to half or more."""
        for attempt in range(1, self._options.attempts + 1):
            try:
                return await ask()
            except Failed as failed:
                again = failed.reason in reasons.PASSING - {reasons.GAVE_UP, reasons.NO_ROBOTS}
                if not again or attempt == self._options.attempts:
                    raise
                if failed.wait is None:  # else its host is paused, for everyone
                    await self._timing.sleep(self._backoff(attempt))
        raise AssertionError("there is at least one attempt")

    def _backoff(self, attempt: int) -> float:
        return min(_LONGEST_BACKOFF, float(2 ** (attempt - 1))) * (0.5 + self._timing.random() / 2)

    async def _follow(self, url: str, wish: _Wish) -> Answer:
        """The answer at the end of at most five redirects, each checked like the first address."""
        asked, seen, seconds = target(url), set(), self._options.timeout
        if asked.host not in self._options.allow_hosts:
            self._options.require_contact()
        for _ in range(_REDIRECTS + 1):
            if asked.url in seen:
                raise Failed(reasons.LOOP)
            seen.add(asked.url)
            answer, seconds = await self._in_turn(asked, wish, seconds)
            if answer.location is None:
                return answer
            asked = target(answer.location, base=asked.url)
            if not self._options.contact and asked.host not in self._options.allow_hosts:
                raise Failed(reasons.NO_CONTACT)
        raise Failed(reasons.HOPS)

    async def _in_turn(self, asked: Target, wish: _Wish, seconds: float) -> tuple[Answer, float]:
        """One request, when its host's turn has come, and what is left of the seconds that it may take."""
        self._wanting[asked.host] += 1
        try:
            return await self._request(asked, wish, seconds)
        finally:
            self._wanting[asked.host] -= 1
            if not self._wanting[asked.host]:  # there may be more hosts than fit into memory
                del self._wanting[asked.host]
                self._gates.pop(asked.host, None)

    async def _request(self, asked: Target, wish: _Wish, seconds: float) -> tuple[Answer, float]:
        options, host, clock = self._options, asked.host, asyncio.get_running_loop()
        check_literal(host, options.allow_hosts)
        interval = options.interval(host)
        self._check_given_up(host)
        if wish.obeying and options.robots:
            interval = max(interval, await self._robots.check(asked))
        async with self._gates[host]:
            self._check_given_up(host)
            if self._pace.paused(host) > options.patience:
                raise Failed(reasons.TOO_MANY, 0)
            await self._pace.turn(host, interval)
            try:
                async with self._all, asyncio.timeout(seconds):
                    started = clock.time()
                    answer = await self._ask(asked, wish)
            except Failed as failed:
                self._note(host, failed)
                raise
            except Exception as error:  # whatever a host's bytes make of a parser is the host's failure
                broken = Failed(_reason_of(error))
                self._note(host, broken)
                raise broken from error
            self._in_a_row.pop(host, None)
            return answer, max(0.0, seconds - (clock.time() - started))

    def _note(self, host: str, failed: Failed) -> None:
        """Pause a host that asks for it; give up, for some minutes, one that never answers."""
        if failed.wait is not None:
            self._pace.pause(host, failed.wait)
        if failed.reason not in reasons.PASSING or failed.wait is not None:
            self._in_a_row.pop(host, None)
            return
        self._in_a_row[host] += 1
        if self._in_a_row[host] >= _FAILURES_IN_A_ROW:
            self._given_up[host] = self._timing.now() + _GIVEN_UP_FOR
            self._in_a_row[host] = _FAILURES_IN_A_ROW - 1

    def _check_given_up(self, host: str) -> None:
        if self._timing.now() < self._given_up.get(host, 0):
            raise Failed(reasons.GAVE_UP)

    async def _ask(self, asked: Target, wish: _Wish) -> Answer:
        headers = {"Accept": wish.accept, "Accept-Encoding": "identity"}
        if wish.held and wish.held.etag:
            headers["If-None-Match"] = wish.held.etag
        if wish.held and wish.held.modified:
            headers["If-Modified-Since"] = wish.held.modified
        url = URL(asked.url, encoded=True)
        mine = 1 if wish.obeying else 2  # for robots.txt, the picture that waits for it is there too
        session = self._sessions[self._wanting[asked.host] > mine]
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            return await self._answer(response, wish)

    async def _answer(self, response: aiohttp.ClientResponse, wish: _Wish) -> Answer:
        status, said = response.status, response.headers
        etag, modified = _plain(said.get("ETag")), _plain(said.get("Last-Modified"))
        if status == 304 and wish.held:
            return Answer(None, etag or wish.held.etag, modified or wish.held.modified)
        if status in {301, 302, 303, 307, 308}:
            if not (location := said.get("Location")):
                raise Failed(reasons.REDIRECT)
            return Answer(location=location)
        if status in {200, 203}:
            return Answer(await self._body(response, wish), etag, modified)
        reason = _BY_STATUS.get(status, reasons.SERVER if status >= 500 else reasons.REFUSED)
        wait = self._asked_wait(said.get("Retry-After")) if reason in reasons.PASSING else None
        raise Failed(reason, wait)

    async def _body(self, response: aiohttp.ClientResponse, wish: _Wish) -> bytes:
        """The body, never more than the limit's bytes of it, compressed or not."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise Failed(reasons.ENCODING)
        if (response.content_length or 0) > wish.limit and not wish.beginning:
            raise Failed(TOO_MANY_BYTES)
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > wish.limit:
                break
        content = bytes(body) if encoding in {"", "identity"} else _inflated(body, wish.limit)
        if max(len(body), len(content)) > wish.limit and not wish.beginning:
            raise Failed(TOO_MANY_BYTES)
        return content[: wish.limit]

    def _asked_wait(self, text: str | None) -> float | None:
        """Retry-After in seconds, as it stands or until its date (RFC 9110, section 10.2.3)."""
        if text is None:
            return None
        if text.strip().isdecimal():
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._timing.now())
        except (ValueError, OverflowError):
            return None


def _inflated(body: bytearray, limit: int) -> bytes:
    """What gzip or zlib packed; one byte more than `limit` where there is more."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        content = inflate.decompress(body, limit + 1)
    except zlib.error:
        raise Failed(DAMAGED) from None
    if not inflate.eof and max(len(content), len(body)) <= limit:
        raise Failed(reasons.CUT)
    return content


def _plain(value: str | None) -> str | None:
    """A header's value that can be kept and sent back; hosts write what they like."""
    return value if value and value.isascii() and value.isprintable() and len(value) <= 500 else None


def _reason_of(error: Exception) -> str:
    """The reason that stands for what a request can raise."""
    if isinstance(error, TimeoutError):
        return reasons.TIMED_OUT
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return reasons.NO_HOST
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)):
        return reasons.CERTIFICATE
    if isinstance(error, aiohttp.ClientPayloadError):
        return reasons.CUT
    if isinstance(error, (aiohttp.ClientConnectionError, OSError)):
        return reasons.NO_CONNECTION
    return reasons.NOT_HTTP
