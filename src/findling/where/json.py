"""A `where` given as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from findling.errors import QueryError
from findling.where.tree import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    OPERATORS,
    And,
    Compare,
    Contains,
    In,
    IsNull,
    Not,
    Or,
    Tree,
    Value,
    check_value,
    join,
    negate,
)


class Json:
    """A reader that remembers where each condition stood."""

    def __init__(self) -> None:
        self.places: dict[int, str] = {}

    def tree(self, given: Any) -> tuple[Tree, dict[int, str]]:
        """The tree, and each condition's path by its identity."""
        return self._tree(given, "", 0), self.places

    def _tree(self, given: Any, path: str, depth: int) -> Tree:
        if depth > MAX_DEPTH:
            raise QueryError(f"where, {path[:40]}…: nested deeper than {MAX_DEPTH}", todo="write it flatter")
        if not isinstance(given, Mapping):
            self._wrong(path, given, "an object with column, and, or, or not")
        if "column" in given:
            return self._condition(given, path)
        if len(given) != 1 or (word := next(iter(given))) not in ("and", "or", "not"):
            self._wrong(path, sorted(map(str, given)), "column, and, or, or not")
        inside = given[word]
        if word == "not":
            return negate(self._tree(inside, f"{path}.not", depth + 1))
        if not isinstance(inside, list | tuple) or not inside:
            self._wrong(f"{path}.{word}", inside, "a list of one or more conditions")
        if len(inside) > MAX_CONDITIONS:
            raise QueryError(f"where, {path}.{word}: too many conditions", todo=f"{MAX_CONDITIONS} may be")
        parts = [self._tree(part, f"{path}.{word}[{at}]", depth + 1) for at, part in enumerate(inside)]
        return join(And if word == "and" else Or, parts)

    def _condition(self, given: Mapping[str, Any], path: str) -> Tree:
        column = given["column"]
        if not isinstance(column, str):
            self._wrong(f"{path}.column", column, "the name of a column")
        if unknown := sorted(map(str, set(given) - {"column", "op", "value"})):
            self._wrong(path, unknown, "column, op and value")
        if set(given) == {"column"}:
            tree: Tree = Compare(column, "=", True)
        else:
            tree = self._said_of(column, given, path)
        self.places[id(tree.part if isinstance(tree, Not) else tree)] = path.lstrip(".") or "at the top"
        return tree

    def _said_of(self, column: str, given: Mapping[str, Any], path: str) -> Tree:
        op = given.get("op")
        if op not in OPERATORS:
            self._wrong(f"{path}.op", op, ", ".join(OPERATORS))
        if op in ("is null", "is not null"):
            if "value" in given:
                self._wrong(f"{path}.value", given["value"], f"no value with {op}")
            return IsNull(column) if op == "is null" else Not(IsNull(column))
        value = given.get("value")
        if op == "in":
            if not isinstance(value, list | tuple) or not value:
                self._wrong(f"{path}.value", value, "a list of one or more values")
            if len(value) > MAX_VALUES:
                raise QueryError(f"where, {path}.value: too many values", todo=f"{MAX_VALUES} may be")
            return In(column, tuple(self._value(one, f"{path}.value[{at}]") for at, one in enumerate(value)))
        one = self._value(value, f"{path}.value")
        return Contains(column, one) if op == "contains" else Compare(column, op, one)

    def _value(self, value: Any, path: str) -> Value:
        if not isinstance(value, str | int | float):
            self._wrong(path, value, "text, a number, true or false")
        check_value(value, path.lstrip("."))
        return value

    def _wrong(self, path: str, found: Any, expected: str) -> NoReturn:
        told = ascii(found)
        told = told if len(told) <= 40 else told[:39] + "…"
        place = path.lstrip(".") or "at the top"
        raise QueryError(f"where, {place}: found {told}, expected {expected}")
