"""Batches handed to another process through files that it maps: faster than through a pipe."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from findling import storage


class Rooms:
    """Files in a directory, each of which holds some batches for a while; gone when the work is done.

    One that was read is filled again: writing over a file costs a copy, a new file also costs its pages.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._all: list[Path] = []
        self._free: list[Path] = []

    def fill(self, batches: list[pa.RecordBatch]) -> Path:
        """A file that holds the batches, for `received`; raises StorageError."""
        with storage.explained(str(self._directory), "write"):
            path = self._free.pop() if self._free else self._new()
            with path.open("r+b") as file, pa.ipc.new_stream(file, batches[0].schema) as stream:
                for batch in batches:
                    stream.write_batch(batch)
        return path

    def leave(self, path: Path) -> None:
        """Nobody reads it any more."""
        self._free.append(path)

    def _new(self) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(".arrow", dir=self._directory)
        os.close(descriptor)
        self._all.append(Path(name))
        return self._all[-1]

    def __enter__(self) -> Rooms:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._all:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def received(path: str) -> Iterator[Iterator[pa.RecordBatch]]:
    """The batches that a file holds, good until it is left: their memory is the file's."""
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        yield iter(stream)
