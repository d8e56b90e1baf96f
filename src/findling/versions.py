"""A number for each document that changes when anything of it does: how a delta finds what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from findling.embeddings import Embeddings, hash_halves
from findling.steps import content_hash, picture_keys

_SQL = "SELECT md5_number_lower(CAST(to_json(batch) AS VARCHAR)) AS version FROM batch"
_ROWS = 65_536  # hashed at a time
_HELD = np.uint64(0x9E3779B97F4A7C15)


def of(
    batches: Iterable[pa.RecordBatch], pictures: Sequence[tuple[str, Embeddings]], base: str
) -> NDArray[np.uint64]:
    """(n,) numbers, the lower half of the MD5 of each document as JSON.

    For each of `pictures`, a column and the vectors there are, the file behind it and its having a vector
    count too: a picture that could be had at last is a change. `base` is where relative paths start.
    """
    parts: list[NDArray[np.uint64]] = []
    with duckdb.connect() as connection:
        for batch in _gathered(batches):
            connection.register("batch", pa.table(batch))
            version = np.array(connection.execute(_SQL).fetchnumpy()["version"], np.uint64)
            for column, held in pictures:
                version = version ^ _seen(batch, column, held, base)
            parts.append(version)
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _seen(batch: pa.RecordBatch, column: str, held: Embeddings, base: str) -> NDArray[np.uint64]:
    nothing = content_hash("")
    hashes = hash_halves([key or nothing for key in picture_keys(batch, column, base)])
    return hashes[:, 0] ^ (held.held(hashes).astype(np.uint64) * _HELD)


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """The same rows in fewer, larger batches: a query costs as much as hashing a thousand rows."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= _ROWS:
            yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]
            waiting = []
    if sum(map(len, waiting)):
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]
