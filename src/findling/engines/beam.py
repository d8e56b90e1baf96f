"""Beam: a stage is a ParDo over its tasks, groups and joins are by the hash of their key.

The portable part of Beam's Python SDK alone is used, so any runner will do: DirectRunner on one machine,
Dataflow, or another by its job endpoint. Rows of a stage never pass through the runner; between the two
halves of a group or a join they pass as Arrow batches.
"""

from __future__ import annotations

import difflib
import logging
import multiprocessing
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from findling import storage
from findling.config import Options, convert
from findling.engines import cutting, lifeline, relations
from findling.engines.base import Shards, shards_of
from findling.engines.cluster import Cluster, Tasks, WorkerLost
from findling.engines.writing import ROWS_HELD, error_in, telling
from findling.errors import ConfigError, FindlingError, extra
from findling.progress import Progress
from findling.sources.base import Dataset

if TYPE_CHECKING:
    from apache_beam import Pipeline

_IN_PROCESS_SECONDS = 10.0  # less work than this is done before worker processes would stand
_ROWS_READ = 100_000  # by one task of a group or a join
_ROWS_OF_A_PART = 200_000
_MEMORY = 1 << 30  # of a part's group or join, before it spills
_DIRECT = {"DirectRunner", "FnApiRunner"}
_PROCESSES = "multi_processing"


class BeamOptions(Options, frozen=True):
    """The keys of [engine.beam]: the `runner`; all further keys are Beam's own pipeline options."""

    runner: str = "DirectRunner"


