"""A build may be killed at any moment: the next one completes it, and nobody ever sees half of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch import collection, command, eventually, finish, some_rows, tree
from findling import config, snapshot
from findling.catalog import Catalog
from findling.cli import run

ROWS = some_rows(4000)
MANY = 200_000  # rows that keep worker processes busy for a while


def catalog_of(file: Path) -> Catalog:
    return Catalog.of(config.load(file, environ={}))


def begin(file: Path, **environ: str) -> subprocess.Popen[str]:
    """A build as a program, in a process group of its own."""
    return subprocess.Popen(
        [*command(file, "build", "--json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **environ},
    )


def members(group: int) -> list[int]:
    """The living processes of a group (proc_pid_stat(5))."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                alive.append(int(stat.parent.name))
    return alive


def is_building(build: subprocess.Popen[str]) -> bool:
    """Whether it holds the lock of its work directory (proc_locks(5)), or has ended."""
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return build.poll() is not None or any(w[1] == "FLOCK" and w[4] == str(build.pid) for w in held)


@contextlib.contextmanager
def gone_afterwards(build: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever becomes of the test, its processes end with it."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL)
        build.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a build that nobody disturbs, its snapshot's digest, and how long it took."""
    file = collection(tmp_path_factory.mktemp("undisturbed"), ROWS, where="year >= 1995")
    started = time.monotonic()
    done = finish(file, "build", "--json")
    took = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report | {"digest": catalog_of(file).manifest(report["snapshot"]).digest, "took": took}


@pytest.mark.slow
@pytest.mark.parametrize(("whom", "seed"), [("all", 1), ("parent", 2)])
def test_killed_again_and_again_it_completes(
    whom: str, seed: int, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    # The first few builds end in their first moments, later ones get further each time.
    file = collection(tmp_path, ROWS, where="year >= 1995")
    home, patience, kills = tmp_path / "data" / "books", undisturbed["took"] / 4, 0
    while True:
        build = begin(file)
        with gone_afterwards(build):
            try:
                out, told = build.communicate(timeout=chance.uniform(0.1, patience))
            except subprocess.TimeoutExpired:
                live = home / "CURRENT"
                if whom == "all":
                    os.killpg(build.pid, signal.SIGKILL)
                else:
                    build.kill()
                    eventually(lambda group=build.pid: not members(group))
                if live.exists():  # it came as far as the last instant
                    snapshot.verify(catalog_of(file).local())
                patience *= 1.3
                kills += 1
                continue
        assert build.returncode == 0, told
        break
    report = json.loads(out)
    assert kills > 0
    assert report["records"] == undisturbed["records"]
    embedded, wanted = report["embedded"]["text"], undisturbed["embedded"]["text"]["new"]
    assert (embedded["new"] + embedded["reused"], embedded["failed"]) == (wanted, 0)
    manifest = snapshot.verify(catalog_of(file).local())
    assert manifest.digest == undisturbed["digest"]
    assert not list(tmp_path.rglob("*.tmp"))
    assert len([path for path in (home / "work").iterdir() if path.is_dir()]) == 1


@pytest.mark.slow
def test_the_live_snapshot_is_never_touched(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS[:300])
    assert finish(file).returncode == 0
    catalog = catalog_of(file)
    live, root = catalog.current(), catalog.local()
    before = tree(root)
    chance = random.Random(3)
    collection(tmp_path, ROWS)
    for _ in range(6):
        build = begin(file)
        with gone_afterwards(build), contextlib.suppress(subprocess.TimeoutExpired):
            build.communicate(timeout=chance.uniform(0.5, 2.5))
            break  # it was quicker than the clock: nothing more to see
        if catalog.current() != live:
            break  # it was published just before it was killed
        assert tree(root) == before
        assert snapshot.verify(root).id == live
    assert finish(file).returncode == 0
    assert catalog.current() != live
    assert tree(root) == before


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A build whose worker processes are at work."""
    file = collection(tmp_path, some_rows(MANY), more='\n[index]\nkind = "exact"\n')
    build = begin(file)
    with gone_afterwards(build):
        cache = tmp_path / "data" / "books" / "embeddings"
        eventually(lambda: list(cache.rglob("*.parquet")) or build.poll() is not None, seconds=120)
        assert build.poll() is None
        assert len(members(build.pid)) >= 2
        yield file, build


@pytest.mark.slow
def test_workers_do_not_outlive_their_parent(busy: tuple[Path, subprocess.Popen[str]]) -> None:
    file, build = busy
    build.kill()
    killed = time.monotonic()
    eventually(lambda: not members(build.pid), seconds=10)
    assert time.monotonic() - killed < 10
    done = finish(file, "build", "--json")
    assert done.returncode == 0, done.stderr
    embedded = json.loads(done.stdout)["embedded"]["text"]
    assert embedded["new"] + embedded["reused"] == MANY
    assert embedded["reused"] > 0, "what was embedded before the kill is not embedded again"
    assert not list(file.parent.rglob("*.tmp"))


@pytest.mark.slow
def test_ctrl_c_ends_it(busy: tuple[Path, subprocess.Popen[str]]) -> None:
    file, build = busy
    os.killpg(build.pid, signal.SIGINT)  # as a terminal does: to all of them
    out, told = build.communicate(timeout=30)
    assert build.returncode == 130, told
    assert out == ""
    assert "Traceback" not in told
    eventually(lambda: not members(build.pid), seconds=10)
    assert catalog_of(file).current() is None
    done = finish(file, "build", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedded"]["text"]["reused"] > 0


def test_ctrl_c_is_answered_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("findling.cli.batch.builder.build", interrupted)
    assert run(["build", "-c", str(collection(tmp_path, ROWS[:9]))]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: interrupted")


@pytest.mark.slow
def test_ctrl_c_at_any_moment(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    chance = random.Random(5)
    for _ in range(6):
        build = begin(file)
        with gone_afterwards(build):
            eventually(lambda: is_building(build))  # noqa: B023 - this round's
            with contextlib.suppress(subprocess.TimeoutExpired):
                build.communicate(timeout=chance.uniform(0.0, 1.5))
            if build.poll() is not None:
                continue
            os.killpg(build.pid, signal.SIGINT)
            _, told = build.communicate(timeout=30)
            # While the interpreter itself starts or ends, the signal ends it: a shell calls that 130 too.
            assert build.returncode in {0, 130, -signal.SIGINT}, told
            eventually(lambda: not members(build.pid), seconds=10)  # noqa: B023
    assert finish(file).returncode == 0
    assert not list(tmp_path.rglob("*.tmp"))


def test_one_interrupt_and_one_kill(tmp_path: Path) -> None:
    """The everyday share of what the slow tests above do at length."""
    file = collection(tmp_path, some_rows(400))
    for sign, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        build = begin(file)
        with gone_afterwards(build):
            eventually(lambda: is_building(build))  # noqa: B023 - this round's
            if build.poll() is None:
                os.killpg(build.pid, sign)
            _, told = build.communicate(timeout=30)
            # As above, an interrupt may meet the interpreter itself, starting, ending or loading a C library.
            assert build.returncode in {0, code, -sign}, told
    assert finish(file).returncode == 0
    assert snapshot.verify(catalog_of(file).local()).documents == 400
    assert not list(tmp_path.rglob("*.tmp"))
