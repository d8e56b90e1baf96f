"""What a column holds, and what may be asked of it."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable

import pyarrow as pa

from findling.errors import QueryError
from findling.where.tree import Compare, Condition, Contains, In, IsNull, Value, literal

_LONGEST = 100  # characters of a name that is looked for among the known ones


def kind_of(column: pa.DataType) -> str:
    """What a column holds, in the words of errors: number, text, bool, day, time, list of these, or other."""
    if pa.types.is_dictionary(column):
        return kind_of(column.value_type)
    if pa.types.is_list(column) or pa.types.is_large_list(column) or pa.types.is_fixed_size_list(column):
        inner = kind_of(column.value_type)
        return f"list of {inner}" if inner in ("number", "text", "bool", "day", "time") else "other"
    for kind, tests in _KINDS.items():
        if any(test(column) for test in tests):
            return kind
    return "other"


_KINDS: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "number": (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    "text": (pa.types.is_string, pa.types.is_large_string),
    "bool": (pa.types.is_boolean,),
    "day": (pa.types.is_date,),
    "time": (pa.types.is_timestamp,),
}


def check(condition: Condition, schema: pa.Schema) -> None:
    """Raise QueryError unless the column is there and may be asked this."""
    column = condition.column
    at = schema.get_field_index(column)
    if at < 0:
        near = difflib.get_close_matches(column[:_LONGEST], schema.names, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise QueryError(f"there is no column {column!r}", todo=f"{meant}known are {', '.join(schema.names)}")
    kind = kind_of(schema.field(at).type)
    match condition:
        case Compare(_, op, value):
            if kind.startswith("list"):
                raise QueryError(f"{column} is a {kind}", todo=f"use {column} contains {literal(value)}")
            if value is True and op == "=" and kind != "bool":
                raise QueryError(
                    f"{column} holds {_plural(kind)}, not true or false", todo=f"compare {column}"
                )
            if kind == "bool" and op not in ("=", "!="):
                raise QueryError(f"{column} is true or false, and cannot be compared with {op}")
            _fits(column, kind, value)
        case In(_, values):
            for value in values:
                _fits(column, kind.removeprefix("list of "), value)
        case Contains(_, value):
            if kind != "text" and not kind.startswith("list"):
                raise QueryError(f"{column} holds {_plural(kind)}", todo="contains is for text and lists")
            _fits(column, kind.removeprefix("list of "), value)
        case IsNull():
            pass


def _fits(column: str, kind: str, value: Value) -> None:
    found = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    if kind == "other":
        raise QueryError(
            f"{column} cannot be compared", todo="only is null and is not null may be asked of it"
        )
    if kind in ("day", "time"):
        if found != "text" or not _is_moment(str(value)):
            raise QueryError(f"{column} holds {_plural(kind)}, but {literal(value)} is none", todo=_MOMENT)
    elif kind != found:
        raise QueryError(f"{column} holds {_plural(kind)}, but {literal(value)} is {_SINGLE[found]}")


_MOMENT = "write '2016-05-01' or '2016-05-01T12:30:00'"
_SINGLE = {"bool": "true or false", "text": "text", "number": "a number"}


def _plural(kind: str) -> str:
    return {"number": "numbers", "bool": "true or false", "day": "days", "time": "times"}.get(kind, kind)


def _is_moment(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
