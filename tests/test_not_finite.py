"""A vector that cannot be compared is told with its document, whole build or delta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import built, collection, some_rows, write_rows
from findling.errors import SnapshotError
from findling.steps import SEPARATOR, content_hash

ROWS = some_rows(60)


def spoil(file: Path, row: dict[str, Any], value: float) -> None:
    """Let the cache hold another vector for a row's text."""
    wanted = content_hash(SEPARATOR.join([row["title"], row["body"]]))
    spoiled = 0
    for part in (file.parent / "data" / "books" / "embeddings").rglob("*.parquet"):
        table = pq.read_table(part)
        vectors = [np.array(vector) for vector in table.column("vector").to_pylist()]
        for place, key in enumerate(table.column("hash").to_pylist()):
            if key == wanted:
                vectors[place][3] = value
                spoiled += 1
        column = pa.array([vector.tolist() for vector in vectors], table.schema.field("vector").type)
        pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", column), part)
    assert spoiled == 1


@pytest.mark.parametrize("kind", ["flat", "graph", "compact", "exact"])
def test_a_vector_that_is_not_finite_is_told_with_its_document(tmp_path: Path, kind: str) -> None:
    rows = [{**ROWS[0], "title": "", "body": ""}, *ROWS[1:]]  # rows of vectors and documents differ
    file = collection(tmp_path, rows, more=f'[index]\nkind = "{kind}"\n')
    built(file, only=["extract", "embed"])
    spoil(file, ROWS[17], float("nan"))
    with pytest.raises(SnapshotError, match=r"document 'row-00017' in field 'text' is not finite; leave"):
        built(file)


def test_a_delta_tells_its_document_too(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    built(file)
    changed = {**ROWS[5], "title": "another"}
    write_rows(tmp_path / "rows.jsonl", [*ROWS[:5], changed, *ROWS[6:]])
    built(file, only=["extract", "embed"])
    spoil(file, changed, float("inf"))
    with pytest.raises(SnapshotError, match="document 'row-00005' in field 'text' is not finite"):
        built(file, incremental=True)
