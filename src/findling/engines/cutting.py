"""How work is cut into tasks for a cluster: by the number of rows and what a row costs, never by bytes.

A few megabytes of addresses are hours of work, and gigabytes of plain columns are minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import pyarrow as pa
import pyarrow.parquet as pq

from findling import storage
from findling.engines.base import Shards
from findling.sources.base import Dataset, Split
from findling.steps import Step, chain

DONE = "_done"
"""Marks of splits whose rows lie there in parts."""

TASK_SECONDS = 20.0  # what a task should take: it is what a killed worker loses
LEAST_SECONDS = 0.25  # less is not worth a task
TASKS_PER_CORE = 4  # so that cores end at about the same time
PLAIN_ROW_SECONDS = 2e-5
TRIED_FROM_SECONDS = 30.0  # of work for a core, from which on it is worth trying a few rows first
TRIAL_ROWS = (8, 64, 512)
TRIAL_SECONDS = 0.2
PART_BYTES = 16 << 20  # raw bytes in a part of what could not be cut
_SMALL = 4 << 20  # compressed files up to this are one task


def row_seconds(steps: Sequence[Step]) -> float:
    """About how long a row takes on one core, as the steps declare it."""
    return max([PLAIN_ROW_SECONDS, *(getattr(step, "row_seconds", 0.0) for step in steps)])


def measured(steps: Sequence[Step], rows: pa.RecordBatch) -> float:
    """How long a row takes here, on one core: of a few of these, and of more where those are done at once."""
    step = chain(steps)
    step(rows.slice(0, 1))  # models are loaded by it
    spent = few = 0.0
    for wanted in TRIAL_ROWS:
        some = rows.slice(0, wanted)
        started = perf_counter()
        step(some)
        spent, few = perf_counter() - started, len(some)
        if spent > TRIAL_SECONDS or few < wanted:
            break
    return PLAIN_ROW_SECONDS + spent / few


def rows_of_a_task(rows: int, seconds: float, cores: int) -> int:
    """How many of `rows` a task gets, where one takes `seconds` on one of `cores`."""
    fair = -(-rows // (cores * TASKS_PER_CORE))
    return max(1, int(LEAST_SECONDS / seconds), min(fair, int(TASK_SECONDS / seconds)))


def cut(shards: Shards, steps: Sequence[Step], cores: int, done: Iterable[str]) -> Shards:
    """The shards in splits for so many cores; cut as before where an earlier run has begun.

    What a row costs is measured where there is much to do; steps that fetch only declare it, as a server need
    not be asked twice.
    """
    pattern = re.compile(re.escape(Path(shards.path).name) + r"-(\d+)-\d{5}-\d{9}")
    begun = next((int(found[1]) for name in done if (found := pattern.fullmatch(name))), None)
    if begun is not None:
        return replace(shards, rows=begun)
    rows, seconds = shards.count(), row_seconds(steps)
    if rows * seconds > TRIED_FROM_SECONDS * cores and not any(getattr(s, "fetches", False) for s in steps):
        seconds = measured(steps, next(shards.batches()))
    return replace(shards, rows=rows_of_a_task(rows, seconds, cores))


def uncut(splits: Iterable[Split]) -> list[Split]:
    """Those that hold a whole large file, which one task alone would have to read and parse."""
    return [
        split
        for split in splits
        if split.path and split.length < 0 and not split.version and storage.size(split.path) > _SMALL
    ]


@dataclass(frozen=True)
class Recut:
    """A split of another dataset as parts that lie below `home`, once `recut` has made them."""

    home: str

    def splits(self) -> list[Split]:
        """One for each part."""
        names = [name for name in storage.listing(self.home) if name.endswith(".parquet")]
        return [
            Split("parts", storage.join(self.home, name), name.removesuffix(".parquet"))
            for name in names
            if not name.startswith(".")
        ]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """A part's raw batches, as the source gave them."""
        with storage.open_read(split.path) as file:
            opened = pq.ParquetFile(file)
            for group in range(opened.num_row_groups):
                yield from opened.read_row_group(group).combine_chunks().to_batches()
            if not opened.metadata.num_rows:
                yield pa.record_batch(
                    [pa.array([], f.type) for f in opened.schema_arrow], opened.schema_arrow
                )


def recut(source: Dataset, split: Split, home: str) -> int:
    """Read a split once and leave its raw batches in parts of some megabytes below `home`; gives the rows.

    Names and contents follow from the input alone, so doing it twice leaves the same parts once.
    """
    gathered: list[pa.RecordBatch] = []
    place = rows = size = 0
    for batch in source.read(split):
        gathered.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if size >= PART_BYTES:
            _leave(gathered, split, place, home)
            gathered, place, size = [], place + 1, 0
    if gathered:
        _leave(gathered, split, place, home)
    storage.write_bytes(storage.join(home, DONE, split.name), b"")
    return rows


def _leave(batches: list[pa.RecordBatch], split: Split, place: int, home: str) -> None:
    with storage.stage_file(storage.join(home, f"{split.name}-{place:06d}.parquet")) as file:
        written = pq.ParquetWriter(
            file, batches[0].schema, compression="lz4", use_dictionary=False, write_statistics=False
        )
        with written:
            for batch in batches:
                written.write_batch(batch)
