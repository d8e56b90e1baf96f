"""robots.txt, asked for once a day for each origin and kept with the pictures (RFC 9309)."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from findling.fetch import reasons
from findling.fetch.addresses import Target
from findling.fetch.cache import Entry, PictureCache
from findling.fetch.options import Timing
from findling.fetch.reasons import Failed

AGENT = "findling"
MAX_BYTES = 512_000
"""What comes after is not read (RFC 9309, section 2.5: at least 500 KiB are)."""
_FRESH = 86_400.0
_LONGEST_DELAY = 60.0
_AGAIN = 60.0
_REMEMBERED = 256  # origins, of which each may have megabytes of rules; the cache has the texts
_ABSENT = {
    reasons.NOT_FOUND, reasons.FORBIDDEN, reasons.REFUSED, reasons.HOPS, reasons.LOOP, reasons.REDIRECT,
}  # fmt: skip

_TOKEN = re.compile(r"[a-z_-]+")
_SECONDS = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

Ask = Callable[[str], Awaitable[bytes | None]]
"""Gives the beginning of a text by its URL, None where the host has none; raises Failed where that cannot be
told."""


class Robots:
    """What the origins' files allow; `ask` fetches them."""

    def __init__(self, ask: Ask, cache: PictureCache, timing: Timing) -> None:
        self._ask = ask
        self._cache = cache
        self._timing = timing
        self._known: OrderedDict[str, tuple[float, Rules]] = OrderedDict()
        self._not_before: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, target: Target) -> float:
        """The seconds that an origin wants between requests; raises Failed where it forbids this one.

        An origin without the file allows everything; one that cannot tell allows nothing for now.
        """
        async with self._locks.setdefault(target.origin, asyncio.Lock()):
            read, rules = self._known.get(target.origin, (0.0, Rules()))
            if not self._is_fresh(read):
                if self._timing.now() < self._not_before.get(target.origin, 0):
                    raise Failed(reasons.NO_ROBOTS)
                read, rules = self._known[target.origin] = await self._read(target)
            self._known.move_to_end(target.origin)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if not rules.allow("/" + target.url.split("/", 3)[3]):
            raise Failed(reasons.ROBOTS)
        return min(rules.delay, _LONGEST_DELAY)

    def _is_fresh(self, at: float) -> bool:
        return self._timing.now() - at < _FRESH

    async def _read(self, target: Target) -> tuple[float, Rules]:
        """When an origin's file was asked for, and what it says."""
        url = f"{target.origin}/robots.txt"
        entry = self._cache.find(url)
        text = self._cache.content(entry) if entry is not None and self._is_fresh(entry.at) else None
        if entry is None or text is None:
            text = await self._asked(url, target.origin)
            entry = self._cache.keep(Entry(url, self._timing.now()), text)
        return entry.at, rules_of(text)

    async def _asked(self, url: str, origin: str) -> bytes:
        try:
            return await self._ask(url) or b""
        except Failed as failed:
            if failed.reason in _ABSENT:
                return b""
            self._not_before[origin] = self._timing.now() + _AGAIN
            raise Failed(reasons.NO_ROBOTS) from None


@dataclass(frozen=True)
class Rules:
    """What a file says to one agent: patterns of paths, longest first, and whether they are allowed."""

    patterns: tuple[tuple[str, bool], ...] = ()
    delay: float = 0.0

    def allow(self, path: str) -> bool:
        """Whether a path with its query may be asked for: the longest pattern that fits decides."""
        path = _in_one_form(path).replace("*", "%2A").replace("$", "%24")
        return next((allowed for pattern, allowed in self.patterns if _fits(pattern, path)), True)


def rules_of(content: bytes, agent: str = AGENT) -> Rules:
    """What a file's bytes say to an agent, or to all (`*`) where it is not named."""
    if len(content) >= MAX_BYTES:
        content = content[:MAX_BYTES].rpartition(b"\n")[0]  # half a pattern forbids or allows too much
    patterns: dict[str, dict[str, bool]] = {}
    delays: dict[str, float] = {}
    for name, key, value in _said(content.decode("utf-8-sig", "replace"), {agent, "*"}):
        known = patterns.setdefault(name, {})
        if key in {"allow", "disallow"} and value:
            pattern = _in_one_form(value)
            known[pattern] = known.get(pattern, False) or key == "allow"  # of equals, the allowing one
        elif key == "crawl-delay" and _SECONDS.fullmatch(value):
            delays[name] = max(delays.get(name, 0.0), float(value))
    mine = agent if agent in patterns else "*"
    ranked = sorted(patterns.get(mine, {}).items(), key=lambda item: -len(item[0]))
    return Rules(tuple(ranked), delays.get(mine, 0.0))


def _said(text: str, agents: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Each line of these agents' groups, as agent, key and value; other agents would only fill memory.

    A group is one or more lines of `user-agent` and the rules that follow them.
    """
    named: set[str] = set()
    in_rules = False
    for line in re.split(r"[\r\n]+", text):
        key, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        key = key.lower()
        if key == "user-agent":
            named, in_rules = set() if in_rules else named, False
            token = _TOKEN.match(value.lower())
            named |= {token[0] if token else value} & set(agents)
        elif key in {"allow", "disallow", "crawl-delay"}:
            in_rules = True
        for name in named:
            yield name, key, value


def _fits(pattern: str, path: str) -> bool:
    """Whether a path begins as a pattern says: `*` is any run of characters, a last `$` the path's end."""
    to_the_end = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    last = others.pop() if to_the_end and others else None
    for part in others:
        if (found := path.find(part, place)) < 0:
            return False
        place = found + len(part)
    if last is not None:
        return len(path) - len(last) >= place and path.endswith(last)
    return place == len(path) or not to_the_end


def _in_one_form(path: str) -> str:
    """A path in which only what must be escaped is (RFC 3986, section 6.2.2)."""

    def plain(found: re.Match[str]) -> str:
        mark = chr(int(found[1], 16))
        return mark if _UNRESERVED.fullmatch(mark) else found[0].upper()

    return _ESCAPED.sub(plain, quote(path, safe=_PRINTABLE))
