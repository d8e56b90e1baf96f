"""What an index will cost to build and to measure, tried on vectors like those of a sample.

A sample is too small for it: a graph of few vectors fits into a processor's cache, code books learn from all
that there is, and a search compares everything. So the index that the whole will get is built over as many
vectors as the whole will have, up to VECTORS, and over a quarter of them. Where the sample has too few, the
rest are mixtures of two: what they mean does not matter to the time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from findling import tuning, writer
from findling.config import Settings
from findling.encoders.base import Encoder
from findling.indexes import measure
from findling.indexes.base import Index
from findling.indexes.planner import Candidate, Targets
from findling.progress import Silent
from findling.tuning import Asked

VECTORS = 20_000  # unless the sample has more
SHARE = 4  # the smaller index has so many times fewer
_LEAST = 0.02  # of the seconds grow with the vectors at the least, whatever noise says


@dataclass(frozen=True)
class IndexCost:
    """Seconds on this machine to build and measure an index of `few` vectors, and of `many`.

    `share` is vectors for each document, `bytes` what the index leaves for each vector.
    """

    kind: str
    few: int
    few_seconds: float
    many: int
    many_seconds: float
    share: float
    bytes: float

    def of(self, documents: int) -> float:
        """Seconds for so many documents: a part is paid once, and the rest grows as n log n."""
        few, many, whole = map(_steps, (self.few, self.many, documents * self.share))
        more = (self.many_seconds - self.few_seconds) / max(many - few, 1.0)
        return self.many_seconds + max(more, _LEAST * self.many_seconds / many) * (whole - many)


def _steps(vectors: float) -> float:
    return vectors * math.log(max(vectors, 2.0)) + 1.0


def run(
    settings: Settings,
    encoders: Mapping[str, Encoder],
    vectors_of: Mapping[str, NDArray[np.float16]],
    sampled: int,
    documents: int,
) -> dict[str, IndexCost]:
    """For each field what the index costs that `documents` will get.

    `vectors_of` are the (n, dim) vectors of each field's `sampled` documents.
    """
    costs = {}
    for name, vectors in vectors_of.items():
        share = len(vectors) / sampled
        whole = round(documents * share)
        chosen = writer.plan_index(settings, encoders, name, whole)[0]
        many = min(whole, max(VECTORS, len(vectors)))
        few = max(many // SHARE, 1)
        targets = writer.targets_of(settings.index)
        (first, _), (second, size) = (_index(chosen, grown(vectors, n), targets) for n in (few, many))
        costs[name] = IndexCost(chosen.kind, few, first, many, second, share, size / many)
    return costs


def _index(chosen: Candidate, vectors: NDArray[np.float16], targets: Targets) -> tuple[float, int]:
    """Seconds to build and measure an index, and its bytes."""

    def ask(kind: str, index: Index) -> Asked:
        many = tuning.EXACT_QUERIES if kind in ("exact", "flat") else tuning.QUERIES
        return Asked.of_rows(index, measure.sample_rows(len(vectors), many), "vectors")

    with tempfile.TemporaryDirectory(prefix="findling-plan-") as aside:
        started = time.perf_counter()
        tuning.build(vectors, Path(aside), [chosen], ask, targets, chosen.kind, Silent())
        return time.perf_counter() - started, sum(
            f.stat().st_size for f in Path(aside).rglob("*") if f.is_file()
        )


def grown(vectors: NDArray[np.float16], count: int) -> NDArray[np.float16]:
    """(count, dim): some of the vectors (n, dim), or, where they are too few, all and mixtures of two."""
    if count <= len(vectors):
        return vectors[np.linspace(0, len(vectors) - 1, count).astype(np.int64)]
    chance, lacking = np.random.default_rng(0), count - len(vectors)
    one, other = chance.integers(0, len(vectors), (2, lacking))
    mixed = vectors[one] + chance.random((lacking, 1), np.float32) * vectors[other]
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-6)
    return np.concatenate([vectors, mixed.astype(np.float16)])
