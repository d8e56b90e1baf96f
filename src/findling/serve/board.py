"""Numbers that worker processes share: each writes its own row of a table, and any of them reads all.

A row is a file of float64 in native order, mapped by the worker that holds its lock. A worker that ends
leaves its row to the next one, which counts on from there: so sums never go down, and there are never more
rows than there were workers at once. One thread of a worker writes.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from array import array
from pathlib import Path

_BYTES = 8


class Board:
    """`size` numbers, in a directory that workers share, or in this process alone where there is none."""

    def __init__(self, size: int, directory: Path | None = None) -> None:
        self._size = size
        self._directory = directory
        # The descriptor stays open for as long as the process: the lock on the row goes with it.
        self._file = -1 if directory is None else _row_of_its_own(directory, size * _BYTES)
        self._mine = memoryview(mmap.mmap(self._file, size * _BYTES)).cast("d")

    def __getitem__(self, at: int) -> float:
        """This worker's own number."""
        return self._mine[at]

    def __setitem__(self, at: int, value: float) -> None:
        self._mine[at] = value

    def add(self, at: int, value: float = 1.0) -> None:
        """Count on."""
        self._mine[at] += value

    def rows(self) -> list[array[float]]:
        """The numbers of all workers, this one's among them; those of workers that have ended, too."""
        if self._directory is None:
            return [array("d", self._mine)]
        contents = [path.read_bytes() for path in sorted(self._directory.iterdir())]
        return [array("d", content) for content in contents if len(content) == self._size * _BYTES]

    def totals(self) -> list[float]:
        """Each number, summed over all workers."""
        return [sum(values) for values in zip(*self.rows(), strict=True)]


def _row_of_its_own(directory: Path, size: int) -> int:
    """The first row that no living worker holds, locked."""
    directory.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        file = os.open(directory / f"{number:04d}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            number += 1
            continue
        os.ftruncate(file, size)
        return file
