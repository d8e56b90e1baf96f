"""Arrow schemas: what a batch must hold at a step, and how a dropped row is told.

A step never throws a row away silently. What it drops comes out of it as tally rows: rows whose ordinary
columns are null and whose three bookkeeping columns say why, how many, and, for a failure worth keeping,
which. So counts and failures travel through every engine as ordinary data, exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from findling.errors import FindlingError

REASON, COUNT, DETAIL = "_reason", "_count", "_detail"
READ = "(read)"  # the reason under which rows are counted as they come in
WAITED, WORKED = "(waited)", "(worked)"  # the same for an encoder's microseconds without and with pictures
BOOKKEEPING = pa.schema([(REASON, pa.string()), (COUNT, pa.int64()), (DETAIL, pa.string())])


@dataclass(frozen=True, slots=True)
class Drop:
    """Rows that did not go on: `detail` is kept in failures/ (the raw row, say), and empty where nothing
    went wrong."""

    reason: str
    count: int = 1
    detail: str | None = None


def check(batch: pa.RecordBatch, schema: pa.Schema, at: str) -> pa.RecordBatch:
    """The columns of `schema`, in its order and types, taken from `batch`.

    Raises FindlingError naming what is missing or of another type at the step `at`.
    """
    found = {name: batch.schema.field(name).type for name in batch.schema.names}
    wrong = [
        f"{field.name}: {found.get(field.name, 'missing')} instead of {field.type}"
        for field in schema
        if found.get(field.name) != field.type
    ]
    if wrong:
        raise FindlingError(f"at {at} the columns do not fit: {', '.join(wrong)}")
    return batch.select(schema.names)


def with_drops(batch: pa.RecordBatch, drops: Iterable[Drop]) -> pa.RecordBatch:
    """`batch` with the bookkeeping columns, followed by one tally row for each drop."""
    drops = list(drops)
    kept = batch.num_rows
    arrays = [pa.concat_arrays([column, pa.nulls(len(drops), column.type)]) for column in batch.columns]
    told_columns = ([d.reason for d in drops], [d.count for d in drops], [d.detail for d in drops])
    for field, values in zip(BOOKKEEPING, told_columns, strict=True):
        told = pa.array(values, field.type)
        arrays.append(pa.concat_arrays([pa.nulls(kept, field.type), told]))
    schema = pa.schema([*(field.with_nullable(True) for field in batch.schema), *BOOKKEEPING])
    return pa.record_batch(arrays, schema=schema)


def without_drops(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Drop]]:
    """The rows that go on, without bookkeeping, and the drops told so far."""
    if REASON not in batch.schema.names:
        return batch, []
    dropped = batch.column(REASON).is_valid()
    drops = list(_drops(batch.select(BOOKKEEPING.names).filter(dropped)))
    rows = batch.select([name for name in batch.schema.names if name not in BOOKKEEPING.names])
    kept = len(rows) - len(drops)
    if dropped.slice(kept).true_count == len(drops):  # at the end, where `with_drops` puts them
        return rows.slice(0, kept), drops
    return rows.filter(pc.invert(dropped)), drops


def waited_share(told: Iterable[Drop]) -> float:
    """The share of all workers' time, from 0 to 1, in which an encoder had no picture to work on."""
    spent = Counter[str]()
    for drop in told:
        spent[drop.reason] += drop.count
    total = spent[WAITED] + spent[WORKED]
    return round(spent[WAITED] / total, 3) if total else 0.0


def _drops(tallies: pa.RecordBatch) -> Iterator[Drop]:
    columns = (tallies.column(name).to_pylist() for name in BOOKKEEPING.names)
    for reason, count, detail in zip(*columns, strict=True):
        yield Drop(reason, count, detail)
