"""Searches a second over HTTP: findling's service, and beside it the published design that it follows.

That design, rebuilt (`_seed.py`): Flask under gunicorn with threads, the same MiniLM through torch, Annoy
with 100 trees, titles from a key-value store. Both serve the same titles with two processes, are asked by
the same generator on the same two cores, in turn, and every query is another one, so that no cache helps.
The seed is asked with Annoy's default search_k and with the one that reaches our recall.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _bench import arguments, installed, report, run_alternating
from _services import findling, free_port, started, until_answered
from _titles import read_titles, title_vectors
from findling import config, load
from findling.catalog import Catalog
from findling.config import load as load_settings
from findling.encoders import hub
from findling.indexes import measure

K, TREES, RECALL = 10, 100, 0.95
CORES = len(os.sched_getaffinity(0))
CONFIG = """
collection = "titles"
[source]
kind = "table"
path = "titles.csv"
id = "row"
[document]
title = "title"
[vectors.text]
encoder = "minilm"
input = ["title"]
[lexical]
input = ["title"]
[index]
kind = "graph"
"""


def build(home: Path, titles: list[str]) -> float:
    """Build our collection; gives the recall@10 that its manifest says."""
    import csv

    with (home / "titles.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "title"])
        writer.writerows(enumerate(titles))
    (home / "findling.toml").write_text(CONFIG, encoding="utf-8")
    command = findling("build", "-c", str(home))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    manifest = Catalog.of(load_settings(home / "findling.toml"))
    return manifest.manifest(manifest.current() or "").fields["text"].recall_at_10


def build_seed(home: Path, titles: list[str], vectors: NDArray[np.float32]) -> Any:
    """Annoy's trees and the titles' store."""
    from annoy import AnnoyIndex

    index = AnnoyIndex(vectors.shape[1], "angular")
    index.set_seed(1)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(TREES, n_jobs=CORES)
    index.save(str(home / "trees.ann"))
    with contextlib.closing(sqlite3.connect(home / "titles.db")) as store, store:
        store.execute("CREATE TABLE titles (row INTEGER PRIMARY KEY, title TEXT)")
        store.executemany("INSERT INTO titles VALUES (?, ?)", enumerate(titles))
    return index


def search_k_for(index: Any, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> dict[str, Any]:
    """The recall at Annoy's default, and the least search_k that reaches RECALL."""
    truth, _ = measure.exact_answers(vectors, queries, K)

    def recall(search_k: int) -> float:
        rows = [index.get_nns_by_vector(query, K, search_k) for query in queries]
        return measure.recall_at_k(np.array([row + [-1] * (K - len(row)) for row in rows]), truth)

    found = {"default": (-1, recall(-1))}
    for search_k in (int(1000 * 1.25**n) for n in range(30)):
        reached = recall(search_k)
        if reached >= RECALL:
            found["high"] = (search_k, reached)
            break
    return found


@contextlib.contextmanager
def running(command: list[str], port: int, path: str, environment: dict[str, str]) -> Iterator[str]:
    """A server of our own, answering; ended with the block."""
    base = f"http://127.0.0.1:{port}"
    with started(command, environment) as process:
        until_answered(base + path, process)
        yield base


def ours(home: Path, workers: int) -> contextlib.AbstractContextManager[str]:
    """findling serve."""
    port = free_port()
    words = ["serve", "-c", str(home), "--port", str(port), "--workers", str(workers)]
    return running(findling(*words), port, "/readyz", {})


def seed(
    home: Path, model: str, search_k: int, workers: int, threads: int
) -> contextlib.AbstractContextManager[str]:
    """The seed under gunicorn."""
    port = free_port()
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    words = ["--workers", str(workers), "--threads", str(threads), "--bind", f"127.0.0.1:{port}"]
    environment = {"SEED_HOME": str(home), "SEED_MODEL": model, "SEED_SEARCH_K": str(search_k)}
    return running([gunicorn, *words, "_seed:application()"], port, "/search?query=ready", environment)


