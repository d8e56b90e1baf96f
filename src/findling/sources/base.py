"""What a source is: where raw records come from, and how they become the collection's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from findling.filters import Where

DOCUMENTS = "documents"
"""The table that `assemble` makes. A source's own tables have other names; the first is what is counted."""

ORDER = "_order"
"""The column, where there is one, whose order `first` and `list` follow."""

BatchFunction = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True)
class Split:
    """A unit of reading: `length` bytes of `path` from `start` (-1: all of it), for one of a source's tables.

    `name` names the shard that comes of it: stable between runs, and a file name as it stands. Where `path`
    is no file, `version` changes when what it gives does.
    """

    table: str
    path: str
    name: str
    start: int = 0
    length: int = -1
    version: str = ""


class Dataset(Protocol):
    """Rows on disk in shards, as an engine leaves them."""

    def splits(self) -> list[Split]:
        """The units in which it can be read."""
        ...

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of one split."""
        ...


class Relations(Protocol):
    """The relational work a source may ask of its engine; every name is a column, never an expression."""

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Dataset:
        """One row per `key` with {result: (function, column)}: sum of integers, min, max, count, first, list.

        `first` and `list` take rows in the order of their column `_order` where there is one.
        """
        ...

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Dataset:
        """Rows of `left` with the columns of `right` (`left`), or those without a match (`anti`)."""
        ...


class Source(Protocol):
    """Raw records, and the way from them to columns.

    A source has one or more tables (an Open Library dump has editions, works and authors). Each is read and
    parsed on its own, wherever the engine likes; `assemble` then joins and groups them into one. A source
    is picklable and holds only its options.
    """

    @property
    def columns(self) -> pa.Schema:
        """The columns of its documents, among them a string `id`."""
        ...

    def early(self) -> frozenset[str]:
        """The columns whose values are final once the first table is parsed, before any join."""
        ...

    def splits(self) -> list[Split]:
        """The units of reading of all tables, in a stable order."""
        ...

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Raw records of one split, cut but not parsed, in batches of some megabytes; at least one batch."""
        ...

    def parser(self, table: str, where: Where, columns: frozenset[str] | None = None) -> BatchFunction:
        """What turns raw batches of `table` into columns; rows it cannot or need not take become drops.

        `where` holds the parts that this table's columns decide, and allows to leave out, counted, what
        cannot pass; of `columns` others may be left null, as nobody will read them. The table DOCUMENTS is
        what `assemble` gave: its parser makes the final columns.
        Called once per worker process.
        """
        ...

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:
        """One dataset of documents, with a string `id`, out of the parsed tables."""
        ...
