"""When the next request to a host may go: agreed between all processes that share a cache directory.

One small file per host holds when the next request may go and until when the host wants to be left alone. So
a rate holds for all workers of a machine together, and a run that follows a killed one starts no faster.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

from findling.fetch.options import Timing

_FORMAT = "<dd"
_LONGEST = 86_400.0
_Change = Callable[[float, float], tuple[float, float]]


class Pace:
    """The hosts' turns, kept in a directory."""

    def __init__(self, directory: Path, timing: Timing) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._timing = timing

    async def turn(self, host: str, interval: float) -> None:
        """Return when a request to the host may go, at least `interval` seconds after the one before."""
        while True:
            wait = self._reserve(host, interval)
            if wait > 0:
                await self._timing.sleep(wait)
            if wait <= 0 or self.paused(host) <= 0:
                return  # else somebody was told to wait while we slept

    def pause(self, host: str, seconds: float) -> None:
        """No request to the host for so long, by anyone."""
        until = self._timing.now() + min(seconds, _LONGEST)
        self._change(host, lambda turn, paused: (max(turn, until), max(paused, until)))

    def paused(self, host: str) -> float:
        """For how many more seconds the host wants to be left alone."""
        _, paused = self._change(host, None)
        return paused - self._timing.now()

    def _reserve(self, host: str, interval: float) -> float:
        now = self._timing.now()
        before, _ = self._change(host, lambda turn, paused: (max(turn, now) + interval, paused))
        return before - now

    def _change(self, host: str, change: _Change | None) -> tuple[float, float]:
        """The host's two times as they were, after which they are what `change` makes of them."""
        name = hashlib.sha256(host.encode()).hexdigest()[:32]
        descriptor = os.open(self._directory / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = os.pread(descriptor, struct.calcsize(_FORMAT), 0)
            times = struct.unpack(_FORMAT, held) if len(held) == struct.calcsize(_FORMAT) else (0.0, 0.0)
            latest = self._timing.now() + _LONGEST
            # A clock that was set back would otherwise hold the host's turn for years.
            turn, paused = (time if 0 <= time <= latest else 0.0 for time in times)
            if change is not None:
                os.pwrite(descriptor, struct.pack(_FORMAT, *change(turn, paused)), 0)
            return turn, paused
        finally:
            os.close(descriptor)
