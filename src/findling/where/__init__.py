"""The `where` of a query: a small typed language over a document's columns, never handed to another one.

    year >= 2016 and (subjects contains 'Whales' or title contains 'sea') and not language in ('ger', 'fre')
    fiction and description is not null and "page count" != 300

    or        and, or, not and parentheses, at most 32 deep; `not` binds before `and`, `and` before `or`
    compare   column = != < <= > >= value; text compares by its UTF-8 bytes, days as '2016-05-01'
    in        column in (value, ...); of a list column: any of its values is one of these
    contains  text contains 'part', ignoring case; a list contains 'value', as it stands
    null      column is null, column is not null; nothing else is true of null, as in SQL
    alone     a column of true and false may stand by itself
    values    'text' with '' for a quote, numbers, true, false; a "column" may stand in double quotes

The same as JSON: {"and": [...]}, {"or": [...]}, {"not": ...}, {"column": "year", "op": ">=", "value": 2016},
where the ops are those above, "is null" and "is not null" stand without a value, and {"column": "fiction"}
stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from findling.errors import QueryError
from findling.where.columns import evaluate, facets
from findling.where.json import Json
from findling.where.milvus import to_milvus
from findling.where.text import Text
from findling.where.tree import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TEXT,
    MAX_VALUES,
    OPERATORS,
    ORDER,
    And,
    Compare,
    Contains,
    In,
    IsNull,
    Not,
    Or,
    Tree,
    columns_of,
    conditions,
    to_text,
)
from findling.where.types import check, kind_of

__all__ = [
    "MAX_DEPTH",
    "OPERATORS",
    "ORDER",
    "And",
    "Compare",
    "Contains",
    "In",
    "IsNull",
    "Not",
    "Or",
    "Tree",
    "columns_of",
    "evaluate",
    "facets",
    "kind_of",
    "parse",
    "to_milvus",
    "to_text",
]


def parse(expression: str | Mapping[str, Any], schema: pa.Schema) -> Tree:
    """The tree of an expression, text or JSON, checked against the columns of `schema`.

    Raises QueryError that says where (characters count from 1, JSON by its path), what was found and what
    was expected.
    """
    if isinstance(expression, str) and len(expression) > MAX_TEXT:
        raise QueryError(
            f"a where of {len(expression):,} characters is too long", todo=f"{MAX_TEXT:,} may be"
        )
    tree, places = Text(expression).tree() if isinstance(expression, str) else Json().tree(expression)
    said = list(conditions(tree))
    if len(said) > MAX_CONDITIONS:
        raise QueryError(f"a where of {len(said)} conditions is too long", todo=f"{MAX_CONDITIONS} may be")
    if sum(len(part.values) for part in said if isinstance(part, In)) > MAX_VALUES:
        raise QueryError("the lists of the where are too long", todo=f"{MAX_VALUES} values may be")
    for condition in said:
        try:
            check(condition, schema)
        except QueryError as error:
            place = places.get(id(condition), "")
            raise QueryError(f"where {place}: {error.what}", todo=error.todo) from None
    return tree
