from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import Deadly, Failing, Marked, Numbers, eventually
from findling import storage
from findling.engines import local as engine_module
from findling.engines.base import Shards
from findling.engines.local import Local
from findling.errors import FindlingError, StorageError
from findling.progress import Silent
from findling.sources.base import BatchFunction, Split


def numbers(shards: Shards) -> list[int]:
    return sorted(n for batch in shards.batches() for n in batch.column("n").to_pylist())


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "work", workers=2)
    yield made
    made.close()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work goes to worker processes at once, as if it were much."""
    monkeypatch.setattr(engine_module, "_is_much", lambda _splits: True)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [Numbers(8, 3), Numbers(1, 12)], ids=["splits", "one split"])
def test_work_spreads_and_each_process_opens_its_steps_once(
    engine: Local, shape: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_UNIT_BYTES", 64)  # two batches
    (tmp_path / "opened").mkdir()
    out = engine.run(shape, [Marked(str(tmp_path / "opened"))], str(tmp_path / "out"))
    assert numbers(out) == list(range(shape.count * shape.batches * shape.rows))
    opened = [int(name.partition("-")[0]) for name in os.listdir(tmp_path / "opened")]
    assert os.getpid() not in opened
    assert len(opened) == len(set(opened)) <= 2


def test_little_work_starts_no_process(engine: Local, tmp_path: Path) -> None:
    (tmp_path / "opened").mkdir()
    out = engine.run(Numbers(5), [Marked(str(tmp_path / "opened"))], str(tmp_path / "out"))
    assert numbers(out) == list(range(20))
    assert [name.partition("-")[0] for name in os.listdir(tmp_path / "opened")] == [str(os.getpid())]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [Numbers(6, 2), Numbers(1, 12)], ids=["splits", "one split"])
def test_a_killed_worker_is_told_and_what_is_done_is_kept(
    engine: Local, shape: Numbers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_UNIT_BYTES", 64)
    armed = tmp_path / "armed"
    armed.touch()
    steps = [Deadly(42, str(armed))]
    with pytest.raises(FindlingError, match=r"worker process ended .* run the same command again"):
        engine.run(shape, steps, str(tmp_path / "out"))
    done = Shards(str(tmp_path / "out"))
    before = {file: storage.version(file) for file in done.files()}
    assert 42 not in numbers(done)
    armed.unlink()
    assert numbers(engine.run(shape, steps, str(tmp_path / "out"))) == list(range(48))
    after = {file: storage.version(file) for file in done.files()}
    assert before.items() <= after.items(), "what was done is not done again"


@pytest.mark.usefixtures("eager")
def test_a_split_that_was_cut_goes_on_in_the_same_cuts(
    engine: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_UNIT_BYTES", 64)
    out = engine.run(Numbers(1, 12), [], str(tmp_path / "out"))
    names = out.names()
    assert len(names) == 6
    # As a killed run leaves it: some of the units, no mark that all are there. One process finishes it.
    Path(out.files()[2]).unlink()
    storage.remove(storage.join(out.path, "_done"))
    again = Local(tmp_path / "work", workers=1).run(Numbers(1, 12), [], str(tmp_path / "out"))
    assert again.names() == names
    assert numbers(again) == list(range(48))


@dataclass(frozen=True)
class Watching:
    """A step that notes how many files lie in a directory."""

    watched: str
    told: str

    def open(self) -> BatchFunction:
        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            Path(self.told, str(len(os.listdir(self.watched)))).touch()
            return batch

        return run


@pytest.mark.usefixtures("eager")
def test_files_that_hand_batches_over_are_filled_again(
    engine: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_UNIT_BYTES", 1)
    told, handed = tmp_path / "told", engine.workspace / "handed"
    told.mkdir()
    out = engine.run(Numbers(1, 40), [Watching(str(handed), str(told))], str(tmp_path / "out"))
    assert numbers(out) == list(range(160))
    assert 1 <= max(map(int, os.listdir(told))) <= 5, "for two workers four wait, and one is being filled"
    assert os.listdir(handed) == []


def test_what_is_done_is_not_read_again(engine: Local, tmp_path: Path) -> None:
    for shape in (Numbers(4), Numbers(1, 4)):
        out = str(tmp_path / f"out-{shape.count}")
        engine.run(shape, [], out)
        engine.run(Unreadable(shape.count), [], out)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Unreadable(Numbers):
    def read(self, _split: Split) -> Iterator[pa.RecordBatch]:
        raise AssertionError("it has been read before")


def test_drops_are_told_once_for_each_row(engine: Local, tmp_path: Path) -> None:
    out = engine.run(Numbers(5), [Failing()], str(tmp_path / "out"))
    counts: Counter[str] = Counter()
    for drop in out.drops():
        counts[drop.reason] += drop.count
    assert counts["odd"] == 10
    assert sorted(drop.detail for drop in out.drops() if drop.detail) == ["15", "5"]
    assert numbers(out) == list(range(0, 20, 2))


@pytest.mark.usefixtures("eager")
def test_an_error_in_a_worker_arrives_as_it_was(engine: Local, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        engine.run(Numbers(8), [Failing(13)], str(tmp_path / "out"))
    assert caught.value.todo == "leave it out"
    assert not any(n in numbers(Shards(str(tmp_path / "out"))) for n in (12, 13, 14, 15))
    assert numbers(engine.run(Numbers(8), [], str(tmp_path / "out"))), "the engine works on after an error"


@dataclass(frozen=True)
class Endless:
    """A step that never ends, and says where it runs."""

    told: str

    def open(self) -> BatchFunction:
        import threading

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            Path(self.told, str(os.getpid())).touch()
            threading.Event().wait()
            return batch

        return run


@pytest.mark.usefixtures("eager")
def test_an_interrupt_does_not_wait_for_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    told.mkdir()

    def interrupted(*_: Any) -> Any:
        eventually(lambda: list(told.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(engine_module, "_collect", interrupted)
    engine = Local(tmp_path / "work", workers=2)
    with pytest.raises(KeyboardInterrupt):
        engine.run(Numbers(8), [Endless(str(told))], str(tmp_path / "out"))
    for process in [int(path.name) for path in told.iterdir()]:
        eventually(lambda process=process: not Path(f"/proc/{process}").exists())
    assert storage.listing(str(tmp_path / "out")) == [] or Shards(str(tmp_path / "out")).names() == []


class Told(Silent):
    """Progress that notes which steps it hears of."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def task(self, name: str, total: int | None, unit: str) -> Any:
        self.names.append(name)
        return super().task(name, total, unit)


