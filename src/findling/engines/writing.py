"""What a worker does, wherever it runs: open steps once, pass batches through them, leave one whole shard.

A shard is written aside and renamed under a name that its split decides. So whoever does a split again, in
a task that is retried, in a second copy of a slow one or in a later run, leaves the same file once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from findling import errors, schema, storage
from findling.engines.base import DROPS, as_stored
from findling.errors import FindlingError
from findling.schema import BOOKKEEPING, Drop
from findling.sources.base import BatchFunction
from findling.steps import Step, chain

ROWS_HELD = 4096
"""A shard's rows are gathered up to so many before they are written: its row groups."""


@dataclass(frozen=True)
class Work:
    """What is done to rows, and where they go; equal `key`s mean equal steps."""

    key: str
    steps: tuple[Step, ...]
    out: str
    durable: bool = True

    @classmethod
    def of(cls, steps: Sequence[Step], out: str, *, durable: bool = True) -> Work:
        """The work of these steps; without `durable`, shards need not survive a crash of the machine."""
        told = pickle.dumps(tuple(steps))  # only ever hashed
        return cls(hashlib.sha256(told).hexdigest(), tuple(steps), out, durable)


_opened: dict[str, BatchFunction] = {}
_opening = threading.Lock()


def opened(work: Work) -> BatchFunction:
    """The steps opened, once in the life of this process; one batch at a time passes through them."""
    with _opening:
        if work.key not in _opened:
            _opened.clear()  # a stage's models make room for the next one's
            _opened[work.key] = _one_at_a_time(chain(work.steps))
        return _opened[work.key]


def forget() -> None:
    """Let the opened steps go."""
    with _opening:
        _opened.clear()


def write(work: Work, name: str, batches: Iterator[pa.RecordBatch]) -> int:
    """One shard, complete or absent, its drops written first; a split yields one batch at the least.

    Holds a few thousand rows at a time. Returns how many rows came in.
    """
    step = opened(work)
    drops: list[Drop] = []
    read = 0
    with (
        storage.stage_file(storage.join(work.out, f"{name}.parquet"), durable=work.durable) as file,
        contextlib.ExitStack() as written,
    ):
        writer: pq.ParquetWriter | None = None
        gathered: list[pa.RecordBatch] = []
        for batch in batches:
            read += batch.num_rows
            kept, told = schema.without_drops(step(batch))
            kept = as_stored(kept)
            drops += told
            gathered.append(kept)
            if writer is None:
                writer = written.enter_context(pq.ParquetWriter(file, kept.schema, compression="zstd"))
            if sum(map(len, gathered)) >= ROWS_HELD:
                writer.write_table(pa.Table.from_batches(gathered))
                gathered = []
        if writer is None:
            raise FindlingError(f"{name} gave no batch, not even an empty one")
        if gathered:
            writer.write_table(pa.Table.from_batches(gathered))
        written.close()
        if drops:
            beside = storage.join(work.out, DROPS, f"{name}.parquet")
            with storage.stage_file(beside, durable=work.durable) as told_file:
                pq.write_table(tallied(drops), told_file)
    return read


def tallied(drops: list[Drop]) -> pa.Table:
    """Drops with equal reasons added up; those with a detail stay single."""
    counts: dict[str, int] = {}
    rows = [drop for drop in drops if drop.detail is not None]
    for drop in drops:
        if drop.detail is None:
            counts[drop.reason] = counts.get(drop.reason, 0) + drop.count
    rows += [Drop(reason, count) for reason, count in counts.items()]
    columns = [[r.reason for r in rows], [r.count for r in rows], [r.detail for r in rows]]
    return pa.table(columns, schema=BOOKKEEPING)


def _one_at_a_time(function: BatchFunction) -> BatchFunction:
    """Some engines run several threads in a process; steps are for one."""
    lock = threading.Lock()

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        with lock:
            return function(batch)

    return run


_MARK = "findling-error:"


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """In a worker: what goes wrong, as a text that `error_in` finds in whatever an engine makes of it."""
    try:
        yield
    except FindlingError as error:
        line = json.dumps([type(error).__name__, error.what, error.todo])
        raise RuntimeError(f"{_MARK}{line}") from error


def error_in(text: str) -> FindlingError | None:
    """The error that a worker told, out of an engine's own words about it."""
    found = re.search(re.escape(_MARK) + r"(\[.*\])", text)
    if found is None:
        return None
    try:
        name, what, todo = json.JSONDecoder().raw_decode(found[1])[0]
    except ValueError:
        return None
    kind = getattr(errors, str(name), FindlingError)
    kind = kind if isinstance(kind, type) and issubclass(kind, FindlingError) else FindlingError
    return kind(what, todo=todo)
