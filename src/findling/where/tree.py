"""The tree of a `where`, and the one way to write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from findling.errors import QueryError

Value = str | int | float | bool
MAX_DEPTH = 32
MAX_CONDITIONS = 256
MAX_VALUES = 10_000
MAX_TEXT = 1_000_000
MAX_NUMBER = 1e300
ORDER = ("=", "!=", "<", "<=", ">", ">=")
OPERATORS = (*ORDER, "in", "contains", "is null", "is not null")


KEYWORDS = {"and", "or", "not", "in", "contains", "is", "null", "true", "false"}


@dataclass(frozen=True, slots=True)
class Compare:
    """A column against a value; `op` is one of ORDER."""

    column: str
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """A column that has one of some values."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """A text that has a part, whatever the case, or a list that has a value."""

    column: str
    value: Value


@dataclass(frozen=True, slots=True)
class IsNull:
    """A column without a value."""

    column: str


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more parts, none of them an And."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more parts, none of them an Or."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of a part that is no Not."""

    part: Tree


Condition = Compare | In | Contains | IsNull
Tree = Condition | And | Or | Not


def columns_of(tree: Tree) -> list[str]:
    """The columns that an expression speaks of, once each, in its order."""
    return list(dict.fromkeys(condition.column for condition in conditions(tree)))


def to_text(tree: Tree) -> str:  # noqa: PLR0911 - one line for each kind of node
    """The one way to write a tree: parses to the same tree again, so it may serve as a key."""
    match tree:
        case Compare(column, op, value):
            return f"{_name(column)} {op} {literal(value)}"
        case In(column, values):
            return f"{_name(column)} in ({', '.join(map(literal, values))})"
        case Contains(column, value):
            return f"{_name(column)} contains {literal(value)}"
        case IsNull(column):
            return f"{_name(column)} is null"
        case Not(IsNull(column)):
            return f"{_name(column)} is not null"
        case Not(part):
            return f"not {_inner(part)}"
        case And(parts):
            return " and ".join(map(_inner, parts))
        case Or(parts):
            return " or ".join(map(_inner, parts))


def _inner(tree: Tree) -> str:
    return f"({to_text(tree)})" if isinstance(tree, And | Or) else to_text(tree)


def _name(column: str) -> str:
    plain = re.fullmatch(r"[^\W\d]\w*", column) and column.lower() not in KEYWORDS
    return column if plain else '"' + column.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """A value as it is written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def conditions(tree: Tree) -> Iterator[Condition]:
    """The leaves of a tree, in its order."""
    match tree:
        case And(parts) | Or(parts):
            for part in parts:
                yield from conditions(part)
        case Not(part):
            yield from conditions(part)
        case _:
            yield tree


def join(kind: type[And] | type[Or], parts: Sequence[Tree]) -> Tree:
    """An And or an Or of some parts, flat, and the part itself where it is alone."""
    flat: list[Tree] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def negate(part: Tree) -> Tree:
    """The contrary."""
    return part.part if isinstance(part, Not) else Not(part)


def check_value(value: Value, place: str) -> None:
    """Raise QueryError for text that is no Unicode and numbers beyond MAX_NUMBER."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise QueryError(f"where, {place}: the text holds half a character") from None
    elif not abs(value) <= MAX_NUMBER or not math.isfinite(value):
        raise QueryError(f"where, {place}: the number is too large")
