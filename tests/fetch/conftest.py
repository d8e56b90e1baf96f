"""A hostile host, a clock that tests turn, and fetchers that go by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fetch.server import Host
from findling.fetch import Fetcher, FetchOptions
from findling.fetch.options import Timing


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self.slept: list[float] = []
        self.timing = Timing(now=lambda: self.time, sleep=self.sleep, random=lambda: 1.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., Fetcher]


@pytest.fixture
def fetcher(tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Makes fetchers that may talk to 127.0.0.1; options are given as in [fetch]."""
    opened: list[Fetcher] = []

    def make(
        retry_failed: bool = False, roots: tuple[str, ...] = (), base: str = "", **options: Any
    ) -> Fetcher:
        given = {"contact": "you@example.org", "allow_hosts": ["127.0.0.1"], "robots": False}
        given |= {"per_minute": 0, "timeout": 5, **options}
        made = Fetcher(
            FetchOptions.read(given),
            tmp_path / "cache",
            base=base,
            roots=roots,
            retry_failed=retry_failed,
            timing=clock.timing,
        )
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.close()
