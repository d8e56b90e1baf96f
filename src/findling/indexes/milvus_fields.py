"""The columns of documents as scalar fields of Milvus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_LONGEST, _MANY = 1024, 1024  # bytes of a text, texts of a list


@dataclass(frozen=True)
class Columns:
    """Columns by document, and the document of each vector where that is not the same."""

    columns: Mapping[str, pa.ChunkedArray]
    documents: NDArray[np.int64] | None = None

    def scalars(self) -> dict[str, tuple[str, str]]:
        """By column: its field, and what that holds. Columns that do not fit a field are left out."""
        found: dict[str, tuple[str, str]] = {}
        taken = set()
        for column, values in self.columns.items():
            field = "c_" + re.sub(r"\W", "_", column, flags=re.ASCII)
            kind = _kind(values)
            if kind and field not in taken:
                found[column] = field, kind
                taken.add(field)
        return found

    def block(self, rows: NDArray[np.int64], scalars: Mapping[str, tuple[str, str]]) -> dict[str, list[Any]]:
        """The values of some vectors, by field."""
        places = pa.array(rows if self.documents is None else self.documents[rows])
        return {
            field: self.columns[column].take(places).to_pylist() for column, (field, _) in scalars.items()
        }


def add_to(schema: Any, scalars: Mapping[str, tuple[str, str]]) -> None:
    """Add the fields to a schema of pymilvus."""
    from pymilvus import DataType

    plain = {"int": DataType.INT64, "float": DataType.DOUBLE, "bool": DataType.BOOL}
    text = {"max_length": _LONGEST}
    for field, kind in scalars.values():
        if kind in plain:
            schema.add_field(field, plain[kind], nullable=True)
        elif kind == "text":
            schema.add_field(field, DataType.VARCHAR, nullable=True, **text)
        else:
            several = {"element_type": DataType.VARCHAR, "max_capacity": _MANY, **text}
            schema.add_field(field, DataType.ARRAY, nullable=True, **several)


def _kind(values: pa.ChunkedArray) -> str | None:
    """What a field of these values holds; None where no field does."""
    kind, found = values.type, None
    if pa.types.is_dictionary(kind):
        found = _kind(values.cast(kind.value_type))
    elif pa.types.is_boolean(kind):
        found = "bool"
    elif pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        found = "int"
    elif pa.types.is_floating(kind) and pc.all(pc.is_finite(values), min_count=0).as_py():
        found = "float"
    elif _is_text(kind) and _most(pc.binary_length(values)) <= _LONGEST:
        found = "text"
    elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type):
        texts, many = pc.list_flatten(values), _most(pc.list_value_length(values))
        if many <= _MANY and _most(pc.binary_length(texts)) <= _LONGEST and not texts.null_count:
            found = "list"
    return found


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _most(lengths: pa.ChunkedArray) -> int:
    most: int | None = pc.max(lengths).as_py()
    return most or 0
