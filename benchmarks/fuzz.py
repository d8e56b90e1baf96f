"""Generated requests against a real service on loopback: none may fail, and none may take over a second.

A failure is an answer of 500 or more, or none. A request that took over a second among the others is asked
again three times, alone: it counts as slow where all three took that long as well, or else as a moment in
which the machine had other things to do. `--url` asks a service that runs already; it shall be yours.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from _bench import report
from _requests import Grammar, Request

SLOW_SECONDS = 1.0
DOCUMENTS = 5000
CONFIG = """
collection = "made"
source = { kind = "table", path = "rows.jsonl", id = "id" }
lexical = { input = ["title", "text"] }
[document]
title = "title"
keep = ["title", "text", "year", "price", "new", "tags", "odd name"]
facets = ["year", "tags", "new"]
[vectors.text]
encoder = "hashing"
input = ["title", "text"]
[vectors.more]
encoder = "hashing"
input = ["text"]
"""


def main(argv: list[str] | None = None) -> int:
    """Asks, tells, and returns 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--quick", action="store_true", help="2,000 requests")
    parser.add_argument("--count", type=int, default=20_000, help="how many requests")
    parser.add_argument("--seed", type=int, default=0, help="other requests")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--threads", type=int, default=4, help="how many at once")
    parser.add_argument("--url", help="a service that runs already")
    told = parser.parse_args(argv)
    count = 2000 if told.quick else told.count
    with serving(told.url) as url:
        asked = Asked(url, grammar_of(url), told.seed)
        started = time.perf_counter()
        asked.run(range(told.first, told.first + count), told.threads)
        rate = count / (time.perf_counter() - started)
    setting = {
        "requests": count,
        "numbers": f"{told.first} to {told.first + count - 1} of seed {told.seed}",
        "statuses": {str(status): n for status, n in sorted(asked.statuses.items())},
        "failed": asked.failed,
        "slow": asked.slow,
        "slow_once": asked.slow_once,
        "slowest_ms": round(asked.slowest * 1000, 1),
    }
    report("fuzz", "requests a second", [rate], {}, setting, as_json=told.json)
    if not told.json:
        print(json.dumps(setting, indent=2))
    return 1 if asked.failed or asked.slow else 0


@dataclass
class Asked:
    """What became of the requests; each is made from the seed and its number alone."""

    url: str
    grammar: Grammar
    seed: int
    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slow_once: int = 0
    slowest: float = 0.0

    def request(self, number: int) -> Request:
        """The request of a number."""
        return self.grammar.request(Random(f"{self.seed} {number}"))

    def run(self, numbers: range, threads: int) -> None:
        """Ask them all."""
        lock, late = threading.Lock(), list[int]()

        def work(mine: range) -> None:
            with Caller(self.url) as caller:
                for number in mine:
                    status, seconds = caller.ask(self.request(number))
                    with lock:
                        self._note(number, status, seconds)
                        if seconds > SLOW_SECONDS:
                            late.append(number)

        parts = [threading.Thread(target=work, args=(numbers[n::threads],)) for n in range(threads)]
        for part in parts:
            part.start()
        for part in parts:
            part.join()
        for number in late:
            with Caller(self.url) as caller:
                again = min(caller.ask(self.request(number))[1] for _ in range(3))
            if again > SLOW_SECONDS:
                self.slow.append(f"{number}: {again:.2f} s {self.request(number)}"[:2000])
            else:
                self.slow_once += 1

    def _note(self, number: int, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.slowest = max(self.slowest, seconds)
        if status >= 500 or status == 0:
            self.failed.append(f"{number}: {status} {self.request(number)}"[:2000])
        done = sum(self.statuses.values())
        if done % 10_000 == 0:
            print(f"{done:,} asked, {len(self.failed)} failed", file=sys.stderr, flush=True)


class Caller:
    """One connection, opened again where the service has closed it."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://").rstrip("/")
        self._connection = http.client.HTTPConnection(self._address, timeout=60)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, request: Request) -> tuple[int, float]:
        """Status (0: no answer) and seconds of a request."""
        for attempt in (1, 2):
            started = time.perf_counter()
            try:
                self._connection.request(request.method, request.path, request.body, request.headers)
                answer = self._connection.getresponse()
                answer.read()
                if answer.getheader("Connection") == "close":
                    self._connection.close()
                return answer.status, time.perf_counter() - started
            except (OSError, http.client.HTTPException):
                # An idle connection may be closed at any time; then, and only then, asking again is right.
                self._connection.close()
                if attempt == 2:
                    return 0, time.perf_counter() - started
        raise AssertionError


def grammar_of(url: str) -> Grammar:
    """The grammar for a service's first collection."""

    def get(path: str) -> Any:
        with urllib.request.urlopen(url.rstrip("/") + path, timeout=60) as answer:
            return json.loads(answer.read())

    told = get("/collections")["collections"][0]
    hits = get(f"/collections/{told['name']}/search?q=a&k=5&mode=semantic")["hits"]
    return Grammar(told["name"], told["columns"], told["fields"], [hit["id"] for hit in hits], dimension=64)


@contextlib.contextmanager
def serving(url: str | None) -> Iterator[str]:
    """A service of this run's own, unless there is one already."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="findling-fuzz-") as home:
        write(Path(home))
        findling = [sys.executable, "-c", "from findling.cli import main; main()"]
        subprocess.run([*findling, "build", "-c", home, "--json"], check=True, capture_output=True)
        workers = str(len(os.sched_getaffinity(0)))
        command = [*findling, "serve", "-c", home, "--port", "0", "--workers", workers, "--json"]
        log = Path(home, "log")
        with log.open("w") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file) as served:
            try:
                assert served.stdout is not None
                lines = iter(served.stdout.readline, b"}\n")
                address = json.loads(b"".join(lines) + b"}")["address"]
                with Caller(address) as caller:
                    while caller.ask(Request("GET", "/readyz"))[0] != 200:
                        time.sleep(0.1)
                yield address
            finally:
                served.terminate()
        errors = [line for line in log.read_text().splitlines() if not line.startswith("INFO")]
        print("\n".join(errors[:40]), file=sys.stderr)


def write(home: Path) -> None:
    """A collection with a column of each kind."""
    r = Random(0)
    words = [
        "whale",
        "sea",
        "captain",
        "naïve",
        "李白",
        "dragon",
        "village",
        "desert",
        "O'Brien",
        "ship",
        "murder",
    ]
    rows = [
        {
            "id": f"{number}" if number % 7 else f"a/{number} é",
            "title": " ".join(r.choices(words, k=4)),
            "text": " ".join(r.choices(words, k=40)),
            "year": r.choice((None, *range(1800, 2026))),
            "price": round(r.random() * 100, 2),
            "new": r.random() < 0.5,
            "tags": r.sample(words, r.randint(0, 4)),
            "odd name": r.choice((None, "", "x")),
        }
        for number in range(DOCUMENTS)
    ]
    (home / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    (home / "findling.toml").write_text(CONFIG, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
