"""Embeddings as a cache that is never recomputed: content hash to vector, one directory per encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from findling import storage

Hashes = NDArray[np.uint64]
"""(n, 2): the two halves of 16-byte content hashes."""
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Embeddings:
    """The vectors that one encoder has made for one vector field, in Parquet parts of (hash, vector)."""

    path: str

    @classmethod
    def of(cls, root: str, field: str, encoder_id: str) -> Embeddings:
        """The cache of a field and an encoder below a collection's directory."""
        return cls(storage.join(root, "embeddings", field, encoder_id))

    def parts(self) -> list[str]:
        """The URLs of all parts."""
        names = storage.listing(self.path)
        return [storage.join(self.path, n) for n in names if n.endswith(".parquet") and not n.startswith(".")]

    def version(self) -> list[str]:
        """What changes when vectors come or go: which cache it is, and its parts."""
        return [self.path, *self.parts()]

    def held(self, wanted: Hashes) -> NDArray[np.bool_]:
        """Which of the wanted hashes are there; reads no vectors."""
        return self._each(wanted, ["hash"], lambda _ours, _theirs, _batch: None)

    def gather(self, wanted: Hashes, out: NDArray[np.float16]) -> NDArray[np.bool_]:
        """Copy the vector of each wanted hash into its row of `out` (n, dim); returns which were there.

        Reads every part once and holds one row group of it at a time.
        """

        def copy(ours: Rows, theirs: Rows, batch: pa.RecordBatch) -> None:
            flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            out[ours] = flat.reshape(batch.num_rows, -1)[theirs]

        return self._each(wanted, ["hash", "vector"], copy)

    def _each(
        self, wanted: Hashes, columns: list[str], use: Callable[[Rows, Rows, pa.RecordBatch], None]
    ) -> NDArray[np.bool_]:
        """Calls `use` with rows of `wanted` and of a batch that holds them; returns which were there."""
        order = np.argsort(wanted[:, 0], kind="stable")
        first, second = wanted[order, 0], wanted[order, 1]
        found = np.zeros(len(wanted), np.bool_)
        for batch in self._read(columns):
            hashes = hash_halves(batch.column("hash"))
            begin = np.searchsorted(first, hashes[:, 0], "left")
            many = np.searchsorted(first, hashes[:, 0], "right") - begin
            theirs = np.repeat(np.arange(len(hashes)), many)
            ours = np.repeat(begin - np.cumsum(many) + many, many) + np.arange(len(theirs))
            same = second[ours] == hashes[theirs, 1]
            rows = order[ours[same]]
            use(rows, theirs[same], batch)
            found[rows] = True
        return found

    def _read(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        for part in self.parts():
            with storage.open_read(part) as opened:
                for batch in pq.ParquetFile(opened).iter_batches(columns=columns):
                    if batch.num_rows:
                        yield batch


def hash_halves(column: Any) -> Hashes:
    """A column or list of 16-byte hashes as (n, 2) integers."""
    values = column.to_pylist() if isinstance(column, (pa.Array, pa.ChunkedArray)) else column
    return np.frombuffer(b"".join(values), np.uint64).reshape(-1, 2)
