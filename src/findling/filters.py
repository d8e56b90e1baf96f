"""The build's `where`: SQL over a source's columns, evaluated by DuckDB on Arrow batches.

The expression is parsed once. Its top-level `and` parts are kept apart, so that each dropped row is counted
under the first part it fails, parts that need only an early table run before the joins, and a source may
use simple bounds to leave out what cannot pass. The SQL that runs is printed from the checked tree, never
pasted from what was typed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from numpy.typing import NDArray
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from findling.errors import ConfigError
from findling.schema import Drop

_FORBIDDEN = (
    exp.Query, exp.DDL, exp.DML, exp.Command, exp.Placeholder, exp.Parameter, exp.Star, exp.Window,
    exp.AggFunc, exp.Explode,
)  # fmt: skip
_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=",
}  # fmt: skip
_ARROW = {
    "=": pc.equal, ">": pc.greater, ">=": pc.greater_equal, "<": pc.less, "<=": pc.less_equal,
}  # fmt: skip
_MIRRORED = {"=": "=", ">": "<", ">=": "<=", "<": ">", "<=": ">="}


@dataclass(frozen=True)
class Bound:
    """A part of the form `column op constant`."""

    column: str
    op: str
    value: str | int | float


@dataclass(frozen=True)
class Part:
    """One top-level `and` part: its SQL, printed, and the columns it needs (lower case)."""

    sql: str
    columns: frozenset[str]
    bound: Bound | None = None


@dataclass(frozen=True)
class Where:
    """A checked filter, as a conjunction of parts; without parts everything passes."""

    parts: tuple[Part, ...] = ()

    @classmethod
    def parse(cls, sql: str) -> Where:
        """The filter a person wrote; raises ConfigError saying where it stops making sense."""
        if not sql.strip():
            return cls()
        try:
            tree = sqlglot.parse_one(sql, into=exp.Condition, dialect="duckdb")
            for node in tree.walk():
                if isinstance(node, _FORBIDDEN):
                    raise ConfigError(
                        f"filter.where may not hold {node.sql(dialect='duckdb')!r}",
                        todo="write one condition on a row's own columns, without SELECT, sums or commands",
                    )
            return cls(tuple(_part(node) for node in _conjuncts(tree)))
        except SqlglotError as error:
            raise ConfigError(
                f"filter.where cannot be read{_whereabouts(error)}: {sql!r}",
                todo="write one SQL condition, such as: language = 'eng' and pages > 100",
            ) from None
        except RecursionError:
            raise ConfigError(
                "filter.where is nested too deeply", todo="write it with fewer parentheses"
            ) from None

    def over(self, columns: Iterable[str]) -> Where:
        """The parts that need only these columns."""
        known = {column.lower() for column in columns}
        return Where(tuple(part for part in self.parts if part.columns <= known))

    def without(self, other: Where) -> Where:
        """The parts that `other` has not decided."""
        return Where(tuple(part for part in self.parts if part not in other.parts))

    def check(self, schema: pa.Schema) -> None:
        """Raises ConfigError unless the filter fits the columns and their types."""
        unknown = sorted({c for part in self.parts for c in part.columns} - {n.lower() for n in schema.names})
        if unknown:
            raise ConfigError(
                f"filter.where names the column {unknown[0]!r}, which the source does not have",
                todo=f"columns are {', '.join(schema.names)}",
            )
        nothing = [pa.array([], field.type) for field in schema]
        self.apply(pa.record_batch(nothing, schema=schema))

    def apply(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Drop]]:
        """The rows that pass, and the others counted by the first part they fail (null fails)."""
        if not self.parts or not batch.schema.names:
            return batch, []
        failed = self._simply(batch)
        failed = self._first_failed(batch) if failed is None else failed
        counts = {entry["values"]: entry["counts"] for entry in failed.value_counts().to_pylist()}
        drops = [
            Drop(f"where: {part.sql}", counts[place])
            for place, part in enumerate(self.parts)
            if counts.get(place)
        ]
        return (batch.filter(pc.is_null(failed)), drops) if drops else (batch, [])

    def _simply(self, batch: pa.RecordBatch) -> pa.Array | None:
        """What `_first_failed` gives, where Arrow alone can tell: its call costs nothing, DuckDB's does."""
        answers = [_answer(part, batch) for part in self.parts]
        failed = np.full(len(batch), len(answers), np.int32)
        for place, answer in reversed(list(enumerate(answers))):
            if answer is None:
                return None
            failed[~answer] = place
        return pa.array(failed, mask=failed == len(answers))

    def _first_failed(self, batch: pa.RecordBatch) -> pa.Array:
        import duckdb

        whens = " ".join(
            f"WHEN NOT coalesce(CAST(({part.sql}) AS BOOLEAN), false) THEN {place}"
            for place, part in enumerate(self.parts)
        )
        try:
            connection = _connection()
            connection.register("batch", pa.table(batch))
            result = connection.sql(f"SELECT CASE {whens} END::INTEGER AS failed FROM batch")  # noqa: S608 - printed from the checked tree
            column = result.to_arrow_table().column("failed").combine_chunks()
            connection.unregister("batch")
        except duckdb.Error as error:
            raise ConfigError(
                f"filter.where cannot be evaluated: {_first_line(error)}",
                todo=f"columns are {', '.join(f'{f.name} ({f.type})' for f in batch.schema)}",
            ) from None
        except RuntimeError as error:
            if "interrupted" in str(error):  # what DuckDB makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        if len(column) != len(batch):
            raise ConfigError(
                "filter.where does not give one answer for each row",
                todo="write conditions on the row's own values, without sums or unnest",
            )
        return column


