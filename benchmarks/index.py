"""Indexes over MiniLM vectors of real titles: ours beside Annoy, hnswlib, usearch and ScaNN, at recall 0.95.

Each is built on the same vectors and asked the same held-out titles, one at a time, by one thread. Each is
swept over its search parameters, and takes the fastest setting whose recall@10 against the exact answer
reaches 0.95; then all take turns at their settings. Annoy has 100 trees, the others what their documentation
recommends. The rates are queries a second; build times and sizes are in `setting`, and so is what ours find
where a filter lets few vectors pass, at the same setting.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _bench import arguments, installed, report, run_alternating
from _memory import mapped
from _titles import read_titles, title_vectors
from findling import registry
from findling.indexes import measure
from findling.indexes.base import Index

Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], Sequence[int]]
K, RECALL = 10, 0.95
SHARES = (0.5, 0.1, 0.01, 0.0001)  # of the vectors, that a filter lets pass
TREES = 100
CORES = len(os.sched_getaffinity(0))


@dataclass
class Built:
    """An index, ready to be asked: `settings` from fast to thorough, and `ask` for one of them."""

    settings: list[Any]
    ask: Callable[[Any], Ask]
    seconds: float
    bytes: int
    index: Index | None = None


@dataclass
class Chosen:
    """An index at its setting: the fastest that reaches the recall, else the most thorough."""

    ask: Ask
    setting: Any
    recall: float
    built: Built


def ours(kind: str) -> Callable[[Vectors, Path], Built]:
    """One of findling's own indexes, by its registered name."""

    def build(vectors: Vectors, home: Path) -> Built:
        index_class = registry.load("index", kind)
        started = time.perf_counter()
        index_class.build(vectors, home, {})
        seconds = time.perf_counter() - started
        index = index_class.open(home)

        def ask(params: Mapping[str, Any]) -> Ask:
            def one(query: Vectors) -> Sequence[int]:
                rows: Sequence[int] = index.search(query[None], K, params)[0][0].tolist()
                return rows

            return one

        return Built(list(index_class.sweep), ask, seconds, _size(home), index)

    return build


def annoy(vectors: Vectors, home: Path) -> Built:
    """Annoy with 100 trees, built by all cores and mapped."""
    from annoy import AnnoyIndex

    started = time.perf_counter()
    building = AnnoyIndex(vectors.shape[1], "angular")
    building.set_seed(1)
    for row, vector in enumerate(vectors):
        building.add_item(row, vector)
    building.build(TREES, n_jobs=CORES)
    building.save(str(home / "trees.ann"))
    seconds = time.perf_counter() - started
    index = AnnoyIndex(vectors.shape[1], "angular")
    index.load(str(home / "trees.ann"))

    def ask(search_k: int) -> Ask:
        return lambda query: index.get_nns_by_vector(query, K, search_k)

    return Built([int(1000 * 1.15**n) for n in range(36)], ask, seconds, _size(home))


def hnswlib(vectors: Vectors, home: Path) -> Built:
    """hnswlib with 16 links."""
    import hnswlib as library

    started = time.perf_counter()
    index = library.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(CORES)
    index.add_items(vectors)
    seconds = time.perf_counter() - started
    index.save_index(str(home / "index.bin"))
    index.set_num_threads(1)

    def ask(ef: int) -> Ask:
        def one(query: Vectors) -> Sequence[int]:
            rows: Sequence[int] = index.knn_query(query, k=K)[0][0].tolist()
            return rows

        index.set_ef(ef)
        return one

    return Built([10, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256], ask, seconds, _size(home))


def usearch(dtype: str) -> Callable[[Vectors, Path], Built]:
    """usearch with 16 links over vectors of some type."""

    def build(vectors: Vectors, home: Path) -> Built:
        from usearch.index import Index

        started = time.perf_counter()
        index = Index(ndim=vectors.shape[1], metric="cos", dtype=dtype, connectivity=16, expansion_add=128)
        index.add(np.arange(len(vectors)), vectors, threads=CORES)
        seconds = time.perf_counter() - started
        index.save(str(home / "index.usearch"))

        def ask(expansion: int) -> Ask:
            def one(query: Vectors) -> Sequence[int]:
                rows: Sequence[int] = index.search(query, K, threads=1).keys.tolist()
                return rows

            index.expansion_search = expansion
            return one

        return Built([10, 16, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256], ask, seconds, _size(home))

    return build


def scann(vectors: Vectors, home: Path) -> Built:
    """ScaNN: a tree of partitions, 4-bit codes, and exact scores for the best of them."""
    del home  # kept in memory
    sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type] # its ops are not needed, and bind to one version
    import scann as library

    leaves = max(16, int(2 * len(vectors) ** 0.5))
    started = time.perf_counter()
    index = (
        library.scann_ops_pybind.builder(vectors, K, "dot_product")
        .tree(
            num_leaves=leaves,
            num_leaves_to_search=leaves // 10,
            training_sample_size=min(len(vectors), 100_000),
        )
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .set_n_training_threads(CORES)
        .build()
    )
    seconds = time.perf_counter() - started

    def ask(setting: tuple[int, int]) -> Ask:
        searched, reordered = setting

        def one(query: Vectors) -> Sequence[int]:
            rows, _ = index.search(query, K, reordered, searched)
            return rows.tolist()  # type: ignore[no-any-return] # the library has no types

        return one

    shares = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
    settings = [(max(1, int(leaves * share)), reordered) for share in shares for reordered in (40, 80, 160)]
    return Built(settings, ask, seconds, 0)


OURS = {name: ours(name) for name in ("graph", "compact") if name in registry.names("index")}
PEERS: dict[str, Callable[[Vectors, Path], Built]] = {
    f"annoy, {TREES} trees": annoy,
    "hnswlib": hnswlib,
    "usearch f16": usearch("f16"),
    "usearch i8": usearch("i8"),
    "scann": scann,
}


