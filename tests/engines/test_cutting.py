from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from findling import storage
from findling.engines import cutting
from findling.engines.base import Shards
from findling.engines.cutting import Recut, recut, rows_of_a_task
from findling.sources import text
from findling.sources.base import Split
from findling.steps import EmbedStep, SelectStep


@given(st.integers(1, 10**9), st.floats(1e-6, 10), st.integers(1, 10_000))
def test_tasks_fill_the_cores_and_are_neither_long_nor_tiny(rows: int, seconds: float, cores: int) -> None:
    each = rows_of_a_task(rows, seconds, cores)
    assert each >= 1
    assert each == 1 or each * seconds <= cutting.TASK_SECONDS
    if each > max(1, int(cutting.LEAST_SECONDS / seconds)):
        assert -(-rows // each) >= min(rows, cores), "every core has a task where each is worth one"


def test_ten_thousand_addresses_are_work_for_every_core() -> None:
    """A megabyte of them: by bytes it would be one task."""
    each = rows_of_a_task(10_000, 5e-2, cores=100)
    assert -(-10_000 // each) >= 400


def test_dear_steps_say_so() -> None:
    cheap = cutting.row_seconds([SelectStep(("a",))])
    assert cutting.row_seconds([SelectStep(("a",)), EmbedStep("hashing", {}, Path())]) > 10 * cheap


@dataclass(frozen=True)
class Slow:
    """Takes `each` seconds a row by a clock of its own, and says that it takes two milliseconds."""

    each: float
    clock: list[float] = field(default_factory=lambda: [0.0])
    row_seconds: ClassVar[float] = 2e-3

    def open(self) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            self.clock[0] += self.each * batch.num_rows
            return batch

        return run


class Fetching(Slow):
    fetches: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("step", "rows", "tasks"),
    [
        (Slow(2e-2), 100_000, 101),  # of twenty seconds, and not of two minutes and more
        (Slow(1e-4), 100_000, 16),  # four for each core
        (Slow(1e-6), 100_000, 9),  # more would not be worth their start
        (Fetching(2e-2), 100_000, 16),  # nothing is fetched only to see how long it takes
        (Slow(2e-2), 10_000, 16),  # too little to try
    ],
)
def test_tasks_follow_from_what_a_row_is_measured_to_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Slow, rows: int, tasks: int
) -> None:
    monkeypatch.setattr(cutting, "perf_counter", lambda: step.clock[0])
    pq.write_table(pa.table({"n": range(rows)}), tmp_path / "part.parquet")
    assert len(cutting.cut(Shards(str(tmp_path)), [step], 4, []).splits()) == tasks


def test_a_second_run_cuts_as_the_first(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"n": range(100_000)}), tmp_path / "in" / "part.parquet")
    shards, steps = Shards(str(tmp_path / "in")), [Fetching(0.0)]
    first = cutting.cut(shards, steps, 2, [])
    names = [split.name for split in first.splits()]
    assert len(names) > 8
    again = cutting.cut(shards, steps, 64, names[3:5])
    assert [split.name for split in again.splits()] == names
    assert cutting.cut(shards, steps, 64, ["other-7-00000-000000000"]).rows != first.rows


def test_a_file_that_cannot_be_cut_is_left_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"line {n} {'x' * 100}\n".encode() for n in range(3000)]
    path = tmp_path / "lines.txt.gz"
    path.write_bytes(gzip.compress(b"".join(lines)))
    monkeypatch.setattr(text, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(cutting, "PART_BYTES", 1 << 17)
    split = Split("lines", str(path), "lines-00000")

    class Lines:
        def splits(self) -> list[Split]:
            return [split]

        read = staticmethod(text.read_lines)

    home = str(tmp_path / "parts")
    assert recut(Lines(), split, home) == len(lines)
    parts = Recut(home)
    assert len(parts.splits()) >= 2
    read = [row for part in parts.splits() for b in parts.read(part) for row in b.column("line").to_pylist()]
    assert read == lines
    assert storage.listing(storage.join(home, cutting.DONE)) == ["lines-00000"]
    before = {part.name: storage.version(part.path) for part in parts.splits()}
    recut(Lines(), split, home)
    assert [part.name for part in parts.splits()] == list(before), "twice leaves the same parts"


def test_small_files_and_those_that_can_be_cut_stay(tmp_path: Path) -> None:
    small = tmp_path / "small.gz"
    small.write_bytes(b"x")
    large = tmp_path / "large.gz"
    large.write_bytes(bytes(8 << 20))
    splits = [
        Split("t", str(small), "a"), Split("t", str(large), "b"), Split("t", str(large), "c", 0, 10),
        Split("t", "", "first-9"), Split("t", "stream", "d", version="1"),
    ]  # fmt: skip
    assert [split.name for split in cutting.uncut(splits)] == ["b"]
