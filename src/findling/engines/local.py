"""One machine: Arrow batches over a pool of processes, DuckDB for what is relational.

Everything streams. A worker that has a whole split to itself reads it too; where there are fewer splits
than workers (one gzip file cannot be cut), this process reads and hands batches out.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from msgspec import Meta

from findling import storage
from findling.config import Options, convert
from findling.engines import handover, lifeline, relations
from findling.engines.base import Shards, shards_of
from findling.engines.handover import Rooms
from findling.engines.writing import ROWS_HELD, Work, forget, write
from findling.errors import FindlingError
from findling.progress import Progress, Silent
from findling.sources.base import Dataset, Split
from findling.steps import Step

_UNIT_BYTES = 16 << 20  # raw bytes handed to a worker at a time
_LEAST_ROWS = 64  # fewer rows than this are not worth a task
_MANY_ROWS = 16_384  # so many rows, or a unit's bytes, go to the workers without a trial here
_POOL_SECONDS = 2.0  # what starting the workers costs
_TRIAL_SECONDS = 0.5  # after so much work here it shows whether they are worth it
_CUTS = 16
_BOOT = "_boot"  # when the shards beside it were written
_DONE = "_done"  # marks of splits whose rows were written as units


class LocalOptions(Options, frozen=True):
    """The keys of [engine.local]: `workers` is the number of processes, 0 for one on each core."""

    workers: Annotated[int, Meta(ge=0)] = 0


class Local:
    """The engine of one machine, with `workers` processes, and `memory` bytes for joins before they spill."""

    def __init__(
        self, workspace: str | Path, workers: int = 0, memory: int = 1 << 30, progress: Progress | None = None
    ) -> None:
        self.workspace = Path(workspace)
        self.workers = workers or len(os.sched_getaffinity(0))
        self.memory = memory
        self.progress = progress or Silent()
        self._pool: ProcessPoolExecutor | None = None
        self._alive: Connection | None = None

    @classmethod
    def from_options(
        cls, options: dict[str, Any], workspace: str, progress: Progress, memory: int = 1 << 30
    ) -> Local:
        """The engine that [engine.local] describes; raises ConfigError."""
        read = convert(options, LocalOptions, at="engine.local")
        return cls(workspace, read.workers, memory, progress)

    def run(self, source: Dataset, steps: Sequence[Step], out: str, name: str = "rows") -> Shards:
        """Apply the steps to every split; see `findling.engines.base.Engine`."""
        if isinstance(source, Shards):
            source = _cut(source)
        passing = self._is_passing(out)
        if passing:
            _forget_what_a_crash_left(out)
        done = {*Shards(out).names(), *storage.listing(storage.join(out, _DONE))}
        splits = [split for split in source.splits() if split.name not in done]
        if splits:
            work = Work.of(steps, out, durable=not passing)
            with self.progress.task(name, _total(splits), "bytes" if _in_bytes(splits) else "rows") as task:
                self._spread(work, source, splits, done, task.advance)
        return Shards(out)

    def _is_passing(self, out: str) -> bool:
        """Whether shards only lead to something else, so that nobody need wait for the disk to hold them."""
        return storage.is_local(out) and storage.local_path(out).is_relative_to(self.workspace)

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Shards:
        """One row per key; see `findling.sources.base.Relations`."""
        rows = shards_of(dataset)
        sql = relations.group_sql(rows.columns(), key, aggregates, "read_parquet(?)")
        return self._relate(sql, [rows.files()])

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Shards:
        """Left or anti join; see `findling.sources.base.Relations`."""
        one, other = shards_of(left), shards_of(right)
        here = "read_parquet(?)"
        sql = relations.join_sql(one.columns(), other.columns(), on, how, here, here)
        return self._relate(sql, [one.files(), other.files()])

    def sort(self, dataset: Dataset, by: str, out: str) -> Shards:
        """The rows in the order of the bytes of `by`, one for each value, as one shard in `out`.

        Of rows that share the value, the one that sorts first by all its columns stays.
        """
        rows, order = shards_of(dataset), relations.name(by)
        columns = ", ".join(map(relations.name, rows.columns()))
        first = f"row_number() OVER (PARTITION BY {order} ORDER BY {columns}) = 1"
        return self._copy(
            f"SELECT * FROM read_parquet(?) QUALIFY {first} ORDER BY {order}", [rows.files()], out
        )

    def _spread(self, work: Work, source: Dataset, splits: list[Split], done: set[str], advance: Any) -> None:
        """Hand out whole splits, or, when they are too few, units cut from them here."""
        apart = not _begun(splits, done) and (len(splits) >= self.workers or _is_small(splits))
        units = (
            ((_whole, (work, source, split)) for split in splits)
            if apart
            else _units(work, source, splits, done)
        )
        for function, arguments in self._here(units, splits, advance):
            with self._working() as pool, Rooms(self.workspace / "handed") as rooms:
                futures = {self._submit(pool, rooms, function, arguments)}
                for later, others in units:
                    futures.add(self._submit(pool, rooms, later, others))
                    while len(futures) >= 2 * self.workers:
                        futures = _collect(futures, advance)
                while futures:
                    futures = _collect(futures, advance)
        if not apart:
            for split in splits:
                storage.write_bytes(storage.join(work.out, _DONE, split.name), b"")

    def _submit(
        self,
        pool: ProcessPoolExecutor,
        rooms: Rooms,
        function: Callable[..., int],
        arguments: tuple[Any, ...],
    ) -> Future[int]:
        """Hand a task to a worker; batches go by a file that it maps, which is faster than through a pipe."""
        if function is not _unit:
            return pool.submit(function, *arguments)
        work, name, batches, size = arguments
        path = rooms.fill(batches)
        future = pool.submit(_handed, work, name, str(path), size)
        future.add_done_callback(lambda _: rooms.leave(path))
        return future

    def _here(self, units: Iterator[_Unit], splits: list[Split], advance: Any) -> Iterator[_Unit]:
        """Do units in this process while that ends before workers would have started; gives the next one.

        What is known to be much goes to the workers at once.
        """
        total, much = _total(splits), _is_much(splits)
        done = first = 0
        begun = paced = time.perf_counter()
        for function, arguments in units:
            now = time.perf_counter()
            # The first unit also loads a model, so the pace is that of those after it.
            slow = now - begun > _POOL_SECONDS
            if total and done:
                pace = (done - first) / (now - paced)
                slow = done > first and now - begun > _TRIAL_SECONDS and (total - done) > pace * _POOL_SECONDS
            if self.workers > 1 and (self._pool is not None or much or slow):
                forget()
                yield function, arguments
                return
            size = function(*arguments)
            if not done:
                first, paced = size, time.perf_counter()
            done += size
            advance(size)

    def close(self, *, abandon: bool = False) -> None:
        """Let the worker processes go; with `abandon`, in the middle of their work."""
        pool, self._pool = self._pool, None
        alive, self._alive = self._alive, None
        if abandon and alive is not None:
            alive.close()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        if alive is not None:
            alive.close()

    @contextlib.contextmanager
    def _working(self) -> Iterator[ProcessPoolExecutor]:
        """The worker processes, started at their first task and kept for the next run."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            # Workers hold the other end, and see it close when this process ends, however it ends.
            watched, self._alive = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self.workers, context, initializer=lifeline.hold, initargs=(watched,)
            )
        try:
            yield self._pool
        except BrokenProcessPool:
            self.close(abandon=True)
            raise FindlingError(
                "a worker process ended before its work was done, perhaps for want of memory",
                todo="run the same command again: it goes on from here",
            ) from None
        except BaseException:
            self.close(abandon=True)
            raise

    def _relate(self, sql: str, inputs: list[list[str]]) -> Shards:
        """The result of a query as a dataset of its own, named by what it was made from."""
        return self._copy(sql, inputs, str(self.workspace / relations.named(sql, *inputs)))

    def _copy(self, sql: str, inputs: list[list[str]], out: str) -> Shards:
        if not storage.exists(out):
            with (
                storage.stage_directory(out, last="part.parquet") as aside,
                relations.database(self.workspace, self.memory, self.workers) as database,
            ):
                target = str(aside / "part.parquet").replace("'", "''")
                options = f"FORMAT parquet, ROW_GROUP_SIZE {ROWS_HELD}"
                database.execute(f"COPY ({sql}) TO '{target}' ({options})", inputs)
        return Shards(out)


