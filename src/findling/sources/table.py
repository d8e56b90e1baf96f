"""Any table: csv, tsv, jsonl or Parquet, gzipped or not, one file or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from findling.config import Options, convert
from findling.schema import Drop
from findling.sources import table_read as reading
from findling.sources import text
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Split
from findling.sources.delimited import BAD
from findling.sources.rows import Rows

if TYPE_CHECKING:
    from findling.filters import Where

ROWS = "rows"
_DETAIL_LENGTH = 2000


class TableOptions(Options, frozen=True):
    """The keys of [source]: a path or glob, and the column whose values are the documents' ids."""

    path: str | list[str]
    id: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows as documents, the columns as they are named there, with types told by all of their values."""

    options: TableOptions
    base: str = ""

    @classmethod
    def from_options(cls, options: dict[str, Any], base: str) -> Table:
        """The source that [source] describes, paths being relative to `base`; raises ConfigError."""
        return cls(convert(options, TableOptions, at="source"), base)

    @cached_property
    def _rows(self) -> Rows:
        """The data's own columns: all files are read for it once, and workers are given the result."""
        found = reading.find_schema(self.splits())
        return Rows.of(found, self.options.id, {BAD, reading.JSON}, f"source.path: {self.options.path}")

    @property
    def columns(self) -> pa.Schema:
        """`id`, then the data's columns; one called `id` that is not the id is called `id_`."""
        return self._rows.columns

    def early(self) -> frozenset[str]:
        """All: nothing is joined."""
        return frozenset(self.columns.names)

    def splits(self) -> list[Split]:
        """Byte ranges of plain jsonl; whole files of the other formats, whose rows may span lines."""
        splits: list[Split] = []
        for path in text.find_files(self.options.path, self.base, "path"):
            cut = text.line_splits if reading.format_of(path) == "jsonl" else text.whole_splits
            splits += cut(ROWS, [path], first=len(splits))
        return splits

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Columns as text (csv, tsv) or as they are (Parquet), lines (jsonl)."""
        return reading.read(split)

    def parser(  # rows are cheap to type, whatever is wanted of them
        self,
        table: str,
        where: Where,  # noqa: ARG002 - of the protocol
        columns: frozenset[str] | None = None,  # noqa: ARG002 - of the protocol
    ) -> BatchFunction:
        """What types the columns and names the documents; see `findling.sources.base.Source`."""
        if table == DOCUMENTS:
            return self._rows.documents
        rows = self._rows

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns, bad = reading.typed(batch, rows.found)
            drops = [Drop(reason, 1, line and line[:_DETAIL_LENGTH]) for reason, line in bad]
            return rows.identified(columns, drops)

        return parse

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:  # noqa: ARG002
        """The rows themselves."""
        return tables[ROWS]