def _answer(part: Part, batch: pa.RecordBatch) -> NDArray[np.bool_] | None:
    """Which rows pass a comparison of whole numbers, an equality of texts or a yes-or-no column."""
    found = [name for name in batch.schema.names if name.lower() in part.columns]
    if len(found) != 1:
        return None
    column, bound = batch.column(found[0]), part.bound
    answer = None
    if bound is None:
        if pa.types.is_boolean(column.type) and part.sql.strip('"').lower() == found[0].lower():
            answer = column
    elif (type(bound.value) is int and pa.types.is_signed_integer(column.type)) or (
        isinstance(bound.value, str) and bound.op == "=" and pa.types.is_string(column.type)
    ):
        answer = _ARROW[bound.op](column, pa.scalar(bound.value))
    if answer is None:
        return None
    passes: NDArray[np.bool_] = answer.fill_null(False).to_numpy(zero_copy_only=False)
    return passes


EVERYTHING = Where()

_local = threading.local()


def _connection() -> Any:
    """A private in-memory DuckDB that reaches no file and no network, one for each thread."""
    if not hasattr(_local, "connection"):
        import duckdb

        _local.connection = duckdb.connect(
            ":memory:",
            config={"enable_external_access": "false", "threads": "1", "lock_configuration": "true"},
        )
    return _local.connection


def _conjuncts(tree: exp.Expr) -> list[exp.Expr]:
    """The top-level `and` parts from left to right, however many there are."""
    parts: list[exp.Expr] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop().unnest()
        if isinstance(node, exp.And):
            waiting += [node.right, node.left]
        else:
            parts.append(node)
    return parts


def _part(node: exp.Expr) -> Part:
    columns = frozenset(
        column.parts[0].name.lower() for column in node.find_all(exp.Column) if not _is_variable(column)
    )
    return Part(node.sql(dialect="duckdb", comments=False), columns, _bound(node))


def _is_variable(column: exp.Column) -> bool:
    """Whether a name stands for a list's element, as x does in [x for x in subjects]."""
    parent = column.parent
    while parent is not None:
        if isinstance(parent, exp.Comprehension) and parent.expression.name == column.name:
            return True
        parent = parent.parent
    return False


def _bound(node: exp.Expr) -> Bound | None:
    op = _COMPARISONS.get(type(node))
    if op is None or not isinstance(node, exp.Binary):
        return None
    left, right = node.left, node.right
    if isinstance(right, exp.Column):
        left, right, op = right, left, _MIRRORED[op]
    if not (isinstance(left, exp.Column) and len(left.parts) == 1 and isinstance(right, exp.Literal)):
        return None
    value = right.to_py()
    return Bound(left.name.lower(), op, value) if isinstance(value, (str, int, float)) else None


def _whereabouts(error: SqlglotError) -> str:
    told = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    return f" at {told['highlight']!r} (character {told['col']})" if told.get("highlight") else ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
