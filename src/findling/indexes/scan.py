"""Exact search over vectors in a file, block by block: what indexes share, and what they are judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError
from findling.indexes.base import Mask, Rows, Vectors

Stored = NDArray[np.floating[Any]]

BLOCK_BYTES = 8_000_000  # of float32 at a time, however large the file
SLACK = 1e-5  # how far, relative to the best, a blocked product may be off


class NotFinite(FindlingError):
    """A vector that cannot be compared, of which only the row is known here."""

    def __init__(self, row: int, why: str) -> None:
        super().__init__(f"the vector of row {row} is {why}")
        self.row, self.why = row, why

    def __reduce__(self) -> tuple[object, ...]:
        return NotFinite, (self.row, self.why)


def block_rows(dim: int) -> int:
    """How many vectors of a dimension make one block."""
    return max(256, BLOCK_BYTES // (4 * max(dim, 1)))


def blocks(vectors: Stored) -> Iterator[tuple[int, Vectors]]:
    """(first row, (b, dim) float32) for each block of an array that may be mapped.

    Raises FindlingError naming the row of a vector that is not finite.
    """
    step = block_rows(vectors.shape[1])
    for start in range(0, len(vectors), step):
        block = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise NotFinite(start + int(np.argmin(finite)), "not finite")
        yield start, block


def halves(vectors: Stored) -> Iterator[tuple[int, NDArray[np.float16]]]:
    """(first row, (b, dim) float16) for each block, zeros without a sign.

    Raises FindlingError naming the row of a vector that is not finite, or not in 16 bits.
    """
    for start, block in blocks(vectors):
        with np.errstate(over="ignore"):
            half = block.astype(np.float16)
        finite = np.isfinite(half).all(axis=1)
        if not finite.all():
            raise NotFinite(start + int(np.argmin(finite)), "too large for 16 bits")
        half += np.float16(0)
        yield start, half


def check_vectors(vectors: Stored) -> None:
    """Raise FindlingError unless vectors are (n, dim) with dim above 0."""
    if vectors.ndim != 2 or vectors.shape[1] < 1:
        raise FindlingError(f"vectors of shape {vectors.shape} cannot be indexed: (n, dim) is wanted")


def check_search(vectors: Vectors, dim: int, count: int, k: int, mask: Mask | None) -> Vectors:
    """The queries as contiguous float32; raises FindlingError where queries, k or mask do not fit."""
    queries = np.ascontiguousarray(vectors, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise FindlingError(f"queries of shape {queries.shape} do not fit an index of dimension {dim}")
    if k < 1:
        raise FindlingError(f"k is {k}, but at least 1 row must be wanted")
    if mask is not None and mask.shape != (count,):
        raise FindlingError(f"a mask of shape {mask.shape} does not fit an index of {count} rows")
    if not np.isfinite(queries).all():
        raise FindlingError("a query vector is not finite")
    return queries


def scan(stored: Stored, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Rows, Vectors]:
    """The exact best k among `stored`, or among its given ascending `rows`: rows and scores (q, k).

    Blocks are multiplied in float32; who is close enough to the best k is scored again in float64, so that
    equal vectors have equal scores and ties come in row order. Rows end in -1 and scores in -inf where
    fewer than k exist. Memory: one block, and 12 bytes for each row that ties with the k-th.
    """
    found = [_Best(k) for _ in queries]
    total = len(stored) if rows is None else len(rows)
    step = block_rows(stored.shape[1])
    for start in range(0, total, step):
        part = slice(start, start + step)
        block = np.asarray(stored[part] if rows is None else stored[rows[part]], dtype=np.float32)
        for best, scores in zip(found, queries @ block.T, strict=True):
            best.add(start, scores)
    out_rows = np.full((len(queries), k), -1, np.int64)
    out_scores = np.full((len(queries), k), -np.inf, np.float32)
    for at, (best, query) in enumerate(zip(found, queries, strict=True)):
        near = best.rows if rows is None else rows[best.rows]
        scores = score(stored, near, query)
        order = np.lexsort((near, -scores))[:k]
        out_rows[at, : len(order)] = near[order]
        out_scores[at, : len(order)] = scores[order]
    return out_rows, out_scores


def score(stored: Stored, rows: Rows, query: Vectors) -> Vectors:
    """The inner products of `query` (dim,) and some stored vectors, (r,) float32, summed in float64."""
    step = block_rows(stored.shape[1])
    wide = query.astype(np.float64)
    parts = [stored[rows[at : at + step]].astype(np.float64) @ wide for at in range(0, len(rows), step)]
    return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)


class _Best:
    """The best k rows of one query so far, with all that come too close to tell apart."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.rows = np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)
        self.floor = -np.inf

    def add(self, start: int, scores: Vectors) -> None:
        near = np.flatnonzero(scores >= self.floor)
        self.rows = np.concatenate([self.rows, near + start])
        self.scores = np.concatenate([self.scores, scores[near]])
        if len(self.rows) > self.k:
            kth = np.partition(self.scores, -self.k)[-self.k]
            self.floor = kth - SLACK * max(float(np.abs(self.scores).max()), 1e-30)
            keep = self.scores >= self.floor
            self.rows, self.scores = self.rows[keep], self.scores[keep]
