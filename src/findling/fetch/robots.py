"""robots.txt, asked for once a day for each origin and kept with the pictures (RFC 9309)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.robotparser import RobotFileParser

from findling.fetch import reasons
from findling.fetch.addresses import Target
from findling.fetch.cache import Entry, PictureCache
from findling.fetch.options import Timing
from findling.fetch.reasons import Failed

AGENT = "findling"
MAX_BYTES = 500_000
_FRESH = 86_400.0
_LONGEST_DELAY = 60.0
_AGAIN = 60.0

_NUMBERED = re.compile(r"\s*(?:crawl-delay|request-rate)\b", re.IGNORECASE)
_A_NUMBER = re.compile(r":\s*[0-9]{1,6}\s*(?:/\s*[0-9]{1,6}\s*)?(?:#.*)?$")

Ask = Callable[[str], Awaitable[bytes | None]]
"""Gives a text by its URL, None where the host has none; raises Failed where that cannot be told."""


class Robots:
    """What the origins' files allow; `ask` fetches them."""

    def __init__(self, ask: Ask, cache: PictureCache, timing: Timing) -> None:
        self._ask = ask
        self._cache = cache
        self._timing = timing
        self._known: dict[str, RobotFileParser] = {}
        self._not_before: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, target: Target) -> float:
        """The seconds that an origin wants between requests; raises Failed where it forbids this one.

        An origin without the file allows everything; one that cannot tell allows nothing for now.
        """
        async with self._locks.setdefault(target.origin, asyncio.Lock()):
            rules = self._known.get(target.origin)
            if rules is None:
                if self._timing.now() < self._not_before.get(target.origin, 0):
                    raise Failed(reasons.NO_ROBOTS)
                rules = self._known[target.origin] = await self._read(target)
        if not rules.can_fetch(AGENT, target.url):
            raise Failed(reasons.ROBOTS)
        return min(float(rules.crawl_delay(AGENT) or 0), _LONGEST_DELAY)

    async def _read(self, target: Target) -> RobotFileParser:
        url = f"{target.origin}/robots.txt"
        entry = self._cache.find(url)
        text = b""
        if entry is not None and self._timing.now() - entry.at < _FRESH:
            text = self._cache.content(entry) or b""
        else:
            try:
                text = await self._ask(url) or b""
            except Failed as failed:
                if failed.reason in reasons.PASSING:
                    self._not_before[target.origin] = self._timing.now() + _AGAIN
                    raise Failed(reasons.NO_ROBOTS) from None
            self._cache.keep(Entry(url, self._timing.now()), text)
        rules = RobotFileParser()
        lines = text.decode("utf-8", "replace").splitlines()
        # The standard library's parser raises ValueError for numbers that are none, such as a superscript.
        rules.parse([line for line in lines if not _NUMBERED.match(line) or _A_NUMBER.search(line)])
        return rules
