"""What tests of the batch half share: small collections, steps that misbehave, waiting without sleep."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from findling import build, config
from findling.errors import StorageError
from findling.schema import Drop, with_drops
from findling.sources.base import BatchFunction, Split

WORDS = "whale sea ship storm island captain night river garden letter war moon iron glass king".split()  # noqa: SIM905

CONFIG = """
collection = "books"
home = "{home}"

[source]
kind = "table"
path = "rows.jsonl"

[filter]
where = "{where}"

[document]
title = "title"
keep = ["title", "year"]

[vectors.text]
encoder = "{encoder}"
input = ["title", "body"]

[lexical]
input = ["title", "body"]
"""


def some_rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Rows with an id, a title, a body and a year from 1990 to 2019."""
    chance = random.Random(seed)
    return [
        {
            "id": f"row-{place:05d}",
            "title": f"{' '.join(chance.choices(WORDS, k=3))} {place}",
            "body": " ".join(chance.choices(WORDS, k=10)),
            "year": 1990 + place % 30,
        }
        for place in range(count)
    ]


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def collection(
    base: Path,
    rows: Sequence[Any] = (),
    *,
    where: str = "",
    home: str = "data",
    encoder: str = "hashing",
    more: str = "",
) -> Path:
    """A directory with a findling.toml and its rows.jsonl; gives the path of the former."""
    base.mkdir(parents=True, exist_ok=True)
    write_rows(base / "rows.jsonl", rows or some_rows(40))
    file = base / "findling.toml"
    file.write_text(CONFIG.format(where=where, home=home, encoder=encoder) + more, encoding="utf-8")
    return file


def built(file: Path, **options: Any) -> build.Report:
    """The report of a build in this process."""
    return build.build(config.load(file, environ={}), **options)


PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from findling.cli import main
main()
"""


def command(file: Path, *words: str) -> list[str]:
    """The real findling, as a program, on a configuration.

    It heeds interrupts also where the tests run in a shell's background, which ignores them.
    """
    verb, *others = words or ("build",)
    return [sys.executable, "-c", PROGRAM, verb, "-c", str(file), *others]


def finish(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program, run to its end."""
    return subprocess.run(command(file, *words), capture_output=True, text=True, timeout=240, check=False)


def eventually(holds: Callable[[], object], seconds: float = 30) -> None:
    """Returns once something holds; fails the test when it does not in time."""
    until = time.monotonic() + seconds
    waiting = threading.Event()
    while not holds():
        if time.monotonic() > until:
            pytest.fail("it did not come true in time")
        waiting.wait(0.01)


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a directory, with its content."""
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


@dataclass(frozen=True)
class Numbers:
    """A dataset of numbers: `splits` splits, each of `batches` batches of `rows` rows."""

    count: int
    batches: int = 1
    rows: int = 4
    length: int = -1

    def splits(self) -> list[Split]:
        return [Split("numbers", "", f"numbers-{n:05d}", n, self.length) for n in range(self.count)]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        for place in range(self.batches):
            first = (split.start * self.batches + place) * self.rows
            yield pa.record_batch({"n": pa.array(range(first, first + self.rows), pa.int64())})


@dataclass(frozen=True)
class Marked:
    """A step that notes in a directory each time that it is opened, and in which process."""

    directory: str

    def open(self) -> BatchFunction:
        Path(self.directory, f"{os.getpid()}-{uuid.uuid4().hex}").touch()
        return lambda batch: batch


@dataclass(frozen=True)
class Deadly:
    """A step that kills its process at the row `at`, as long as the file `armed` is there.

    With `once` the file goes with the first.
    """

    at: int
    armed: str
    once: bool = False

    def open(self) -> BatchFunction:
        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            if self.at in batch.column("n").to_pylist() and Path(self.armed).exists():
                Path(self.armed).unlink() if self.once else None
                os.kill(os.getpid(), signal.SIGKILL)
            return batch

        return run


@dataclass(frozen=True)
class Failing:
    """A step that drops odd numbers, and refuses one."""

    refused: int = -1

    def open(self) -> BatchFunction:
        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            values = batch.column("n").to_pylist()
            if self.refused in values:
                raise StorageError(f"{self.refused} is refused", todo="leave it out")
            odd = [n for n in values if n % 2]
            drops = [Drop("odd", len(odd)), *(Drop("multiple of five", 0, str(n)) for n in odd if n % 5 == 0)]
            return with_drops(batch.filter(pa.array([n % 2 == 0 for n in values])), drops)

        return run
