"""Graph search through faiss: HNSW over 8-bit vectors, refined by 16-bit ones, mapped from one file.

HNSW is Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", 2018.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError, SnapshotError
from findling.indexes.alike import Alike, Repeated
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.scan import block_rows, check_search, check_vectors, scan

FILE = "graph.faiss"
BUILD = {"M": 16, "ef_construction": 80, "threads": 0}
"""Links of a vector (twice as many on the ground level), candidates looked at to find them, and threads to
build with (0: all cores)."""
SEARCH = {"ef": 64, "refine": 4.0}
"""Candidates held while walking the graph, and how many times k of them are scored again with 16 bits."""
RARE = 1000  # a survivor picked out by numpy costs as much as passing over this many rows in faiss
TRAIN_ROWS = 100_000  # enough to know each dimension's range


class Graph:
    """An HNSW index. Search parameters come with each call; nothing shared is changed by a search."""

    sweep: ClassVar[Sequence[Params]] = tuple(
        {"ef": ef} for ef in (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    )

    def __init__(self, index: Any, alike: Alike | None = None) -> None:
        self._index = index
        self._alike = alike
        # Views into `index`, which is kept alive beside them.
        self._flat = faiss.downcast_index(index.refine_index)
        self._stored = _half_vectors(self._flat)
        self._plain: dict[tuple[int, float], Any] = {}

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Index (n, dim) vectors with the parameters of `BUILD`, reading them block by block.

        One thread gives the same index every time; with more, links may differ a little from run to run.
        Raises FindlingError naming the row that is not finite.
        """
        chosen = _chosen(params, BUILD)
        check_vectors(vectors)
        dim = vectors.shape[1]
        alike = Alike.find(vectors)
        rows = np.arange(len(vectors)) if alike is None else alike.firsts
        graph = faiss.IndexHNSWSQ(
            dim, faiss.ScalarQuantizer.QT_8bit, int(chosen["M"]), faiss.METRIC_INNER_PRODUCT
        )
        graph.hnsw.efConstruction = int(chosen["ef_construction"])
        half = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        index = faiss.IndexRefine(graph, half)
        with _threads(int(chosen["threads"])):
            index.train(_sample(vectors, rows))
            for at in range(0, len(rows), block_rows(dim)):
                index.add(_floats(vectors, rows[at : at + block_rows(dim)]))
        path.mkdir(parents=True, exist_ok=True)
        faiss.write_index(index, str(path / FILE))
        if alike is not None:
            alike.write(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in `path`, mapped; raises SnapshotError."""
        try:
            index = faiss.read_index(str(path / FILE), faiss.IO_FLAG_MMAP_IFC)
            alike = Alike.open(path)
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise SnapshotError(f"the graph index in {path} cannot be opened: {error}") from error
        if not isinstance(index, faiss.IndexRefine):
            raise SnapshotError(f"{path / FILE} is no graph index")
        return cls(index, alike)

    def __len__(self) -> int:
        return len(self._stored) if self._alike is None else len(self._alike.group_of)

    @property
    def vectors(self) -> NDArray[np.float16]:
        """The (n, dim) vectors that refine the graph's answers."""
        return (
            self._stored if self._alike is None else cast(Any, Repeated(self._stored, self._alike.group_of))
        )

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row.

        `params` may hold those of `SEARCH`. Where few rows survive the mask, or the graph reaches fewer than
        k of those that exist, the survivors are compared exactly.
        """
        queries = check_search(vectors, self._stored.shape[1], len(self), k, mask)
        chosen = _chosen(params, SEARCH)
        ef, refine = int(chosen["ef"]), float(chosen["refine"])
        with _threads(1 if len(queries) == 1 else 0):
            if self._alike is None:
                return self._find(queries, k, ef, refine, mask)
            groups = None if mask is None else self._alike.of_rows(mask)
            found, scores = self._find(queries, min(k, len(self._stored)), ef, refine, groups)
        return self._alike.rows(found, scores, k, mask)

    def _find(
        self, queries: Vectors, k: int, ef: int, refine: float, mask: Mask | None
    ) -> tuple[Rows, Vectors]:
        """The search among distinct vectors."""
        count = len(self._stored)
        survivors = count if mask is None else int(np.count_nonzero(mask))
        if _scan_is_cheaper(survivors, count, max(ef, k)):
            return self._compare(queries, k, survivors, mask)
        rows, scores = self._walk(queries, k, self._search_parameters(ef, refine, survivors, mask))
        short = np.flatnonzero((rows[:, : min(k, survivors)] < 0).any(axis=1))
        if len(short):  # parts of a graph may not be linked
            rows[short], scores[short] = self._compare(queries[short], k, survivors, mask)
        return rows, scores

    def _walk(self, queries: Vectors, k: int, parameters: Any) -> tuple[Rows, Vectors]:
        scores, rows = self._index.search(queries, min(k, len(self._stored)), params=parameters)
        return _ordered(rows, scores, k)

    def _compare(self, queries: Vectors, k: int, survivors: int, mask: Mask | None) -> tuple[Rows, Vectors]:
        """The exact best k: one survivor after the other where they are rare, else by a pass over all."""
        if mask is not None and survivors * RARE <= len(self._stored):
            return scan(self._stored, queries, k, np.flatnonzero(mask))
        wanted = min(k, survivors)
        if not wanted:
            return _ordered(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32), k)
        search = None
        if mask is not None:
            search = faiss.SearchParameters(sel=_selector(mask))
        scores, rows = self._flat.search(queries, wanted, params=search)
        return _ordered(rows, scores, k)

    def _search_parameters(self, ef: int, refine: float, survivors: int, mask: Mask | None) -> Any:
        if mask is not None:  # most candidates will be refused, so more must be held
            return _parameters(math.ceil(ef * len(self._stored) / survivors), refine, _selector(mask))
        # Making these takes as long as a part of the search; once made they are only read.
        found = self._plain.get((ef, refine))
        if found is None:
            if len(self._plain) > 64:
                self._plain.clear()
            found = self._plain[ef, refine] = _parameters(ef, refine, None)
        return found


def _scan_is_cheaper(survivors: int, count: int, ef: int) -> bool:
    """Whether comparing all survivors takes less time than walking the graph for them.

    Walking takes about 2 us for each candidate held, of which ef * count / survivors are needed; comparing
    takes about 0.04 us a vector (384 dimensions, one core).
    """
    return survivors * survivors <= 50 * ef * count


def _parameters(ef: int, refine: float, selector: Any) -> Any:
    base = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
    return faiss.IndexRefineSearchParameters(k_factor=refine, base_index_params=base)


def _selector(mask: Mask) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _chosen(params: Params, defaults: dict[str, Any]) -> dict[str, Any]:
    unknown = [str(name) for name in params if name not in defaults]
    if unknown:
        known = ", ".join(defaults)
        raise FindlingError(
            f"the graph index has no parameter {', '.join(unknown)}", todo=f"known are {known}"
        )
    chosen = {**defaults, **params}
    for name, value in chosen.items():
        least = 0 if name == "threads" else 2 if name == "M" else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e6:
            raise FindlingError(f"the graph index cannot use {name} = {value!r}: {least} or more is wanted")
    return chosen


def _sample(vectors: NDArray[np.floating[Any]], rows: NDArray[Any]) -> Vectors:
    """Evenly spread rows, to learn the range of each dimension from; one zero vector where there are none."""
    if not len(rows):
        return np.zeros((1, vectors.shape[1]), np.float32)
    return _floats(vectors, rows[:: max(1, len(rows) // TRAIN_ROWS)][:TRAIN_ROWS])


def _floats(vectors: NDArray[np.floating[Any]], rows: NDArray[Any]) -> Vectors:
    """Some rows as 16 bits hold them, in 32."""
    return np.ascontiguousarray(vectors[rows].astype(np.float16, copy=False), dtype=np.float32)


def _half_vectors(flat: Any) -> NDArray[np.float16]:
    """The codes of a 16-bit flat index as (n, dim) float16, without copying; `flat` must stay alive."""
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float16)
    codes = faiss.rev_swig_ptr(flat.codes.data(), flat.ntotal * flat.code_size)
    stored: NDArray[np.float16] = codes.view(np.float16).reshape(flat.ntotal, flat.d)
    return stored


def _ordered(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """Best first with ties by row, and filled up to k columns with -1 and -inf."""
    if len(rows) == 1 and rows.shape[1] == k and rows[0, -1] >= 0 and (scores[0, 1:] < scores[0, :-1]).all():
        return rows, scores  # as nearly always; what follows takes a tenth of a search
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)
    rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    if (missing := k - rows.shape[1]) > 0:
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    return rows, scores


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Let faiss use so many threads (0: all cores) while inside, and put its setting back afterwards.

    The setting belongs to the calling thread. One query gains nothing from a second thread, and loses much
    by waiting for it on a busy machine.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(wanted or os.cpu_count() or 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
