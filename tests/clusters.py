"""What tests of engines share: which there are, a real Spark cluster, and small inputs with joins."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import command, eventually
from conftest import find_free_port
from findling import config, snapshot
from findling.catalog import Catalog
from needs import skip_without

TESTS = Path(__file__).resolve().parent

# Both take seconds to start, so the everyday run has small tests of them only: test_spark.py, test_beam.py.
ENGINES: list[Any] = [
    "local",
    pytest.param("spark", marks=[pytest.mark.slow, pytest.mark.needs("pyspark", "java")]),
    pytest.param("beam", marks=[pytest.mark.slow, pytest.mark.needs("apache_beam")]),
]

BOOKS = """
collection = "books"
home = "{home}"
[source]
kind = "openlibrary"
editions = "editions.txt.gz"
works = "works.txt"
authors = "authors.txt"
[filter]
where = "year is null or year < 2000"
[document]
title = "title"
keep = ["title", "authors", "subjects", "year", "description"]
[vectors.text]
encoder = "{encoder}"
input = ["title", "authors", "subjects"]
[lexical]
input = ["title"]
"""

TITLES = """
collection = "titles"
home = "{home}"
[source]
kind = "wikipedia"
path = "titles.tsv"
min_words = 2
[document]
title = "title"
keep = ["title", "views"]
[vectors.text]
encoder = "{encoder}"
input = ["title"]
[lexical]
input = ["title"]
"""


@pytest.fixture(scope="session", autouse=True)
def workers_find_tests() -> None:
    """Worker processes import the steps that tests define."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(TESTS) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, known)])


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The master URL of a standalone cluster of two workers with a core each, as real processes."""
    skip_without("pyspark", "java")
    known = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with standalone(tmp_path_factory.mktemp("cluster"), {**os.environ, "PYTHONPATH": known}) as master:
        yield master


def spark_home() -> Path:
    """The directory of Spark that pip's pyspark brings."""
    found = importlib.util.find_spec("pyspark")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@contextlib.contextmanager
def standalone(here: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The same for as long as the block runs, with the environment variables that its processes have."""
    home = spark_home()
    port, page = find_free_port(), find_free_port()
    environ = {
        **environ,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
    }
    master = f"spark://127.0.0.1:{port}"
    place = ["-h", "127.0.0.1"]
    words = [["master.Master", *place, "-p", str(port), "--webui-port", str(page)]]
    for number in range(2):
        own = ["-c", "1", "-m", "1g", "--webui-port", "0", "-d", str(here / f"worker-{number}")]
        words.append(["worker.Worker", *place, *own, master])
    with contextlib.ExitStack() as running:
        for name, *options in words:
            log = running.enter_context((here / "log").open("ab"))
            process = subprocess.Popen(
                [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *options],
                env=environ, stdout=log, stderr=log, cwd=here,
            )  # fmt: skip
            running.callback(process.wait)
            running.callback(process.terminate)
        eventually(lambda: alive_workers(page) == 2, seconds=120)
        yield master


def alive_workers(page: int) -> int:
    """How many workers the master's page tells of."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return 0


def lay_out(directory: Path, kind: str, *, encoder: str = "hashing", home: str = "data") -> Path:
    """A small books or titles build: books of three joined tables, titles that repeat in other letters."""
    import gzip

    directory.mkdir(parents=True)
    sample = files("findling") / "demo" / "sample"
    editions = (sample / "editions.txt").read_bytes()
    file = directory / "findling.toml"
    if kind == "books":
        # A book that stands there twice, once as an older revision, and a line that is no record.
        first = editions.splitlines(keepends=True)[0]
        twice = first.replace(b'"title": "', b'"title": "Older ')
        (directory / "editions.txt.gz").write_bytes(gzip.compress(editions + twice + first + b"nonsense\n"))
        for name in ("works.txt", "authors.txt"):
            (directory / name).write_bytes((sample / name).read_bytes())
        file.write_text(BOOKS.format(encoder=encoder, home=home))
        return file
    titles = [json.loads(line.split(b"\t")[4])["title"] for line in editions.splitlines()]
    rows = ["year\tmonth\tday\twikimedia_project\tlanguage\ttitle\tviews"]
    for place, title in enumerate(titles):
        told = [title, title.upper()] if place % 3 == 0 else [title]
        rows += [f"2020\t1\t1\twikipedia\ten\t{each.replace(' ', '_')}\t{place % 7 + 1}" for each in told]
    (directory / "titles.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    file.write_text(TITLES.format(encoder=encoder, home=home))
    return file


def build_there(file: Path, *words: str, **environ: str) -> dict[str, Any]:
    """The report of a build by the real program."""
    done = subprocess.run(
        command(file, "build", "--json", *words),
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)  # nothing else may be on standard output
    return report


def result(file: Path) -> tuple[list[str], dict[bytes, Any]]:
    """What a build left: its documents, sorted, and each content hash with its vector."""
    catalog = Catalog.of(config.load(file, environ={}))
    root = catalog.local()
    snapshot.verify(root)
    with pa.memory_map(str(root / "documents.arrow")) as mapped:
        documents = sorted(map(repr, pa.ipc.open_file(mapped).read_all().to_pylist()))
    return documents, vectors_of(file)


def vectors_of(file: Path) -> dict[bytes, Any]:
    """Each content hash that has a vector, with it."""
    vectors: dict[bytes, Any] = {}
    catalog = Catalog.of(config.load(file, environ={}))
    for part in sorted(Path(catalog.root, "embeddings").rglob("*.parquet")):
        if "_drops" in part.parts:
            continue
        for row in pq.read_table(part).to_pylist():
            assert row["hash"] not in vectors, "embedded twice"
            vectors[row["hash"]] = np.array(row["vector"], np.float32)
    return vectors


def same(one: Path, other: Path) -> None:
    """Asserts that two builds left equal documents, and vectors that are equal to 1e-5."""
    (documents, vectors), (others, theirs) = result(one), result(other)
    assert documents
    assert documents == others
    assert vectors.keys() == theirs.keys()
    assert max(float(np.abs(vectors[key] - theirs[key]).max()) for key in vectors) <= 1e-5


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket on loopback, which other processes reach too."""
    skip_without("moto", "s3fs", "boto3")
    import boto3
    from moto.server import ThreadedMotoServer

    port = find_free_port()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    told = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**told, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="search")
    yield "s3://search/home"
    server.stop()
