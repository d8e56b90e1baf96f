"""Search on a GPU: 100 million vectors compared exactly, and 10.5 million in inverted lists.

The vectors are drawn there: 384 numbers whose variances fall with their place as those of real embeddings do,
about 4,096 centres. The peer is what one would write in torch: products in half precision, block by block,
and the best of each by topk. Recall@10 is against products in float64, for lists against `gpu`. Batches are
what many searches at once make; 1 is a search alone. Where there is no GPU, a small run on the processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from _bench import arguments, report, run_alternating
from findling.indexes.device import Device
from findling.indexes.gpu import GpuLists

DIM, K, RECALL, CENTRES = 384, 10, 0.95, 4096
BATCHES = (1, 16, 256)
BLOCK = 1 << 18
CUDA = torch.cuda.is_available()
WHERE = torch.device("cuda" if CUDA else "cpu")
Answers = NDArray[np.int64]


class Drawn:
    """Unit vectors about centres, the same ones for the same seed."""

    def __init__(self) -> None:
        self._chance = torch.Generator(WHERE).manual_seed(1)
        self._spread = torch.arange(1, DIM + 1, device=WHERE) ** -0.35
        self._centres = self._normal(CENTRES)

    def _normal(self, count: int) -> Any:
        return torch.randn(count, DIM, generator=self._chance, device=WHERE) * self._spread

    def some(self, count: int) -> Any:
        """(count, DIM) float16."""
        chosen = torch.randint(CENTRES, (count,), generator=self._chance, device=WHERE)
        near = self._centres[chosen] + 0.8 * self._normal(count)
        return torch.nn.functional.normalize(near).half()

    def blocks(self, count: int) -> Iterator[tuple[int, Any]]:
        """(place, vectors) of `count` in all."""
        for at in range(0, count, BLOCK):
            yield at, self.some(min(BLOCK, count - at))


def in_float64(vectors: Any, queries: Any) -> Answers:
    """The rows of the best K by products in float64."""
    best = torch.full((len(queries), K), -torch.inf, dtype=torch.float64, device=WHERE)
    rows = torch.zeros((len(queries), K), dtype=torch.int64, device=WHERE)
    for at in range(0, len(vectors), BLOCK):
        scores = queries.double() @ vectors[at : at + BLOCK].double().T
        top, columns = torch.cat([best, scores], 1).topk(K)
        kept = columns < K
        rows = torch.where(kept, rows.gather(1, columns.clamp(max=K - 1)), columns - K + at)
        best = top
    answers: Answers = rows.cpu().numpy()
    return answers


def by_topk(vectors: Any, queries: NDArray[np.float32]) -> Answers:
    """The peer."""
    asked = torch.tensor(queries, device=WHERE).half()
    step = max(BLOCK, (1 << 29) // len(asked))
    tops, rows = [], []
    for at in range(0, len(vectors), step):
        top, columns = (asked @ vectors[at : at + step].T).topk(K)
        tops.append(top)
        rows.append(columns + at)
    best = torch.cat(tops, 1).topk(K).indices
    answers: Answers = torch.cat(rows, 1).gather(1, best).cpu().numpy()
    return answers


def recall(found: Answers, truth: Answers) -> float:
    """The share of the true rows that were found."""
    return float(np.mean([len({*f} & {*t}) / K for f, t in zip(found.tolist(), truth.tolist(), strict=True)]))


def rate(search: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32], batch: int) -> float:
    """Queries a second, `batch` at a time, for about two seconds after one batch that warms up."""
    search(queries[:batch])
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < 2:
        at = done % max(1, len(queries) - batch + 1)
        search(queries[at : at + batch])  # its answers are on the host, so the device has ended
        done += batch
    return done / (time.perf_counter() - started)


def exactly(drawn: Drawn, count: int, queries: NDArray[np.float32], rounds: int) -> dict[str, Any]:
    """Rates of ours and of the peer by batch, over `count` vectors; and recalls."""
    vectors = torch.empty((count, DIM), dtype=torch.float16, device=WHERE)
    for at, block in drawn.blocks(count):
        vectors[at : at + len(block)] = block
    held = Device(vectors)
    truth = in_float64(vectors, torch.tensor(queries[:64], device=WHERE))
    ours, theirs = lambda asked: held.search(asked, K)[0], lambda asked: by_topk(vectors, asked)
    runs = {
        f"{name}, {batch} at a time": (lambda search=search, batch=batch: rate(search, queries, batch))
        for name, search in (("gpu", ours), ("topk", theirs))
        for batch in BATCHES
    }
    rates = run_alternating(runs, rounds)
    found = {"gpu": ours(queries[:64]), "topk": theirs(queries[:64])}
    recalls = {name: round(recall(rows, truth), 4) for name, rows in found.items()}
    return {"rates": rates, "recall": recalls}


def in_lists(drawn: Drawn, count: int, queries: NDArray[np.float32]) -> dict[str, Any]:
    """`gpu-lists` from a file of `count` vectors: what building, opening and searching take."""
    told: dict[str, Any] = {"vectors": count}
    with tempfile.TemporaryDirectory(prefix="findling-gpu-") as home:
        path = Path(home) / "drawn.npy"
        shape = (count, DIM)
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for at, block in drawn.blocks(count):
            vectors[at : at + len(block)] = block.cpu().numpy()
        started = time.perf_counter()
        GpuLists.build(vectors, Path(home) / "index", {})
        told["build seconds"] = round(time.perf_counter() - started, 1)
        started = time.perf_counter()
        index = GpuLists.open(Path(home) / "index")
        told["open seconds"] = round(time.perf_counter() - started, 1)
        truth, _ = index.search(queries, K, {"probes": 0})
        for params in GpuLists.sweep:
            told |= params
            told["recall"] = round(recall(index.search(queries, K, params)[0], truth), 4)
            if told["recall"] >= RECALL:
                break

        def search(asked: NDArray[np.float32]) -> object:
            return index.search(asked, K, {"probes": told["probes"]})

        told["queries/s"] = {
            f"{batch} at a time": round(rate(search, queries, batch), 1) for batch in BATCHES
        }
    return told


def main() -> None:
    """Exactly, then in lists."""
    options = arguments(__doc__ or "")
    many, fewer = (100_000_000, 10_500_000) if CUDA else (20_000, 20_000)
    if options.quick:
        many, fewer = many // 10, fewer // 10
    drawn = Drawn()
    queries = drawn.some(1024).float().cpu().numpy()
    started = time.perf_counter()
    lists = in_lists(drawn, fewer, queries)
    print(f"lists: {lists}", file=sys.stderr, flush=True)
    exact = exactly(drawn, many, queries, 2 if options.quick else 3)
    rates, at_most = exact["rates"], f"{max(BATCHES)} at a time"
    peers = {f"topk, {batch} at a time": rates[f"topk, {batch} at a time"] for batch in BATCHES}
    compare = {f"topk, {batch} at a time": rates[f"gpu, {batch} at a time"] for batch in BATCHES}
    setting = {
        "device": torch.cuda.get_device_name() if CUDA else "processor",
        "vectors": many,
        "dim": DIM,
        "queries/s by batch": {name: round(float(np.median(each)), 1) for name, each in rates.items()},
        "recall": exact["recall"],
        "gpu-lists": lists,
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - started),
    }
    if CUDA:
        setting["GB on the device at most"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    report(
        "gpu", "queries/s", rates[f"gpu, {at_most}"], peers, setting, compare=compare, as_json=options.json
    )


if __name__ == "__main__":
    main()
