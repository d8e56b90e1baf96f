"""Which type a column has, told by all of its values: a conflict widens it, in the end to text.

Columns have one of the types int64, double, bool, string and list<string>. What is nested deeper is kept as
JSON text, dates and times in their ISO form.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

INT, FLOAT, BOOL, TEXT, TEXTS = pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.list_(pa.string())

# A leading zero says that digits are a code ("007"), so the column stays a text.
_SPELLINGS = {
    INT: r"^[+-]?(?:0|[1-9]\d{0,17})$",
    FLOAT: r"^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$",
    BOOL: r"^(?i:true|false)$",
}
_ABSENT = r"^(?:NA|N/A|NaN|nan|null|NULL|None)$"


class Evidence:
    """What is known so far of each column's type; None: no value seen yet."""

    def __init__(self) -> None:
        self.types: dict[str, pa.DataType | None] = {}

    def see(self, name: str, kind: pa.DataType | None) -> None:
        """A column holds values of this type too."""
        self.types[name] = wider(self.types.get(name), kind)

    def see_texts(self, batch: pa.RecordBatch, names: Iterable[str]) -> None:
        """Columns of text, which may spell numbers; not tried again once they do not."""
        for name in names:
            if self.types.get(name) != TEXT:
                self.see(name, _spelt(batch.column(name)))

    def schema(self) -> pa.Schema:
        """The columns in the order in which they were met; text where nothing was seen."""
        return pa.schema([(name, kind or TEXT) for name, kind in self.types.items()])


def wider(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """The type that holds values of both."""
    if one is None or other is None or one == other:
        return one if other is None else other
    return FLOAT if {one, other} == {INT, FLOAT} else TEXT


def of_value(value: Any) -> pa.DataType | None:
    """The type of a JSON value; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return INT if -(2**63) <= value < 2**63 else TEXT
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, list) and all(isinstance(each, str) or each is None for each in value):
        return TEXTS
    return TEXT


def of_arrow(kind: pa.DataType) -> pa.DataType | None:
    """The type that a Parquet column becomes."""
    if pa.types.is_dictionary(kind):
        return of_arrow(kind.value_type)
    found: pa.DataType | None = TEXT
    if pa.types.is_null(kind):
        found = None
    elif pa.types.is_boolean(kind):
        found = BOOL
    elif pa.types.is_integer(kind) and kind != pa.uint64():
        found = INT
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = FLOAT
    elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and is_plain_text(kind.value_type):
        found = TEXTS
    return found


def is_plain_text(kind: pa.DataType) -> bool:
    """Whether a type holds text as it stands."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def from_texts(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Text as the type that all values of the column spell."""
    if kind == TEXT:
        return column
    column = pc.utf8_trim_whitespace(column)
    absent = pc.fill_null(pc.match_substring_regex(column, _ABSENT), False)
    column = pc.if_else(absent, pa.scalar(None, TEXT), column)
    if kind == BOOL:
        column = pc.utf8_lower(column)
    if kind in {INT, FLOAT}:
        column = pc.replace_substring_regex(column, r"^\+", "")
    return column.cast(kind)


def from_values(values: list[Any], kind: pa.DataType) -> pa.Array:
    """JSON values as the type that holds them all."""
    if kind == FLOAT:
        values = [None if value is None else float(value) for value in values]
    elif kind == TEXT:
        values = [as_text(value) for value in values]
    return pa.array(values, kind)


def from_arrow(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A Parquet column as the type that it becomes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type == kind:
        return column
    told = of_arrow(column.type)
    plain = is_plain_text(column.type) or told is None or (kind == TEXTS and told == TEXTS)
    if plain or kind != TEXT:
        return column.cast(kind)
    return from_values(column.to_pylist(), TEXT)


def as_text(value: Any) -> str | None:
    """A value as text: itself, or its JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, (bool, int, float, list, dict, tuple)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _spelt(column: pa.Array) -> pa.DataType | None:
    values = pc.utf8_trim_whitespace(column).drop_null()
    values = values.filter(pc.invert(pc.match_substring_regex(values, _ABSENT)))
    if not len(values):
        # A column of "NA" alone is text; one of nulls alone tells nothing.
        return TEXT if column.null_count < len(column) else None
    for kind, spelling in _SPELLINGS.items():
        if pc.all(pc.match_substring_regex(values, spelling)).as_py():
            return kind
    return TEXT
