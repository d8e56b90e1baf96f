"""A `where` evaluated over columns, and values counted in them, vectorised by pyarrow."""

from __future__ import annotations

import datetime
import decimal
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from findling.errors import QueryError
from findling.where.tree import And, Compare, Condition, Contains, In, IsNull, Not, Or, Tree, Value
from findling.where.types import kind_of

Columns = Callable[[str], pa.ChunkedArray]
Mask = NDArray[np.bool_]

_COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def evaluate(tree: Tree, columns: Columns) -> Mask:
    """Which rows the (checked) tree is true of, (n,) bool; `columns` gives a column by its name.

    As in SQL, what is said of a null is neither true nor false, and a row passes only where all is true.
    """
    return _flags(pc.fill_null(_truth(tree, columns), False))


def facets(column: pa.ChunkedArray, mask: Mask | None = None, limit: int = 20) -> list[tuple[Any, int]]:
    """The most frequent values and how often each occurs, most first, then by value.

    `mask` (n,) says which rows count. Each value of a list counts; nulls do not. Raises QueryError for a
    column of neither values nor lists of values.
    """
    kind = kind_of(column.type)
    if kind == "other":
        raise QueryError("only columns of values, or of lists of values, can be counted")
    if mask is not None:
        column = column.filter(pa.array(mask))
    if kind.startswith("list"):
        column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    counted = pc.value_counts(column.drop_null())
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if len(counts) > limit:
        # All that tie with the last, so that the cut is by value and not by chance.
        least = np.partition(counts, -limit)[-limit] if limit > 0 else 0
        near = np.flatnonzero(counts >= least)
        values, counts = values.take(pa.array(near)), counts[near]
    found = list(zip(values.to_pylist(), counts.tolist(), strict=True))
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[: max(limit, 0)]


def _truth(tree: Tree, columns: Columns) -> pa.ChunkedArray:
    """True, false or null for each row."""
    match tree:
        case And(parts):
            return functools.reduce(pc.and_kleene, (_truth(part, columns) for part in parts))
        case Or(parts):
            return functools.reduce(pc.or_kleene, (_truth(part, columns) for part in parts))
        case Not(part):
            return pc.invert(_truth(part, columns))
        case IsNull(name):
            return columns(name).is_null()
        case _:
            return _condition(tree, columns(tree.column))


def _condition(condition: Condition, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = kind_of(column.type)
    if not kind.startswith("list"):
        return _said(condition, _simple(column, kind), kind)
    inner = kind.removeprefix("list of ")
    ask: Condition = condition
    if isinstance(condition, Contains):
        ask = Compare(condition.column, "=", condition.value)
    chunks = [_any_value(ask, chunk, inner) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.bool_())


def _any_value(condition: Condition, lists: pa.ListArray, kind: str) -> pa.BooleanArray:
    """Which lists have a value of which the condition is true; null where there is no list."""
    values = _simple(pa.chunked_array([lists.flatten()]), kind)
    yes = _flags(pc.fill_null(_said(condition, values, kind), False))
    out = np.zeros(len(lists), np.bool_)
    out[pc.list_parent_indices(lists).to_numpy()[yes]] = True
    return pa.array(out, mask=_flags(lists.is_null()))


def _said(condition: Condition, column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    match condition:
        case Compare(_, op, value):
            return _compare(column, kind, op, value)
        case In(_, values):
            return _among(column, kind, values)
        case Contains(_, value):
            return pc.match_substring(column, value, ignore_case=True)
        case _:
            return column.is_null()


def _simple(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """The column as one of few types: int64, decimal (for unsigned ones), float64, date32, or as it is."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_uint64(column.type):
        return column.cast(pa.decimal128(20))
    if kind == "number" and (pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        return column.cast(pa.float64())
    if pa.types.is_date(column.type):
        return column.cast(pa.date32(), safe=False)
    return column.cast(pa.int64()) if pa.types.is_integer(column.type) else column


def _compare(column: pa.ChunkedArray, kind: str, op: str, value: Value) -> pa.ChunkedArray:
    if kind != "number":
        return _COMPARE[op](column, pa.scalar(_moment(value, column.type), column.type))
    if pa.types.is_floating(column.type):
        return _COMPARE[op](column, pa.scalar(float(value), pa.float64()))
    # Whole numbers are compared as such: as floating point, large ones would be equal to their neighbours.
    whole = math.floor(float(value)) if isinstance(value, float) else int(value)
    if whole != value:
        if op in ("=", "!="):
            return _constant(column, op == "!=")
        op = {"<": "<=", ">=": ">"}.get(op, op)
    low, high = _range(column.type)
    if not low <= whole <= high:
        all_below = whole > high
        return _constant(column, op == "!=" or (op in ("<", "<=") if all_below else op in (">", ">=")))
    return _COMPARE[op](column, _whole(whole, column.type))


def _range(column: pa.DataType) -> tuple[int, int]:
    return (0, 2**64 - 1) if pa.types.is_decimal(column) else (-(2**63), 2**63 - 1)


def _whole(value: int, column: pa.DataType) -> pa.Scalar:
    return pa.scalar(decimal.Decimal(value) if pa.types.is_decimal(column) else value, column)


def _among(column: pa.ChunkedArray, kind: str, values: Sequence[Value]) -> pa.ChunkedArray:
    known: list[Any]
    if kind != "number":
        known = [_moment(value, column.type) for value in values]
    elif pa.types.is_floating(column.type):
        known = [float(value) for value in values]
    else:
        low, high = _range(column.type)
        whole = [int(value) for value in values if value == int(value)]
        known = [_whole(value, column.type).as_py() for value in whole if low <= value <= high]
    found = pc.is_in(column, pa.array(known, column.type))
    return pc.if_else(column.is_valid(), found, pa.scalar(None, pa.bool_()))


def _constant(column: pa.ChunkedArray, truth: bool) -> pa.ChunkedArray:
    return pc.if_else(column.is_valid(), pa.scalar(truth), pa.scalar(None, pa.bool_()))


def _moment(value: Value, column: pa.DataType) -> Any:
    """A value for a column of days or times, without the zone that the column does not have."""
    if pa.types.is_date(column):
        return datetime.datetime.fromisoformat(str(value)).date()
    if not pa.types.is_timestamp(column):
        return value
    moment = datetime.datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment if column.tz else moment.astimezone(datetime.UTC).replace(tzinfo=None)


def _flags(column: pa.Array | pa.ChunkedArray) -> Mask:
    flags: Mask = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return flags.astype(np.bool_, copy=False)