class Beam(Cluster):
    """The engine that runs on Beam; `workspace` is a directory or URL that all workers reach."""

    def __init__(self, workspace: str, runner: str, options: Mapping[str, Any], progress: Progress) -> None:
        super().__init__(workspace, progress)
        self._runner = runner
        self._given = dict(options)

    @classmethod
    def from_options(cls, options: dict[str, Any], workspace: str, progress: Progress) -> Beam:
        """The engine that [engine.beam] describes; raises ConfigError for what Beam does not know."""
        mine = {key: value for key, value in options.items() if key in BeamOptions.__struct_fields__}
        theirs = {key: value for key, value in options.items() if key not in mine}
        read = convert(mine, BeamOptions, at="engine.beam")
        _check(theirs)
        return cls(workspace, read.runner, theirs, progress)

    def cores(self) -> int:
        """The cores of the workers that are asked for; on this machine all cores."""
        if self._runner in _DIRECT:
            return int(self._given.get("direct_num_workers", 0)) or len(os.sched_getaffinity(0))
        most = (self._given.get(name) for name in ("max_num_workers", "num_workers"))
        # The names of machine types end with the number of their cores.
        each = re.search(r"-(\d+)$", str(self._given.get("machine_type")))
        return next((int(number) for number in most if number), 8) * (int(each[1]) if each else 1)

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Shards:
        """One row per key; see `findling.sources.base.Relations`."""
        rows = shards_of(dataset)
        sql = relations.group_sql(rows.columns(), key, aggregates, "one")
        return self._relate(sql, {"one": _Side(rows, tuple(key), tuple(rows.columns()))})

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Shards:
        """Left or anti join; see `findling.sources.base.Relations`."""
        one, other = shards_of(left), shards_of(right)
        sql = relations.join_sql(one.columns(), other.columns(), on, how, "one", "other")
        more = [] if how == "anti" else relations.added(one.columns(), other.columns(), on)
        sides = {
            "one": _Side(one, (on[0],), tuple(one.columns())),
            "other": _Side(other, (on[1],), (on[1], *more)),
        }
        return self._relate(sql, sides)

    def close(self) -> None:
        """Nothing stays between two pipelines."""

    def _do(self, tasks: Tasks, seconds: float) -> None:
        self._run(_Each(tasks), seconds)

    def _relate(self, sql: str, sides: Mapping[str, _Side]) -> Shards:
        """A query over relations whose rows with equal keys come together, as a dataset of its own."""
        name = relations.named(sql, *(side.rows.files() for side in sides.values()))
        out = storage.join(self.workspace, name)
        done = storage.join(out, "_SUCCESS")
        if not storage.exists(done):
            rows = sum(side.rows.count() for side in sides.values())
            job = _Relation(sql, dict(sides), max(1, -(-rows // _ROWS_OF_A_PART)), out)

            def relate() -> Shards:
                self._run(job, rows * cutting.PLAIN_ROW_SECONDS)
                return Shards(out)

            self._persistent(relate)
            storage.write_bytes(done, b"")
        return Shards(out)

    def _run(self, job: _Job, seconds: float) -> None:
        options = self._settled(seconds)
        if self._runner in _DIRECT and options.get("direct_running_mode") == _PROCESSES:
            self._apart(job, options)
        else:
            _execute(job, self._runner, options)

    def _apart(self, job: _Job, options: Mapping[str, Any]) -> None:
        """In a process of its own: Beam's runner waits for ever for a worker that is gone."""
        context = multiprocessing.get_context("spawn")
        watched, alive = context.Pipe(duplex=False)
        answer, told = context.Pipe(duplex=False)
        log = self.log("beam")
        storage.make_directory(str(log.parent))
        arguments = (job, self._runner, options, str(log), watched, told)
        process = context.Process(target=_work_apart, args=arguments, daemon=False)
        process.start()
        told.close()
        try:
            try:
                error = answer.recv()
            except EOFError:
                raise WorkerLost(
                    "a worker process of Beam ended before its work was done",
                    todo=f"look into {log}; run the same command again: it goes on from here",
                ) from None
            if error is not None:
                raise error
        finally:
            process.kill()
            process.join()
            for end in (watched, alive, answer):
                end.close()

    def _settled(self, seconds: float) -> dict[str, Any]:
        """Beam's options; on this machine, worker processes where the work is worth starting them."""
        modes = {"direct_running_mode", "direct_num_workers"}
        if self._runner not in _DIRECT or self._given.keys() & modes:
            return self._given
        if seconds < _IN_PROCESS_SECONDS or self.cores() == 1:
            return {**self._given, "direct_running_mode": "in_memory", "direct_num_workers": 1}
        chosen = {"direct_running_mode": _PROCESSES, "direct_num_workers": self.cores()}
        return {**self._given, **chosen}


@dataclass(frozen=True)
class _Side:
    """A relation that takes part: the columns of its key, and all that is needed of it."""

    rows: Shards
    key: tuple[str, ...]
    columns: tuple[str, ...]

    def schema(self) -> pa.Schema:
        found = self.rows.schema()
        return pa.schema([found.field(name) for name in self.columns])


class _Job(Protocol):
    """A picklable description of a pipeline."""

    def add(self, pipeline: Pipeline) -> None:
        """Put the transforms into a pipeline."""
        ...


@dataclass(frozen=True)
class _Each:
    """All tasks of a stage, spread over the workers."""

    tasks: Tasks

    def add(self, pipeline: Pipeline) -> None:
        import apache_beam as beam

        tasks = self.tasks

        class Do(beam.DoFn):  # type: ignore[misc]  # Beam is untyped
            def setup(self) -> None:
                tasks.open()

            def process(self, place: int) -> Iterator[int]:
                yield tasks.do(place)

        places = pipeline | "Tasks" >> beam.Create(range(len(tasks)))
        _ = places | "Spread" >> beam.Reshuffle() | "Do" >> beam.ParDo(Do())


@dataclass(frozen=True)
class _Relation:
    """A query over `sides`, done part by part; rows with equal keys are in one part."""

    sql: str
    sides: dict[str, _Side]
    parts: int
    out: str

    def add(self, pipeline: Pipeline) -> None:
        import apache_beam as beam

        sql, out = self.sql, self.out
        sides = {name: _scattered(pipeline, name, side, self.parts) for name, side in self.sides.items()}
        together = sides | "Together" >> beam.CoGroupByKey()
        _ = together | "Relate" >> beam.MapTuple(lambda part, found: _part(sql, part, found, out))


def _execute(job: _Job, runner: str, options: Mapping[str, Any]) -> None:
    """Run a pipeline to its end; raises FindlingError."""
    with extra("beam", "engine 'beam'"):
        import apache_beam as beam
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    pipeline = beam.Pipeline(options=_pipeline_options(runner, options))
    job.add(pipeline)
    try:
        running = pipeline.run()
        try:
            state = running.wait_until_finish()
        except KeyboardInterrupt:
            if runner not in _DIRECT:  # it would go on, and cost
                running.cancel()
            raise
    except Exception as error:
        raise _explained(error) from error
    if state != "DONE":
        raise FindlingError(f"the Beam job ended as {state}", todo="look into the runner's log")


def _work_apart(
    job: _Job, runner: str, options: Mapping[str, Any], log: str, watched: Connection, told: Connection
) -> None:
    """In the process that runs a pipeline: send the error it ends with, or None; or end without a word."""
    lifeline.hold(watched)
    with open(log, "ab") as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
    # Beam's thread that watches a worker process raises when that ends, and nobody listens.
    threading.excepthook = lambda raised: "exited with return code" in str(raised.exc_value) and os._exit(1)
    try:
        _execute(job, runner, options)
        told.send(None)
    except FindlingError as error:
        told.send(error)
    os._exit(0)  # not waiting for servers and threads of Beam


def _scattered(pipeline: Pipeline, name: str, side: _Side, parts: int) -> Any:
    """A relation's rows as (part, Arrow batches), equal keys in one part, each part with one at least."""
    import apache_beam as beam

    rows = replace(side.rows, rows=_ROWS_READ)
    nothing = _packed(side.schema().empty_table())
    empty = pipeline | f"Parts of {name}" >> beam.Create([(part, nothing) for part in range(parts)])
    read = (
        pipeline
        | f"Splits of {name}" >> beam.Create(rows.splits())
        | f"Spread {name}" >> beam.Reshuffle()
        | f"Read {name}" >> beam.FlatMap(lambda split: _scatter(side, rows.read(split), parts))
    )
    return (empty, read) | f"All of {name}" >> beam.Flatten()


def _scatter(side: _Side, batches: Iterable[pa.RecordBatch], parts: int) -> Iterator[tuple[int, bytes]]:
    import duckdb

    with telling():
        table = pa.Table.from_batches(batch.select(side.columns) for batch in batches)
        if parts == 1:
            yield 0, _packed(table)
            return
        keys = ", ".join(map(relations.name, side.key))
        with duckdb.connect(":memory:", config={"threads": "1"}) as database:
            database.register("rows", table)
            found = database.execute(f"SELECT hash({keys}) % {int(parts)} FROM rows").fetchnumpy()
        (places,) = found.values()
        for part in range(parts):
            yield part, _packed(table.filter(pa.array(places == part)))


def _part(sql: str, part: int, found: Mapping[str, Iterable[bytes]], out: str) -> int:
    """One part of the result as a shard of its own."""
    with (
        telling(),
        tempfile.TemporaryDirectory(prefix="findling-") as name,
        relations.database(Path(name), _MEMORY, 1) as database,
    ):
        for side, packed in found.items():
            database.register(side, _unpacked(packed))
        made = Path(name) / "part.parquet"
        database.execute(f"COPY ({sql}) TO '{made}' (FORMAT parquet, ROW_GROUP_SIZE {ROWS_HELD})")
        with (
            storage.stage_file(storage.join(out, f"part-{part:05d}.parquet")) as file,
            made.open("rb") as whole,
        ):
            shutil.copyfileobj(whole, file)
    return part


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(packed: Iterable[bytes]) -> pa.RecordBatchReader:
    """The batches as one stream, one table at a time in memory."""
    tables = (pa.ipc.open_stream(each).read_all() for each in packed)
    first = next(tables)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from first.to_batches()
        for table in tables:
            yield from table.cast(first.schema).to_batches()

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def _pipeline_options(runner: str, given: Mapping[str, Any]) -> Any:
    from apache_beam.options.pipeline_options import PipelineOptions

    # What Beam calls DirectRunner may hand over to a program that it downloads; this is the one in Python.
    runner = "FnApiRunner" if runner in _DIRECT else runner
    return PipelineOptions.from_dictionary({"runner": runner, **given})


def _check(given: Mapping[str, Any]) -> None:
    with extra("beam", "engine 'beam'"):
        from apache_beam.options.pipeline_options import PipelineOptions
    known: Sequence[str] = sorted(PipelineOptions([]).get_all_options())
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"unknown key 'engine.beam.{key}'",
                todo=f"{meant}allowed are `runner` and Beam's pipeline options",
            )


def _explained(error: Exception) -> FindlingError:
    told = error_in(str(error))
    if told is not None:
        return told
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason told"]
    # Dataflow's client says the state on the first line, and then what a worker said, if anything.
    last = " ".join([lines[0], *lines[-1:]]) if lines[0].endswith("Error:") else lines[-1]
    return FindlingError(
        f"Beam gave the work up: {type(error).__name__}: {last}",
        todo="run the same command again: it goes on from here",
    )
