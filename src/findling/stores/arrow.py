"""Documents in one Arrow file: mapped, uncompressed, the ready-made JSON beside the columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from findling.errors import ConfigError
from findling.stores.mapped import Mapped, open_table, write

JSON = "_json"


class ArrowStore(Mapped):
    """The documents of a snapshot by row and by id. Thread-safe; nothing is held but offsets and views."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__(table, JSON)

    @classmethod
    def write(cls, documents: Iterable[pa.RecordBatch], path: Path, options: Mapping[str, Any] = {}) -> int:
        """Write documents, in order of ascending `id`, to the file `path`; see `findling.stores.mapped`."""
        if options:
            raise ConfigError(f"store: unknown key {next(iter(options))!r}", todo="the arrow store has none")
        return write(documents, path, JSON, lambda ready: ready)

    @classmethod
    def open(cls, path: Path, options: Mapping[str, Any] = {}) -> Self:  # noqa: ARG003 - it has none
        """The documents in the file `path`, mapped; raises SnapshotError."""
        return cls(open_table(path, JSON))

    def get_many(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's document as a JSON object, in the order asked; raises IndexError for no such row."""
        return self.values.many(rows)
