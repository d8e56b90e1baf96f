"""When the next request to a host may go: agreed between all processes that share a cache directory.

One small file per host holds when the next request may go and until when the host wants to be left alone. So
a rate holds for all workers of a machine together, and a run that follows a killed one starts no faster.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from findling.fetch.options import Timing

_TIMES = struct.Struct("<dd")
_LONGEST = 86_400.0
_OPEN = 64  # files at once: a table of pictures may name more hosts than a process may have files


class Pace:
    """The hosts' turns, kept in a directory; for one thread, and any number of processes."""

    def __init__(self, directory: Path, timing: Timing) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._timing = timing
        self._hosts: OrderedDict[str, _Shared] = OrderedDict()

    def close(self) -> None:
        """Let go of the files."""
        for shared in self._hosts.values():
            shared.close()
        self._hosts.clear()

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
        shared = self._shared(host)
        with shared.held():
            turn, paused = self._times(shared)
            shared.times = max(turn, until), max(paused, until)

    def paused(self, host: str) -> float:
        """For how many more seconds the host wants to be left alone."""
        return self._times(self._shared(host))[1] - self._timing.now()

    def _reserve(self, host: str, interval: float) -> float:
        shared, now = self._shared(host), self._timing.now()
        if not interval and shared.times[0] <= now:
            return 0.0
        with shared.held():
            turn, paused = self._times(shared)
            shared.times = max(turn, now) + interval, paused
        return turn - now

    def _times(self, shared: _Shared) -> tuple[float, float]:
        """When the next request may go, and until when none may.

        A clock that was set back, or a damaged file, would otherwise hold a host's turn for years.
        """
        latest = self._timing.now() + _LONGEST
        turn, paused = (time if 0 <= time <= latest else 0.0 for time in shared.times)
        return turn, paused

    def _shared(self, host: str) -> _Shared:
        if host not in self._hosts:
            name = hashlib.sha256(host.encode()).hexdigest()[:32]
            self._hosts[host] = _Shared(self._directory / name)
        self._hosts.move_to_end(host)
        if len(self._hosts) > _OPEN:  # nobody uses it: what is asked of a file waits for nothing
            self._hosts.popitem(last=False)[1].close()
        return self._hosts[host]


class _Shared:
    """Two times in a file that is mapped by all who use it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if os.fstat(self._descriptor).st_size != _TIMES.size:
            os.ftruncate(self._descriptor, _TIMES.size)
        self._memory = mmap.mmap(self._descriptor, _TIMES.size)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else changes the times meanwhile."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def times(self) -> tuple[float, float]:
        turn, paused = _TIMES.unpack(self._memory)
        return turn, paused

    @times.setter
    def times(self, times: tuple[float, float]) -> None:
        self._memory[:] = _TIMES.pack(*times)

    def close(self) -> None:
        self._memory.close()
        os.close(self._descriptor)
