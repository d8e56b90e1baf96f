"""Vectors in two layers: a large index of any kind, less the rows that are gone, and a small exact one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.indexes.base import Mask, Params, Rows, Searchable, Vectors

_SPARE = 32  # more hits than wanted, for those that are gone


class LayeredIndex:
    """Rows [0, n) are the base's, gone ones too; rows from n on are the delta's.

    `gone` holds the base's rows that nothing may find any more, ascending.
    """

    def __init__(self, base: Searchable, delta: Searchable, gone: NDArray[np.int64]) -> None:
        self._base, self._delta, self._gone = base, delta, gone
        self.scalars: Any = getattr(base, "scalars", {})
        self.vectors: Any = _Stacked(base.vectors, delta.vectors)

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query; `params` are the base's."""
        many = len(self._base.vectors)
        rows, scores = self._of_base(vectors, k, params, None if mask is None else mask[:many])
        if not len(self._delta.vectors):
            return rows, scores
        more, theirs = self._delta.search(vectors, k, {}, None if mask is None else mask[many:])
        rows = np.concatenate([rows, np.where(more < 0, -1, more + many)], axis=1)
        return _best(rows, np.concatenate([scores, theirs], axis=1), k)

    def _of_base(self, vectors: Vectors, k: int, params: Params, mask: Mask | None) -> tuple[Rows, Vectors]:
        if not len(self._gone):
            return self._base.search(vectors, k, params, mask)
        if mask is None:
            # Passing over a few that are gone is cheaper than a mask; where too many are met, it is not.
            rows, scores = self._base.search(vectors, k + min(_SPARE, len(self._gone)), params)
            out = np.isin(rows, self._gone)
            rows, scores = np.where(out, -1, rows), np.where(out, -np.inf, scores).astype(np.float32)
            wanted = min(k, len(self._base.vectors) - len(self._gone))
            if ((rows >= 0).sum(axis=1) >= wanted).all():
                return _best(rows, scores, k)
        left = np.ones(len(self._base.vectors), np.bool_) if mask is None else mask.copy()
        left[self._gone] = False
        return self._base.search(vectors, k, params, left)


class _Stacked:
    """Two arrays of vectors read as one, by slice or by rows."""

    dtype = np.dtype(np.float16)
    ndim = 2

    def __init__(self, first: Any, second: Any) -> None:
        self._first, self._second = first, second
        self.shape = (len(first) + len(second), first.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float16]:
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        out = np.empty((len(wanted), self.shape[1]), np.float16)
        old = wanted < len(self._first)
        out[old] = self._first[wanted[old]]
        out[~old] = self._second[wanted[~old] - len(self._first)]
        return out


def _best(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The best k of each row of answers, ties by row, those that are none (-1) last."""
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