QUICK = ("graph", f"annoy, {TREES} trees")


def choose(built: Built, queries: Vectors, truth: NDArray[np.int64]) -> Chosen:
    """Sweep a part of the queries, then settle on what reaches the recall on all of them."""
    points = []
    for setting in built.settings:
        ask = built.ask(setting)
        ask(queries[0])
        started = time.perf_counter()
        found = [ask(query) for query in queries]
        rate = len(queries) / (time.perf_counter() - started)
        recall = _recall(found, truth)
        points.append((recall, rate, setting))
        if recall > RECALL and not isinstance(setting, tuple):
            break  # those that follow are slower
    good = [point for point in points if point[0] >= RECALL]
    recall, _, setting = max(good, key=lambda p: p[1]) if good else max(points, key=lambda p: p[0])
    return Chosen(built.ask(setting), setting, recall, built)


def filtered(chosen: Chosen, vectors: Vectors, queries: Vectors) -> dict[str, dict[str, float]]:
    """Recall@10, the fewest hits and queries a second where filters let some share of the vectors pass."""
    index, told = chosen.built.index, {}
    assert index is not None, "one of ours"
    chance = np.random.default_rng(1)
    for share in SHARES:
        passing = np.sort(chance.choice(len(vectors), max(K, round(len(vectors) * share)), replace=False))
        mask = np.zeros(len(vectors), np.bool_)
        mask[passing] = True
        truth, _ = measure.exact_answers(vectors, queries, K, among=passing)
        started = time.perf_counter()
        found = [index.search(query[None], K, chosen.setting, mask)[0][0] for query in queries]
        seconds = time.perf_counter() - started
        told[f"{share:.2%}"] = {
            "recall": round(_recall([rows.tolist() for rows in found], truth), 4),
            "fewest hits": min(int((rows >= 0).sum()) for rows in found),
            "queries/s": round(len(queries) / seconds, 1),
        }
    return told


def _recall(found: Sequence[Sequence[int]], truth: NDArray[np.int64]) -> float:
    shares = [len({*got} & {*wanted}) / K for got, wanted in zip(found, truth.tolist(), strict=True)]
    return float(np.mean(shares))


def _size(home: Path) -> int:
    return sum(file.stat().st_size for file in home.rglob("*") if file.is_file())


def _built(
    vectors: Vectors, queries: Vectors, truth: NDArray[np.int64], home: Path, *, quick: bool
) -> Iterator[tuple[str, Chosen]]:
    for name, build in {**OURS, **PEERS}.items():
        if quick and name not in QUICK:
            continue  # building all takes minutes
        own = home / name
        own.mkdir()
        try:
            chosen = choose(build(vectors, own), queries, truth)
        except ImportError as error:
            print(f"{name}: not installed ({error.name})", file=sys.stderr)
            continue
        print(
            f"{name}: built in {chosen.built.seconds:.1f} s, recall {chosen.recall:.3f} at {chosen.setting}",
            file=sys.stderr,
            flush=True,
        )
        yield name, chosen


def main() -> None:
    """Build, choose, and take turns."""
    options = arguments(__doc__ or "")
    asked, rounds = (200, 3) if options.quick else (1000, 5)
    titles = read_titles()
    if options.quick:  # short ones are embedded sooner
        titles = [title for title in titles if 16 <= len(title) <= 40][: 62_000 + asked]
    vectors = title_vectors(titles)
    vectors, queries = np.ascontiguousarray(vectors[:-asked]), np.ascontiguousarray(vectors[-asked:])
    truth, _ = measure.exact_answers(vectors, queries, K)
    with tempfile.TemporaryDirectory(prefix="findling-index-") as home:
        chosen = dict(_built(vectors, queries, truth, Path(home), quick=options.quick))

        def rate(name: str) -> Callable[[], float]:
            def run() -> float:
                ask = chosen[name].built.ask(chosen[name].setting)
                started = time.perf_counter()
                for query in queries:
                    ask(query)
                return len(queries) / (time.perf_counter() - started)

            return run

        rates = run_alternating({name: rate(name) for name in chosen}, rounds)
        filters = {name: filtered(chosen[name], vectors, queries) for name in OURS if name in chosen}
        resident = {file: round(size / 1e6, 1) for file, size in mapped(Path(home)).items()}
    mine = rates["graph"]
    peers = {name: values for name, values in rates.items() if name in PEERS}
    compare: dict[str, Sequence[float]] = {}
    if "compact" in rates:
        peers[f"compact against annoy, {TREES} trees"] = rates[f"annoy, {TREES} trees"]
        compare[f"compact against annoy, {TREES} trees"] = rates["compact"]
    setting: dict[str, Any] = {
        "vectors": len(vectors),
        "dim": int(vectors.shape[1]),
        "queries": asked,
        "recall wanted": RECALL,
        "left out": [name for name in {**OURS, **PEERS} if name not in chosen],
        "recall": {name: round(each.recall, 4) for name, each in chosen.items()},
        "search": {name: str(each.setting) for name, each in chosen.items()},
        "filtered": filters,
        "build seconds": {name: round(each.built.seconds, 1) for name, each in chosen.items()},
        "bytes": {name: each.built.bytes for name, each in chosen.items()},
        "mapped and resident, MB": {"the vectors in float32": round(vectors.nbytes / 1e6, 1), **resident},
        "libraries": installed("faiss-cpu", "annoy", "hnswlib", "usearch", "scann"),
    }
    report("index", "queries/s", mine, peers, setting, compare=compare, as_json=options.json)


if __name__ == "__main__":
    main()
