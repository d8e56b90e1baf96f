"""Any table: csv, tsv, jsonl or Parquet, gzipped or not, one file or many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from findling import schema
from findling.config import Options, convert
from findling.errors import ConfigError, SourceError
from findling.schema import BOOKKEEPING, Drop
from findling.sources import table_read as reading
from findling.sources import table_types as types
from findling.sources import text
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Split
from findling.sources.delimited import BAD

if TYPE_CHECKING:
    from findling.filters import Where

ROWS = "rows"
ID = "id"
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
    def _found(self) -> pa.Schema:
        """The data's own columns: all files are read for it once, and workers are given the result."""
        found = reading.find_schema(self.splits())
        if not found.names:
            raise SourceError(f"source.path: {self.options.path} holds no columns", todo="is the file empty?")
        reserved = sorted(set(found.names) & {*BOOKKEEPING.names, BAD, reading.JSON})
        if reserved:
            raise SourceError(f"the column name {reserved[0]!r} is reserved", todo="rename it in the table")
        if self.options.id is not None and self.options.id not in found.names:
            raise ConfigError(
                f"source.id names the column {self.options.id!r}, which the table does not have",
                todo=f"columns are {', '.join(found.names)}",
            )
        return found

    @property
    def columns(self) -> pa.Schema:
        """`id`, then the data's columns; one called `id` that is not the id is called `id_`."""
        return pa.schema([(ID, pa.string()), *((new, kind) for _, new, kind in self._renamed())])

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
            return self._documents
        found = self._found

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns, bad = reading.typed(batch, found)
            drops = [Drop(reason, 1, line and line[:_DETAIL_LENGTH]) for reason, line in bad]
            return self._identified(columns, drops)

        return parse

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:  # noqa: ARG002
        """The rows themselves."""
        return tables[ROWS]

    def _documents(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = self.columns
        return pa.record_batch([batch.column(f.name).cast(f.type) for f in names], schema=names)

    def _renamed(self) -> list[tuple[str, str, pa.DataType]]:
        """The data's columns beside the id: (name there, name here, type)."""
        chosen = self.options.id
        if chosen is None and ID in self._found.names:
            chosen = ID
        taken = {*self._found.names, ID}
        renamed = []
        for field in self._found:
            if field.name == ID:
                if chosen == ID:
                    continue
                new = "id_"
                while new in taken:
                    new += "_"
                renamed.append((ID, new, field.type))
            else:
                renamed.append((field.name, field.name, field.type))
        return renamed

    def _identified(self, rows: pa.RecordBatch, drops: list[Drop]) -> pa.RecordBatch:
        chosen = self.options.id or (ID if ID in self._found.names else None)
        if chosen is None:
            ids = pa.array((_digest(row) for row in rows.to_pylist()), pa.string())
        else:
            ids = _as_ids(rows.column(chosen))
            named = pc.fill_null(pc.greater(pc.binary_length(ids), 0), False)
            if nameless := len(rows) - (pc.sum(named).as_py() or 0):
                drops.append(Drop("no id", nameless))
            rows, ids = rows.filter(named), ids.filter(named)
        arrays = [ids, *(rows.column(old) for old, _, _ in self._renamed())]
        return schema.with_drops(pa.record_batch(arrays, schema=self.columns), drops)


def _as_ids(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type):
        return pc.utf8_trim_whitespace(column)
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return types.from_values(column.to_pylist(), types.TEXT)


def _digest(row: dict[str, Any]) -> str:
    """A name for a row: 16 hexadecimal digits of the BLAKE2b hash of its values, null ones left out."""
    told = {name: value for name, value in row.items() if value is not None}
    return blake2b(msgspec.json.encode(told, order="sorted"), digest_size=8).hexdigest()
