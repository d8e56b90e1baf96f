"""What a store is: rows to documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import pyarrow as pa


class Store(Protocol):
    """The documents of one snapshot by row, as ready-made JSON."""

    @classmethod
    def write(cls, documents: Iterable[pa.RecordBatch], path: Path, options: Mapping[str, Any] = {}) -> int:
        """Write documents in row order and return how many; `options` are the keys of [store]."""
        ...

    @classmethod
    def open(cls, path: Path, options: Mapping[str, Any] = {}) -> Self:
        """The store in `path`, mapped."""
        ...

    def get_many(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's document as a JSON object, in the order asked."""
        ...
