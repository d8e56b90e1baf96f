"""Where the time of one request goes: a stopwatch that passes through whatever works on it."""

from __future__ import annotations

import time
from collections import Counter


class Stages:
    """Laps of one request, one after another; whoever finishes a stage says so with `lap`.

    `laps` holds (stage, from, to) in seconds of `time.perf_counter`. A lap costs well under a microsecond, so
    that nobody needs to ask whether somebody looks.
    """

    __slots__ = ("_last", "laps")

    def __init__(self) -> None:
        self.laps: list[tuple[str, float, float]] = []
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """All the time since the last lap went into this stage."""
        now = time.perf_counter()
        self.laps.append((stage, self._last, now))
        self._last = now

    def seconds(self) -> dict[str, float]:
        """The time of each stage, over all its laps."""
        spent: Counter[str] = Counter()
        for stage, begun, ended in self.laps:
            spent[stage] += ended - begun  # type: ignore[assignment] # a Counter adds floats as well
        return dict(spent)
