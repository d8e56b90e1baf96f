"""Spark: a stage is a `mapInArrow` over its tasks, groups and joins are DataFrame operations.

Rows of a stage never pass through the JVM. A Python worker reads its split, opens the steps once in its life
and writes a shard; only small tallies come back. Keeps to the API of Spark 3.5.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from msgspec import field

from findling import storage
from findling.config import Options, convert
from findling.engines import relations
from findling.engines.base import Shards, shards_of
from findling.engines.cluster import Cluster, Tasks
from findling.engines.writing import ROWS_HELD, error_in
from findling.errors import FindlingError, MissingExtra, extra
from findling.progress import Progress
from findling.sources.base import ORDER, Dataset
from findling.steps import SelectStep

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_SUCCESS = "_SUCCESS"  # what Spark leaves when all of a result is written
_TALLY = "place int, rows long"
_ROWS_OF_A_FILE = 8 * ROWS_HELD  # a reader of some rows decodes no more than these
_ROWS_OF_A_SHUFFLE = 100_000
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_PYTHON = "spark.pyspark.python"
_ALWAYS = {
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.python.worker.reuse": "true",
    "spark.ui.showConsoleProgress": "false",
}


class SparkOptions(Options, frozen=True):
    """The keys of [engine.spark]: the `master`, and Spark's own properties in `conf`."""

    master: str | None = None
    conf: dict[str, str | int | float | bool] = field(default_factory=dict)


