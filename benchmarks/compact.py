"""A `compact` index of 5 million vectors of 512 numbers, built by two cores that may take 8 GB.

The vectors are drawn like real embeddings. Those of real titles are clustered by k-means; the variances of
their centres, and of their distances from these, are stretched to 512 numbers in the order of their size. A
vector is then one of 16,384 centres and a distance from it, drawn with these variances, turned by one
rotation and made unit. Within a cluster there is nothing finer, as there is in real ones. The memory that the
build may ask for is limited by the system; files that it maps do not count. The one number is vectors indexed
a second; it has no peer.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from _bench import arguments, report
from _memory import mapped
from _titles import read_titles, title_vectors
from findling import registry
from findling.indexes import measure

DIM, K, RECALL = 512, 10, 0.95
MEMORY, CORES = 8 << 30, 2
CENTRES, BLOCK = 16_384, 1 << 16
REAL_CLUSTERS, REAL_TITLES = 1024, 60_000
Vectors = NDArray[np.float32]


class Drawn:
    """Unit vectors with the variances and clusters of real ones; the same for the same seed."""

    def __init__(self, real: Vectors) -> None:
        clusters = faiss.Kmeans(real.shape[1], REAL_CLUSTERS, niter=10, seed=1)
        clusters.train(real)
        _, nearest = clusters.index.search(real, 1)
        centres = clusters.centroids
        self._chance = np.random.default_rng(1)
        self._within = _spread(real - centres[nearest[:, 0]])
        self._centres = self._normal(CENTRES, _spread(centres))
        square = self._chance.standard_normal((DIM, DIM))
        self._rotation = np.linalg.qr(square)[0].astype(np.float32)

    def some(self, count: int) -> Vectors:
        """(count, DIM) float32."""
        found = self._centres[self._chance.integers(CENTRES, size=count)]
        found = (found + self._normal(count, self._within)) @ self._rotation
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def write(self, path: Path, count: int) -> None:
        """`count` of them as float16 in a .npy file, block by block."""
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, (count, DIM))
        for at in range(0, count, BLOCK):
            vectors[at : at + BLOCK] = self.some(min(BLOCK, count - at))

    def _normal(self, count: int, spread: Vectors) -> Vectors:
        return self._chance.standard_normal((count, DIM), np.float32) * spread


def _spread(real: Vectors) -> Vectors:
    """Standard deviations along the axes of a cloud, falling, for DIM numbers in place of its own."""
    variances = np.linalg.eigvalsh(np.cov(real, rowvar=False))[::-1].clip(1e-9)
    own, wanted = np.linspace(0, 1, len(variances)), np.linspace(0, 1, DIM)
    return np.exp(np.interp(wanted, own, np.log(variances)) / 2).astype(np.float32)


def build(vectors: str, home: str) -> None:
    """What the limited process does: build, and print seconds and the most memory that was resident."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    index = registry.load("index", "compact")
    started = time.perf_counter()
    index.build(np.load(vectors, mmap_mode="r"), Path(home), {"threads": CORES})
    seconds = time.perf_counter() - started
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps({"build seconds": round(seconds, 1), "most resident, files too, GB": round(most / 1e9, 2)})
    )


def sizes(home: Path) -> dict[str, float]:
    """Gigabytes on disk: what refines, and all else."""
    refining = (home / "vectors.faiss").stat().st_size
    rest = sum(file.stat().st_size for file in home.iterdir()) - refining
    return {"index GB": round(rest / 1e9, 3), "refining GB": round(refining / 1e9, 3)}


def asked(home: Path, queries: Vectors) -> dict[str, Any]:
    """Recall and latency of the fastest setting that finds enough, else of the most thorough one."""
    kind = registry.load("index", "compact")
    index = kind.open(home)
    truth, _ = measure.exact_answers(index.vectors, queries, K)
    points: list[dict[str, Any]] = []
    for setting in kind.sweep:
        points += measure.curve(index, queries, truth, K, [setting])
        if points[-1]["recall"] >= RECALL:
            break
    megabytes = {f"{name}, resident MB": round(size / 1e6, 1) for name, size in mapped(home).items()}
    return {**measure.choose(points, RECALL), **megabytes}


def main() -> None:
    """Draw, build in a process of its own, and ask."""
    if sys.argv[1:2] == ["build"]:
        build(*sys.argv[2:])
        return
    options = arguments(__doc__ or "")
    count, many = (100_000, 50) if options.quick else (5_000_000, 200)
    drawn = Drawn(title_vectors(read_titles(20_000 if options.quick else REAL_TITLES)))
    with tempfile.TemporaryDirectory(prefix="findling-compact-") as place:
        vectors, home = Path(place) / "drawn.npy", Path(place) / "index"
        drawn.write(vectors, count)
        queries = drawn.some(many)
        limited = [sys.executable, __file__, "build", str(vectors), str(home)]
        ran = subprocess.run(limited, stdout=subprocess.PIPE, check=True)
        told: dict[str, Any] = {"vectors": count, "dim": DIM, **json.loads(ran.stdout), **sizes(home)}
        told |= {"may take GB": MEMORY / (1 << 30), "chosen": asked(home, queries)}
    report("compact", "vectors/s", [count / told["build seconds"]], {}, told, as_json=options.json)


if __name__ == "__main__":
    main()