class Asked:
    """Loads a path with queries that nobody has asked before."""

    def __init__(self, queries: Iterator[str], seconds: float, concurrency: int) -> None:
        self.queries, self.seconds, self.concurrency = queries, seconds, concurrency
        self.latency: dict[str, Any] = {}

    def rate(self, name: str, url: str, queries: Iterator[str] | None = None) -> float:
        """Answers a second; an error ends the benchmark."""
        target = load.Target.of(url)
        told = load.run_alone(target, queries or self.queries, self.concurrency, self.seconds).told()
        if told["errors"]:
            sys.exit(f"{name}: {told['errors']} of {told['requests']} requests failed")
        self.latency[name] = told["latency_ms"]
        return float(told["rps"])


def main() -> None:
    """Build both, serve both, ask both in turn."""
    options = arguments(__doc__ or "")
    many, seconds, rounds = (6_000, 3.0, 2) if options.quick else (150_000, 10.0, 5)
    titles = read_titles()
    indexed, others = titles[:many], titles[many:]
    vectors = title_vectors(indexed)
    home_of_model = hub.find("minilm", None, config.models_cache()).paths[hub.CONFIG].parent
    fresh = iter(others)
    held_out = list(islice(fresh, 200))
    with contextlib.ExitStack() as held:
        home = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="findling-serve-")))
        recall = build(home, indexed)
        trees = build_seed(home, indexed, vectors)
        found = search_k_for(trees, vectors, title_vectors_of(held_out))
        mine = held.enter_context(ours(home, CORES))
        peers = {
            f"seed, recall {reached:.2f}": held.enter_context(
                seed(home, str(home_of_model), search_k, CORES, 8)
            )
            for search_k, reached in found.values()
        }
        asked = Asked(fresh, seconds, 32)
        search = f"{mine}/collections/titles/search?k={K}"
        runs = {"semantic": lambda: asked.rate("semantic", f"{search}&mode=semantic&q={{}}")}
        runs["hybrid"] = lambda: asked.rate("hybrid", f"{search}&mode=hybrid&q={{}}")
        for name, base in peers.items():
            runs[name] = lambda name=name, base=base: asked.rate(name, f"{base}/search?query={{}}&show={K}")  # type: ignore[misc] # each its own
        rates = run_alternating(runs, rounds)
        one_core = None
        if not options.quick:
            one_core = _details(home, asked)
    setting = {
        "documents": many,
        "recall": {"findling": recall, **{name: float(name.rpartition(" ")[2]) for name in peers}},
        "connections": asked.concurrency,
        "processes": CORES,
        "latency ms": asked.latency,
        "hybrid/s": round(float(np.median(rates["hybrid"])), 1),
        "details": one_core,
        "libraries": installed("flask", "gunicorn", "annoy", "sentence-transformers", "torch", "uvicorn"),
    }
    theirs = {name: rates[name] for name in peers}
    report("serve", "requests/s", rates["semantic"], theirs, setting, as_json=options.json)


def title_vectors_of(texts: list[str]) -> NDArray[np.float32]:
    """Vectors of some texts."""
    from findling.encoders.base import open_encoder

    return open_encoder("minilm", {"threads": CORES}, config.models_cache()).embed_texts(texts, role="query")


def _details(home: Path, asked: Asked) -> dict[str, float]:
    """What one server process does, and what caches do."""
    told: dict[str, float] = {}
    with ours(home, 1) as base:
        one = f"{base}/collections/titles/search?k={K}"
        told["semantic, one process"] = asked.rate("semantic, one process", f"{one}&mode=semantic&q={{}}")
        told["hybrid, one process"] = asked.rate("hybrid, one process", f"{one}&mode=hybrid&q={{}}")
        few = list(islice(asked.queries, 50))
        told["cached, one process"] = asked.rate(
            "cached, one process", f"{one}&mode=semantic&q={{}}", load.queries_in("file", few)
        )
        some = list(islice(asked.queries, 2000))
        told["zipf, one process"] = asked.rate(
            "zipf, one process", f"{one}&mode=semantic&q={{}}", load.queries_in("zipf", some)
        )
    half = told["semantic, one process"] / 2
    with ours(home, 1) as base:
        target = load.Target.of(f"{base}/collections/titles/search?k={K}&mode=semantic&q={{}}")
        found = load.run_alone(target, asked.queries, 64, asked.seconds, half).told()
        told |= {f"half load {name} ms": value for name, value in found["latency_ms"].items()}
    return told


if __name__ == "__main__":
    main()
