"""Annoy: a forest of random hyperplanes (github.com/spotify/annoy), for people who know it.

Its answers are scored again by 16-bit vectors. Annoy itself knows no filter: under a mask more is asked for,
and where few rows survive they are compared exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError, SnapshotError, extra
from findling.indexes import half
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.scan import check_search, check_vectors, halves, scan, score

TREES, VECTORS, ABOUT = "trees.ann", "vectors.faiss", "annoy.json"
BUILD = {"trees": 100, "threads": 0}
"""Trees, and threads to build with (0: all cores; one gives the same trees every time)."""
SEARCH = {"search_k": 10_000}
"""Nodes that are looked at; more finds more."""
_SPARE = 4  # candidates for each row wanted, as Annoy's own scores are coarser
_FEW = 4096  # survivors of a mask that are compared one by one


class Annoy:
    """An Annoy forest, mapped. Search parameters come with each call; nothing shared is changed."""

    sweep: ClassVar[Sequence[Params]] = tuple({"search_k": int(1000 * 1.5**n)} for n in range(13))

    def __init__(self, forest: Any, flat: Any) -> None:
        self._forest, self._flat = forest, flat
        self.vectors = half.stored(flat)

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Index (n, dim) vectors with the parameters of `BUILD`; Annoy keeps them as float32 in its file.

        Raises FindlingError naming the row that is not finite.
        """
        chosen = _chosen(params, BUILD)
        check_vectors(vectors)
        count, dim = vectors.shape
        path.mkdir(parents=True, exist_ok=True)
        half.write(path / VECTORS, dim, count, (block for _, block in halves(vectors)))
        forest = _forest(dim)
        forest.on_disk_build(str(path / TREES))
        forest.set_seed(1)
        for start, block in halves(vectors):
            for row, vector in enumerate(block.astype(np.float32), start):
                forest.add_item(row, vector)
        if count:
            forest.build(int(chosen["trees"]), n_jobs=int(chosen["threads"]) or -1)
        (path / ABOUT).write_text(json.dumps({"dim": dim, "count": count}) + "\n", "utf-8")

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in `path`, mapped; raises SnapshotError."""
        try:
            about = json.loads((path / ABOUT).read_text("utf-8"))
            flat = half.read(path / VECTORS)
            forest = _forest(int(about["dim"]))
            if about["count"]:
                forest.load(str(path / TREES))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise SnapshotError(f"the annoy index in {path} cannot be opened: {error}") from error
        if flat.ntotal != about["count"] or forest.get_n_items() != about["count"]:
            raise SnapshotError(f"the annoy index in {path} holds another number of vectors than it says")
        return cls(forest, flat)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row."""
        queries = check_search(vectors, self.vectors.shape[1], len(self), k, mask)
        search_k = int(_chosen(params, SEARCH)["search_k"])
        survivors = len(self) if mask is None else int(np.count_nonzero(mask))
        if survivors <= max(_FEW, 2 * k):
            return scan(self.vectors, queries, k, None if mask is None else np.flatnonzero(mask))
        share = survivors / len(self)
        wanted = min(math.ceil(_SPARE * k / share), len(self))
        out_rows = np.full((len(queries), k), -1, np.int64)
        out_scores = np.full((len(queries), k), -np.inf, np.float32)
        for at, query in enumerate(queries):
            near = self._forest.get_nns_by_vector(query, wanted, math.ceil(search_k / share))
            rows = np.array(near, np.int64)
            rows = rows if mask is None else rows[mask[rows]]
            if len(rows) < k:
                found = scan(self.vectors, query[None], k, None if mask is None else np.flatnonzero(mask))
                out_rows[at], out_scores[at] = found[0][0], found[1][0]
                continue
            scores = score(self.vectors, rows, query)
            order = np.lexsort((rows, -scores))[:k]
            out_rows[at], out_scores[at] = rows[order], scores[order]
        return out_rows, out_scores


def _forest(dim: int) -> Any:
    with extra("annoy", "index annoy"):
        from annoy import AnnoyIndex
    return AnnoyIndex(dim, "angular")


def _chosen(params: Params, defaults: Mapping[str, int]) -> dict[str, Any]:
    unknown = [str(name) for name in params if name not in defaults]
    if unknown:
        known = ", ".join(defaults)
        raise FindlingError(
            f"the annoy index has no parameter {', '.join(unknown)}", todo=f"known are {known}"
        )
    chosen = {**defaults, **params}
    for name, value in chosen.items():
        least = 0 if name == "threads" else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e9:
            raise FindlingError(f"the annoy index cannot use {name} = {value!r}: {least} or more is wanted")
    return chosen
