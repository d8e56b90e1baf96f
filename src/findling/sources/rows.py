"""Rows of a table as documents: which column names them, and what the others are then called."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from findling import schema
from findling.errors import ConfigError, SourceError
from findling.schema import BOOKKEEPING, Drop
from findling.sources import table_types as types

ID = "id"


@dataclass(frozen=True)
class Rows:
    """The columns `found` in a table, of which `id` (or one called so, or a hash of all) names a row."""

    found: pa.Schema
    id: str | None = None

    @classmethod
    def of(cls, found: pa.Schema, id: str | None, reserved: set[str], at: str) -> Rows:  # noqa: A002
        """Check the columns of what `at` names; raises SourceError and ConfigError."""
        if not found.names:
            raise SourceError(f"{at} holds no columns", todo="is it empty?")
        taken = sorted(set(found.names) & {*BOOKKEEPING.names, *reserved})
        if taken:
            raise SourceError(f"the column name {taken[0]!r} is reserved", todo="rename it in the table")
        if id is not None and id not in found.names:
            raise ConfigError(
                f"source.id names the column {id!r}, which the table does not have",
                todo=f"columns are {', '.join(found.names)}",
            )
        return cls(found, id)

    @property
    def columns(self) -> pa.Schema:
        """`id`, then the data's columns; one called `id` that is not the id is called `id_`."""
        return pa.schema([(ID, pa.string()), *((new, kind) for _, new, kind in self._renamed())])

    def identified(self, rows: pa.RecordBatch, drops: list[Drop]) -> pa.RecordBatch:
        """Rows with the columns found, under their final names and with ids; one without an id drops."""
        chosen = self.id or (ID if ID in self.found.names else None)
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

    def documents(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Identified rows as they were written and read again, in the final columns' types."""
        names = self.columns
        return pa.record_batch([batch.column(f.name).cast(f.type) for f in names], schema=names)

    def _renamed(self) -> list[tuple[str, str, pa.DataType]]:
        """The data's columns beside the id: (name there, name here, type)."""
        chosen = self.id
        if chosen is None and ID in self.found.names:
            chosen = ID
        taken = {*self.found.names, ID}
        renamed = []
        for field in self.found:
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
