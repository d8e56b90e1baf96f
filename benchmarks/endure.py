"""What the service endures while it is asked all the time: swaps, killed workers, a killed Redis, overload.

Two snapshots of the same titles say in each document which of them it is from, so that an answer that mixes
them shows. The one number of the report is how many requests a second were answered right while snapshots
were swapped; what each trial did is in `setting`. Nothing here is compared with a peer.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from _bench import arguments, report
from _memory import resident
from _services import findling, free_port, started, until_answered
from _titles import read_titles
from findling import load
from findling.catalog import Catalog
from findling.config import load as load_settings

CORES = len(os.sched_getaffinity(0))
CLIENTS = 16
CONFIG = """
collection = "titles"
[source]
kind = "table"
path = "titles.csv"
id = "row"
[document]
title = "title"
keep = ["title", "edition"]
[vectors.text]
encoder = "hashing"
input = ["title"]
[lexical]
input = ["title"]
[serve]
cache = "{cache}"
"""


@dataclass
class Crowd:
    """Clients that ask all the time, each on a connection of its own, and what came of it."""

    port: int
    queries: list[str]
    editions: dict[str, str]
    right: int = 0
    refused: int = 0
    broken: int = 0
    mixed: int = 0
    hits: int = 0
    latest: deque[str] = field(default_factory=lambda: deque(maxlen=4 * CLIENTS))
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask for as long as the block runs."""
        clients = [threading.Thread(target=self._client, args=(place,)) for place in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._stop.set()
            for client in clients:
                client.join()

    def has_moved_to(self, snapshot: str) -> bool:
        """Whether the latest answers, a few for each client, all came from a snapshot."""
        return {snapshot} == set(self.latest)

    def counts(self) -> dict[str, int]:
        """What came of it so far."""
        return {name: getattr(self, name) for name in ("right", "refused", "broken", "mixed", "hits")}

    def _client(self, place: int) -> None:
        connection: http.client.HTTPConnection | None = None
        for query in itertools.cycle(self.queries[place::CLIENTS]):
            if self._stop.is_set():
                break
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", f"/collections/titles/search?k=10&q={quote(query)}")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
                with self._lock:
                    self.broken += 1
                continue
            with self._lock:
                self._judge(answer.status, body)
        if connection:
            connection.close()

    def _judge(self, status: int, body: bytes) -> None:
        if status != 200:
            self.refused += 1
            return
        told = json.loads(body)
        self.latest.append(told["snapshot"])
        edition = self.editions[told["snapshot"]]
        if any(hit["document"]["edition"] != edition for hit in told["hits"]):
            self.mixed += 1
        else:
            self.right += 1
            self.hits += told["cache"] == "hit"


def build(home: Path, titles: list[str], edition: str, cache: str) -> str:
    """Build and publish; gives the snapshot's id."""
    with (home / "titles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "title", "edition"])
        writer.writerows((row, title, edition) for row, title in enumerate(titles))
    (home / "findling.toml").write_text(CONFIG.format(cache=cache), encoding="utf-8")
    subprocess.run(findling("build", "-c", str(home)), check=True, capture_output=True)
    return Catalog.of(load_settings(home / "findling.toml")).current() or ""


@contextlib.contextmanager
def serving(home: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """findling serve with a worker for each core: its port and process."""
    port = free_port()
    words = ["serve", "-c", str(home), "--port", str(port), "--workers", str(CORES)]
    with started(findling(*words), {}) as process:
        until_answered(f"http://127.0.0.1:{port}/readyz", process)
        yield port, process


def workers(parent: int) -> set[int]:
    """The worker processes of a service."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            above = int(stat.read_text().rpartition(")")[2].split()[1])
            if above == parent and b"spawn_main" in stat.with_name("cmdline").read_bytes():
                found.add(int(stat.parent.name))
    return found


def swaps(home: Path, queries: list[str], editions: dict[str, str], count: int) -> dict[str, Any]:
    """Publish one and the other in turn while clients ask."""
    catalog = Catalog.of(load_settings(home / "findling.toml"))
    memory: dict[str, float] = {}
    with serving(home) as (port, process):
        crowd = Crowd(port, queries, editions)
        started_at = time.perf_counter()
        with crowd.asking():
            for turn, identity in enumerate(itertools.islice(itertools.cycle(editions), count), 1):
                catalog.publish(identity)
                until = time.monotonic() + 30
                while not crowd.has_moved_to(identity):
                    if time.monotonic() > until:
                        sys.exit(f"not all answered from {identity} within 30 s")
                    time.sleep(0.01)
                if turn in (3, count):
                    memory[f"after {turn}"] = round(resident(workers(process.pid)) / 1e6, 1)
        seconds = time.perf_counter() - started_at
    rate = round(crowd.right / seconds, 1)
    return {"swaps": count, **crowd.counts(), "MB": memory, "right/s": rate}


def killed_workers(home: Path, queries: list[str], editions: dict[str, str], count: int) -> dict[str, Any]:
    """Kill a worker with SIGKILL, several times."""
    slowest = 0.0
    with serving(home) as (port, process):
        crowd = Crowd(port, queries, editions)
        with crowd.asking():
            for _ in range(count):
                time.sleep(2)
                before = workers(process.pid)
                os.kill(min(before), signal.SIGKILL)
                killed_at = time.perf_counter()
                while len(workers(process.pid) - {min(before)}) < len(before):
                    time.sleep(0.01)
                slowest = max(slowest, time.perf_counter() - killed_at)
    return {"killed": count, **crowd.counts(), "clients": CLIENTS, "replaced within s": round(slowest, 2)}


def killed_redis(home: Path, queries: list[str], editions: dict[str, str], port: int) -> dict[str, Any]:
    """Kill the cache's Redis, and start another in its place."""
    words = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    told: dict[str, Any] = {}
    with contextlib.ExitStack() as held:
        redis = held.enter_context(started(words, {}))
        time.sleep(1)
        served, _ = held.enter_context(serving(home))
        crowd = Crowd(served, queries[: CLIENTS * 4], editions)
        with crowd.asking():
            for name in ("with Redis", "without", "with another"):
                if name == "without":
                    redis.kill()
                    redis.wait()
                elif name == "with another":
                    held.enter_context(started(words, {}))
                    time.sleep(6)  # it is left alone for five
                before = crowd.counts()
                time.sleep(4)
                told[name] = {key: value - before[key] for key, value in crowd.counts().items()}
    return told


def overload(home: Path, queries: list[str], seconds: float) -> dict[str, Any]:
    """As many connections as may wait, and then four times as many."""
    told: dict[str, Any] = {}
    with serving(home) as (port, _):
        target = load.Target.of(f"http://127.0.0.1:{port}/collections/titles/search?k=10&q={{}}")
        for connections in (256 * CORES, 1024 * CORES):
            found = load.run_alone(target, itertools.cycle(queries), connections, seconds).told()
            told[f"{connections} connections"] = found
    return told


def main() -> None:
    """All trials, one after another."""
    options = arguments(__doc__ or "")
    many, turns, kills = (2_000, 6, 2) if options.quick else (20_000, 100, 10)
    titles = read_titles()[: many + 20_000]
    queries = titles[many:]
    redis = free_port()
    with tempfile.TemporaryDirectory(prefix="findling-endure-") as home:
        place = Path(home)
        editions = {build(place, titles[:many], edition, "off"): edition for edition in ("first", "second")}
        # Few queries, so that what is kept of each has its size before memory is first read.
        told: dict[str, Any] = {"swaps": swaps(place, queries[:1000], editions, turns)}
        told["killed workers"] = killed_workers(place, queries, editions, kills)
        told["overload"] = overload(place, queries, 3 if options.quick else 10)
        (place / "findling.toml").write_text(CONFIG.format(cache=f"redis://127.0.0.1:{redis}/0"), "utf-8")
        told["killed Redis"] = killed_redis(place, queries, editions, redis)
    setting = {"documents": many, **told}
    report("endure", "right answers/s", [told["swaps"]["right/s"]], {}, setting, as_json=options.json)


if __name__ == "__main__":
    main()
