"""Grouping and joining as DuckDB does it: the SQL, and a database that spills to disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from findling import storage
from findling.errors import FindlingError, StorageError
from findling.sources.base import ORDER

FUNCTIONS = frozenset({"sum", "min", "max", "count", "first", "list"})


def group_sql(
    columns: Sequence[str], key: Sequence[str], aggregates: Mapping[str, tuple[str, str]], rows: str
) -> str:
    """One row per key of the relation `rows` (SQL), which has these columns.

    The columns taken as `first` all come from one row: the one that is least by `_order`, and of several
    such the one that is least by these columns, so that every engine takes the same.
    """
    for function, _ in aggregates.values():
        check(function)
    firsts = list(dict.fromkeys(column for function, column in aggregates.values() if function == "first"))
    order = [ORDER] if ORDER in columns else []
    keys = ", ".join(map(name, key))
    inner, outer = [keys], [keys]
    if firsts:
        fields = ", ".join(f"f{place} := {name(column)}" for place, column in enumerate([*order, *firsts]))
        inner.append(f"min(struct_pack({fields})) AS _first")
    for place, (result, (function, column)) in enumerate(aggregates.items()):
        value = f"a{place}"
        if function == "first":
            value = f"_first.f{firsts.index(column) + len(order)}"
        elif function == "list":
            by = ", ".join(map(name, [*order, column]))
            inner.append(f"list({name(column)} ORDER BY {by}) AS {value}")
        elif function == "sum":  # DuckDB adds integers up in 128 bits, which Arrow lacks
            inner.append(f"CAST(sum({name(column)}) AS BIGINT) AS {value}")
        else:
            inner.append(f"{function}({name(column)}) AS {value}")
        outer.append(f"{value} AS {name(result)}")
    grouped = f"SELECT {', '.join(inner)} FROM {rows} GROUP BY {keys}"
    return f"SELECT {', '.join(outer)} FROM ({grouped})"


def join_sql(
    lefts: Sequence[str], rights: Sequence[str], on: tuple[str, str], how: str, left: str, right: str
) -> str:
    """Rows of the relation `left` with the columns of `right`, or those without a match (`anti`)."""
    condition = f"l.{name(on[0])} = r.{name(on[1])}"
    if how == "anti":
        return f"SELECT l.* FROM {left} l ANTI JOIN {right} r ON {condition}"
    columns = ", ".join(["l.*", *(f"r.{name(column)}" for column in added(lefts, rights, on))])
    return f"SELECT {columns} FROM {left} l LEFT JOIN {right} r ON {condition}"


def added(lefts: Sequence[str], rights: Sequence[str], on: tuple[str, str]) -> list[str]:
    """The columns that a left join takes from the right side: all but the key and those that are there."""
    return [column for column in rights if column != on[1] and column not in set(lefts)]


def named(what: object, *inputs: Sequence[str]) -> str:
    """A name for a result that tells what it was made from: what was asked, and which files."""
    made_from = [str(what), *(f"{file} {storage.version(file)}" for files in inputs for file in files)]
    return f"relation-{hashlib.sha256(chr(10).join(made_from).encode()).hexdigest()[:16]}"


def check(function: str) -> None:
    """Raises FindlingError for an aggregate that no engine knows."""
    if function not in FUNCTIONS:
        raise FindlingError(f"no aggregate {function!r}", todo=f"known are {sorted(FUNCTIONS)}")


@contextlib.contextmanager
def database(workspace: Path, memory: int, threads: int) -> Iterator[Any]:
    """A DuckDB connection that takes `memory` bytes and then spills to `workspace`; its errors explained."""
    import duckdb

    spill = workspace / "spill"
    spill.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory // 1_000_000}MB",
        "temp_directory": str(spill),
        "threads": str(threads),
        "preserve_insertion_order": "false",
    }
    try:
        with duckdb.connect(":memory:", config=config) as opened:
            yield opened
    except RuntimeError as error:
        if "interrupted" in str(error):  # what DuckDB makes of Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except duckdb.IOException as error:
        raise StorageError(
            f"cannot write to {workspace}: "
            f"{'the disk is full' if storage.is_full(error) else _first_line(error)}",
            todo="free some space and run the same command again",
        ) from None
    except duckdb.OutOfMemoryException as error:
        raise FindlingError(
            f"a join ran out of memory: {_first_line(error)}",
            todo="raise index.memory, or free some disk space for it to spill to",
        ) from None


def name(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
