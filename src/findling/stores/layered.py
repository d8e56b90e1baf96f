"""Documents in two layers: those of a base, less those that are gone, and behind them those of a delta."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Readable(Protocol):
    """A store that is open, as a searcher reads it."""

    def __len__(self) -> int: ...

    @property
    def schema(self) -> pa.Schema:
        """The columns that filters and facets may use."""
        ...

    def get_many(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's document as a JSON object, in the order asked."""
        ...

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Each row's id, in the order asked."""
        ...

    def row_of(self, id: str) -> int | None:  # noqa: A002 - the word that everything else uses
        """The row of a document, or None where there is none of this id."""
        ...

    def column(self, name: str) -> pa.ChunkedArray:
        """A column for filters and facets, in row order."""
        ...


class LayeredStore:
    """Rows [0, n) are the base's, gone ones too; rows from n on are the delta's. Thread-safe.

    `gone` holds the base's rows that nothing may find any more, ascending.
    """

    def __init__(self, base: Readable, delta: Readable, gone: NDArray[np.int64]) -> None:
        self._base, self._delta, self._gone = base, delta, gone

    def __len__(self) -> int:
        return len(self._base) + len(self._delta)

    @property
    def schema(self) -> pa.Schema:
        """The columns that filters and facets may use."""
        return self._base.schema

    def get_many(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's document as a JSON object, in the order asked; raises IndexError for no such row."""
        return self._each("get_many", rows)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Each row's id, in the order asked; raises IndexError for no such row."""
        return self._each("ids", rows)

    def row_of(self, id: str) -> int | None:  # noqa: A002 - the word that everything else uses
        """The row of a document, or None where there is none of this id, or none any more."""
        row = self._delta.row_of(id)
        if row is not None:
            return len(self._base) + row
        row = self._base.row_of(id)
        return None if row is None or self._is_gone(row) else row

    def column(self, name: str) -> pa.ChunkedArray:
        """A column in row order, with the values of documents that are gone; raises KeyError."""
        base = self._base.column(name)
        delta = self._delta.column(name).chunks if len(self._delta) else []
        return pa.chunked_array([*base.chunks, *delta], base.type)

    def _each(self, what: str, rows: Sequence[int]) -> list[Any]:
        many = len(self._base)
        old = iter(getattr(self._base, what)([row for row in rows if row < many]))
        new = iter(getattr(self._delta, what)([row - many for row in rows if row >= many]))
        return [next(old) if row < many else next(new) for row in rows]

    def _is_gone(self, row: int) -> bool:
        at = int(np.searchsorted(self._gone, row))
        return at < len(self._gone) and int(self._gone[at]) == row