def test_nothing_to_do_is_not_told(tmp_path: Path) -> None:
    told = Told()
    engine = Local(tmp_path / "work", workers=1, progress=told)
    engine.run(Numbers(2), [], str(tmp_path / "out"), "numbers")
    engine.run(Numbers(2), [], str(tmp_path / "out"), "numbers")
    assert told.names == ["numbers"]


def parquet(path: Path, table: pa.Table, **options: Any) -> Shards:
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path / f"part-{len(os.listdir(path))}.parquet", **options)
    return Shards(str(path))


def test_only_embeddings_are_halved(engine: Local, tmp_path: Path) -> None:
    mine = pa.table({"id": ["a"], "vector": pa.array([[1e-9, 1.0]], pa.list_(pa.float32()))})
    out = engine.run(parquet(tmp_path / "in", mine), [], str(tmp_path / "out"))
    assert next(out.batches()).schema.field("vector").type == pa.list_(pa.float32())
    theirs = pa.table({"hash": [b"h"], "vector": pa.array([[0.5, 1.0]], pa.list_(pa.float32()))})
    out = engine.run(parquet(tmp_path / "in2", theirs), [], str(tmp_path / "out2"))
    assert next(out.batches()).schema.field("vector").type == pa.list_(pa.float16())


TEXT = st.text(st.characters(codec="utf-8"), max_size=4)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(TEXT, st.none() | st.integers(0, 3)), min_size=1, max_size=20))
def test_sorting_is_by_bytes_and_keeps_one_of_each(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int | None]]
) -> None:
    here = tmp_path_factory.mktemp("sort")
    table = pa.table({"id": pa.array([r[0] for r in rows]), "n": pa.array([r[1] for r in rows], pa.int64())})
    shards = parquet(here / "in", table, row_group_size=3)
    out = Local(here / "work", workers=2).sort(shards, "id", str(here / "out"))
    found = [(r["id"], r["n"]) for batch in out.batches() for r in batch.to_pylist()]
    assert [each.encode() for each, _ in found] == sorted({each.encode() for each, _ in rows})
    best: dict[str, int | None] = {}
    for each, n in sorted(rows, key=lambda row: (row[1] is None, row[1] or 0)):
        best.setdefault(each, n)
    assert dict(found) == best, "of equal ids the first by all columns stays, whatever their order was"


def test_sorting_spills_to_disk(tmp_path: Path) -> None:
    count = 120_000
    table = pa.table(
        {"id": [f"{n * 7919 % count:012d}" * 8 for n in range(count)], "more": ["x" * 200] * count}
    )
    shards = parquet(tmp_path / "in", table)
    out = Local(tmp_path / "work", workers=2, memory=64_000_000).sort(shards, "id", str(tmp_path / "out"))
    first = next(out.batches()).column("id")[0].as_py()
    assert first == f"{0:012d}" * 8
    assert out.count() == count


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('Could not write: {"what": "No space left on device"}', "the disk is full; free some"),
        ("Could not write\nmore", "Could not write; free some"),
    ],
)
def test_a_full_disk_during_a_join_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, told: str
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise duckdb.IOException(message)

    engine = Local(tmp_path / "work", workers=1)
    shards = parquet(tmp_path / "in", pa.table({"id": ["a"]}))
    monkeypatch.setattr("duckdb.connect", full)
    with pytest.raises(StorageError, match=f"cannot write to .*: {told}"):
        engine.sort(shards, "id", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_result_is_named_by_what_it_was_made_from(engine: Local, tmp_path: Path) -> None:
    shards = parquet(tmp_path / "in", pa.table({"k": ["a", "a", "b"]}))
    once = engine.group(shards, ["k"], {"n": ("count", "k")})
    assert engine.group(shards, ["k"], {"n": ("count", "k")}).path == once.path
    assert engine.group(shards, ["k"], {"m": ("count", "k")}).path != once.path
    more = engine.group(parquet(tmp_path / "in", pa.table({"k": ["c"]})), ["k"], {"n": ("count", "k")})
    assert more.path != once.path
    assert sorted(row["n"] for batch in more.batches() for row in batch.to_pylist()) == [1, 1, 2]


def test_only_what_lies_on_disk_can_be_joined(engine: Local) -> None:
    with pytest.raises(FindlingError, match="only datasets on disk"):
        engine.group(Numbers(1), ["n"], {})
    with pytest.raises(FindlingError, match="no aggregate 'median'"):
        engine.group(engine.run(Numbers(1), [], str(engine.workspace / "n")), ["n"], {"m": ("median", "n")})