_Unit = tuple[Callable[..., int], tuple[Any, ...]]
"""What to call, in whichever process, and with what; it returns the size of what was done."""


def _whole(work: Work, source: Dataset, split: Split) -> int:
    """Read, transform and write one split; returns its size in the units of its length."""
    write(work, split.name, source.read(split))
    return max(split.length, 0)


def _unit(work: Work, name: str, batches: list[pa.RecordBatch], size: int) -> int:
    """Transform and write a part of a split that was read elsewhere."""
    write(work, name, iter(batches))
    return size


def _handed(work: Work, name: str, path: str, size: int) -> int:
    """The same for a part that was handed over."""
    with handover.received(path) as batches:
        write(work, name, batches)
    return size


def _cut(shards: Shards) -> Shards:
    """Splits small enough that every core has some; sized by the data alone, so that a re-run cuts alike."""
    share = -(-shards.count() // _CUTS)
    return replace(shards, rows=min(max(share, _LEAST_ROWS), ROWS_HELD))


def _is_small(splits: list[Split]) -> bool:
    limit = (1 << 20) if _in_bytes(splits) else _LEAST_ROWS
    total = _total(splits)
    return total is not None and total <= limit


def _is_much(splits: list[Split]) -> bool:
    """Whether so much is known to be there, if only by the size of files that are read whole."""
    if not _in_bytes(splits):
        return (_total(splits) or 0) > _MANY_ROWS
    files = [split.path for split in splits if split.length < 0 and split.path and not split.version]
    return sum(map(storage.size, files)) + sum(max(s.length, 0) for s in splits) > _UNIT_BYTES


def _begun(splits: list[Split], done: set[str]) -> bool:
    """Whether an earlier run left units of a split, which this run must then cut in the same way."""
    names = [split.name for split in splits]
    return any(unit.rpartition("-")[0] in names for unit in done)


def _units(work: Work, source: Dataset, splits: list[Split], done: set[str]) -> Iterator[_Unit]:
    """Batches gathered into tasks of some megabytes, named by their place so that a re-run skips them."""
    for split in splits:
        gathered: list[pa.RecordBatch] = []
        place = 0
        size = 0
        for batch in source.read(split):
            gathered.append(batch)
            size += batch.nbytes
            if size >= _UNIT_BYTES:
                name = f"{split.name}-{place:06d}"
                if name not in done:
                    yield _unit, (work, name, gathered, size)
                gathered, place, size = [], place + 1, 0
        if gathered and (name := f"{split.name}-{place:06d}") not in done:
            yield _unit, (work, name, gathered, size)


def _collect(futures: set[Future[int]], advance: Any) -> set[Future[int]]:
    finished, pending = wait(futures, return_when=FIRST_COMPLETED)
    for future in finished:
        advance(future.result())
    return set(pending)


def _forget_what_a_crash_left(out: str) -> None:
    """Shards that the disk was never waited for are as they were written only while the machine runs."""
    mark = storage.local_path(out) / _BOOT
    if not (mark.exists() and mark.read_text() == _boot()):
        storage.remove(out)
        storage.write_bytes(str(mark), _boot().encode())


@functools.cache
def _boot() -> str:
    """A name for the time since the machine was started; where it has none, for this process's life."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return uuid.uuid4().hex


def _in_bytes(splits: list[Split]) -> bool:
    return any(split.table for split in splits)


def _total(splits: list[Split]) -> int | None:
    return None if any(split.length < 0 for split in splits) else sum(split.length for split in splits)
