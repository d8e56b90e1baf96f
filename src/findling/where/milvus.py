"""A `where` as an expression of Milvus, which may let more rows pass than that does, but never fewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from findling.where.tree import And, Compare, Condition, Contains, In, IsNull, Not, Or, Tree, Value

Scalars = Mapping[str, tuple[str, str]]
"""By column: its field in Milvus, and what that holds, one of int, float, bool, text and list (of text)."""
_CONTRARY = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_WHOLE = 2**63


def to_milvus(tree: Tree, scalars: Scalars) -> str | None:
    """The expression, or None where Milvus can say nothing of this; whoever asks looks at the hits again.

    Nothing that was typed is handed on: names are those of `scalars`, and values are written from what they
    are, a number, true or false, or a text in quotes without control characters.
    """
    match tree:
        case And(parts):
            said = [one for part in parts if (one := to_milvus(part, scalars)) is not None]
            return f"({' and '.join(said)})" if said else None
        case Or(parts):
            each = [to_milvus(part, scalars) for part in parts]
            return f"({' or '.join(map(str, each))})" if None not in each else None
        case Not(Compare() | In() | Contains() | IsNull() as part):
            return _said(part, scalars, contrary=True)
        case Not():
            return None
        case _:
            return _said(tree, scalars)


def _said(condition: Condition, scalars: Scalars, *, contrary: bool = False) -> str | None:
    name, kind = scalars.get(condition.column, ("", ""))
    no = "not " if contrary else ""
    if not name or (contrary and kind == "list" and not isinstance(condition, IsNull)):
        return None
    match condition:
        case IsNull():
            return f"{name} is {no}null"
        case Compare(_, op, value) if kind != "text" or op in ("=", "!="):
            op, written = _CONTRARY[op] if contrary else op, _literals([value], kind)
            return f"{name} {'==' if op == '=' else op} {written}" if written else None
        case In(_, values):
            written = _literals(values, kind)
            there = (
                f"array_contains_any({name}, [{written}])" if kind == "list" else f"{name} {no}in [{written}]"
            )
            return there if written else None
        case Contains(_, value) if kind == "list" and (written := _literals([value], kind)):
            return f"array_contains({name}, {written})"
    return None


def _literals(values: Sequence[Value], kind: str) -> str | None:
    written = [_literal(value, kind) for value in values]
    return None if None in written else ", ".join(map(str, written))


def _literal(value: Value, kind: str) -> str | None:
    """A value as Milvus reads it; None for one that it may read as another."""
    if kind in ("text", "list"):
        text = str(value)
        if not text.isprintable():
            return None
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind == "bool":
        return "true" if value else "false"
    if kind == "float":
        return repr(float(value))
    whole = int(value)
    return str(whole) if whole == value and -_WHOLE < whole < _WHOLE else None