class Spark(Cluster):
    """The engine that runs on Spark; `workspace` is a directory or URL that all executors reach."""

    def __init__(self, workspace: str, options: SparkOptions, progress: Progress) -> None:
        super().__init__(workspace, progress)
        self._options = options
        self._session: SparkSession | None = None
        self._own = False

    @classmethod
    def from_options(cls, options: dict[str, Any], workspace: str, progress: Progress) -> Spark:
        """The engine that [engine.spark] describes; a key `spark.*` is one of `conf`. Raises ConfigError."""
        conf = {key: value for key, value in options.items() if key.startswith("spark.")}
        plain = {key: value for key, value in options.items() if key not in conf}
        if conf:
            plain["conf"] = {**plain.get("conf", {}), **conf}
        return cls(workspace, convert(plain, SparkOptions, at="engine.spark"), progress)

    def cores(self) -> int:
        """The tasks that run at once: what executors that may still come will add is not known here."""
        return max(int(self.session.sparkContext.defaultParallelism), 1)

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Shards:
        """One row per key; see `findling.sources.base.Relations`."""
        rows = shards_of(dataset)
        name = relations.named(["group", key, dict(aggregates)], rows.files())
        return self._written(name, rows.count(), lambda: _grouped(self._read(rows), key, aggregates))

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Shards:
        """Left or anti join; see `findling.sources.base.Relations`."""
        one, other = shards_of(left), shards_of(right)
        more = [] if how == "anti" else relations.added(one.columns(), other.columns(), on)
        name = relations.named(["join", on, how], one.files(), other.files())

        def joined() -> DataFrame:
            rights = self._read(other, [on[1], *more])
            # Both sides may have columns of one name; only this one is compared.
            rights = rights.withColumnRenamed(on[1], "_on")
            lefts = self._read(one)
            return lefts.join(
                rights, _column(on[0]) == rights["_on"], f"left_{how}" if how == "anti" else how
            ).drop("_on")

        return self._written(name, one.count() + other.count(), joined)

    def close(self) -> None:
        """End the session, where this engine began it."""
        session, self._session = self._session, None
        if session is not None and self._own:
            session.stop()

    @property
    def session(self) -> SparkSession:
        """The session, begun when it is first needed; one that is there is used."""
        if self._session is None:
            with extra("spark", "engine 'spark'"):
                from pyspark.sql import SparkSession
            found = SparkSession.getActiveSession()
            self._own = found is None
            self._session = found or _begin(self._options, self.log("spark"))
            for key, value in _ALWAYS.items():
                if key.startswith("spark.sql."):
                    self._session.conf.set(key, value)
        return self._session

    def _do(self, tasks: Tasks, seconds: float) -> None:  # noqa: ARG002 - a session that stands costs nothing
        count = len(tasks)

        def work(places: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in places:
                for place in batch.column(0).to_pylist():
                    rows = tasks.do(place)
                    yield pa.record_batch(
                        {"place": pa.array([place], pa.int32()), "rows": pa.array([rows], pa.int64())}
                    )

        session = self.session
        self._wait(session.range(0, count, 1, count).mapInArrow(work, _TALLY).collect)

    def _written(self, name: str, rows: int, make: Any) -> Shards:
        out = storage.join(self.workspace, name)
        if not storage.exists(storage.join(out, _SUCCESS)):
            session = self.session
            pieces = max(self.cores(), -(-rows // _ROWS_OF_A_SHUFFLE))
            session.conf.set("spark.sql.shuffle.partitions", str(pieces))
            written = make().write.mode("overwrite").option("maxRecordsPerFile", _ROWS_OF_A_FILE)
            written = written.option("parquet.block.row.count.limit", ROWS_HELD)
            self._wait(lambda: written.parquet(_hadoop(out)))
            self._must_be_there([storage.join(out, _SUCCESS)])
        return Shards(out)

    def _read(self, shards: Shards, columns: list[str] | None = None) -> DataFrame:
        """Shards as a DataFrame with just these columns; what Spark has no type for may be left out."""
        from pyspark.sql.pandas.types import from_arrow_schema

        found = shards.schema()
        wanted = pa.schema([found.field(name) for name in columns or found.names])
        if any(_has_halves(field.type) for field in found):
            shards = self._picked(shards, tuple(wanted.names))
        files = [_hadoop(_escaped(file)) for file in shards.files()]
        return self.session.read.schema(from_arrow_schema(wanted)).parquet(*files)

    def _picked(self, shards: Shards, columns: tuple[str, ...]) -> Shards:
        """Just these columns in shards of their own: Spark 3.5 opens no file that holds 16-bit floats."""
        name = relations.named(["pick", columns], shards.files())
        steps = [SelectStep(columns)]
        return self.run(replace(shards, only=columns), steps, storage.join(self.workspace, name), "columns")

    def _wait(self, action: Any) -> None:
        """Runs an action beside this thread, which so stays free for an interrupt."""
        with ThreadPoolExecutor(1) as beside:
            future = beside.submit(action)
            try:
                while True:
                    with contextlib.suppress(NotYet):
                        future.result(timeout=0.5)
                        return
            except FindlingError:
                raise
            except Exception as error:
                raise self._explained(error) from error
            except BaseException:
                self.session.sparkContext.cancelAllJobs()
                raise

    def _explained(self, error: Exception) -> FindlingError:
        told = error_in(str(error))
        if told is not None:
            return told
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        last = next((line for line in reversed(lines) if "Error" in line or "Exception" in line), "")
        return FindlingError(
            f"Spark gave the work up: {last or (lines or ['no reason told'])[0]}",
            todo=f"look into {self.log('spark')}; run the same command again: it goes on from here",
        )


def _begin(options: SparkOptions, log: Path) -> SparkSession:
    """A session of our own, whose JVM writes to a file all that it has to say."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    conf = SparkConf()
    master = options.master or conf.get("spark.master", None) or "local[*,4]"
    given = {key: _told(value) for key, value in options.conf.items()}
    usual = {**_ALWAYS, **(_LOCAL if master.startswith("local") else {})}
    # Workers run this Python, with all that is installed for it, unless another is named.
    os.environ.setdefault("PYSPARK_PYTHON", given.get(_PYTHON, sys.executable))
    for key, value in {**{k: v for k, v in usual.items() if not conf.contains(k)}, **given}.items():
        conf.set(key, value)
    conf.setMaster(master).setIfMissing("spark.app.name", "findling")
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit, which has begun it
        return SparkSession(SparkContext.getOrCreate(conf))
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise MissingExtra(
            "engine 'spark' needs Java, and there is none", todo="install Java 17, or set JAVA_HOME"
        )
    storage.make_directory(str(log.parent))
    with log.open("ab") as words:
        try:
            gateway = launch_gateway(conf, {"stdout": words, "stderr": words})
            return SparkSession(SparkContext(gateway=gateway, conf=conf))
        except Exception as error:
            raise FindlingError(
                f"Spark did not start on {master}: {str(error).splitlines()[0]}", todo=f"look into {log}"
            ) from error


def _has_halves(kind: pa.DataType) -> bool:
    inner = (kind.field(place).type for place in range(kind.num_fields))
    return pa.types.is_float16(kind) or any(map(_has_halves, inner))


def _grouped(rows: DataFrame, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> DataFrame:
    """As `findling.engines.relations.group_sql` has it."""
    from pyspark.sql import functions as f

    ordered = [ORDER] if ORDER in rows.columns else []
    firsts = list(dict.fromkeys(column for function, column in aggregates.values() if function == "first"))
    inner: list[Column] = []
    if firsts:
        inner.append(f.min(_nulls_last([*ordered, *firsts])).alias("_first"))
    outer = [_column(name) for name in key]
    for place, (result, (function, column)) in enumerate(aggregates.items()):
        relations.check(function)
        value = f.col(f"a{place}")
        if function == "first":
            value = f.col("_first").getField(f"v{firsts.index(column) + len(ordered)}")
        elif function == "list":
            last = f"v{len(ordered)}"
            inner.append(f.sort_array(f.collect_list(_nulls_last([*ordered, column]))).alias(f"a{place}"))
            value = value.getField(last)  # of each
        else:
            made = {"sum": f.sum, "min": f.min, "max": f.max, "count": f.count}[function](_column(column))
            inner.append((made.cast("bigint") if function == "sum" else made).alias(f"a{place}"))
        outer.append(value.alias(result))
    keys = [_column(name) for name in key]
    grouped = rows.groupBy(*keys).agg(*inner) if inner else rows.select(*keys).distinct()
    return grouped.select(*outer)


def _nulls_last(columns: list[str]) -> Column:
    """A struct whose order is that of these columns, null behind all values: v0, v1, … are the values."""
    from pyspark.sql import functions as f

    fields = [
        part
        for place, name in enumerate(columns)
        for part in (_column(name).isNull().alias(f"n{place}"), _column(name).alias(f"v{place}"))
    ]
    return f.struct(*fields)


def _column(name: str) -> Column:
    from pyspark.sql import functions as f

    return f.col("`" + name.replace("`", "``") + "`")


def _hadoop(url: str) -> str:
    """A path on this machine as Hadoop's URL; any other stays."""
    return f"file://{storage.local_path(url).absolute()}" if storage.is_local(url) else url


def _escaped(url: str) -> str:
    """A path that Spark reads, in which no letter stands for others."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", url)


def _told(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
