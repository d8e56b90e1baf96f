"""Three families through faiss, all refined by 16-bit vectors, all mapped from their files.

`graph` walks an HNSW graph over 8-bit vectors: the fastest at high recall, 2 bytes a dimension resident.
`compact` scans inverted lists of 4-bit product codes: a quarter of a byte a dimension resident, and quick
to build.
`flat` compares everything, exactly.

HNSW is Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical
Navigable Small World graphs", 2018. The 4-bit codes are scanned as in André, Kermarrec and Le Scouarnec,
"Quicker ADC", 2019.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError, SnapshotError
from findling.indexes import half
from findling.indexes.alike import Alike, Repeated
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.scan import block_rows, check_search, check_vectors, scan

INDEX, VECTORS = "index.faiss", "vectors.faiss"
RARE = 1000  # a survivor picked out by numpy costs as much as passing over this many rows in faiss
TRAIN_ROWS = 100_000  # enough to know each dimension's range, or 1,000 lists
LEAST = 64  # vectors that a code book is learnt from
SHORT = 128  # dimensions; vectors of fewer get a code for each, as two to a code tell too little


class _Family:
    """What the families share. Search parameters come with each call; a search changes nothing."""

    name: ClassVar[str]
    sweep: ClassVar[Sequence[Params]]
    build_defaults: ClassVar[Mapping[str, Any]]
    search_defaults: ClassVar[Mapping[str, Any]]

    def __init__(self, base: Any, flat: Any, alike: Alike | None) -> None:
        self._base, self._flat, self._alike = base, flat, alike
        self._index = faiss.IndexRefine(base, flat) if base is not None else flat
        self._stored = half.stored(flat)
        self._plain: dict[tuple[Any, ...], Any] = {}

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Index (n, dim) vectors with the parameters of `build_defaults`, reading them block by block.

        One thread gives the same index every time; with more, links may differ a little from run to run.
        Memory: what the family keeps of the vectors, and one block of them. Raises FindlingError naming the
        row that is not finite.
        """
        chosen = _chosen(cls.name, params, cls.build_defaults)
        check_vectors(vectors)
        dim = vectors.shape[1]
        alike = Alike.find(vectors)
        rows = np.arange(len(vectors)) if alike is None else alike.firsts
        path.mkdir(parents=True, exist_ok=True)
        parts = [rows[at : at + block_rows(dim)] for at in range(0, len(rows), block_rows(dim))]
        half.write(path / VECTORS, dim, len(rows), (_halves(vectors, part) for part in parts))
        with _threads(int(chosen.get("threads", 0))):
            base = cls._empty(dim, len(rows), chosen)
            if base is not None:
                base.train(_sample(vectors, rows))
                for part in parts:
                    base.add(_halves(vectors, part).astype(np.float32))
                faiss.write_index(base, str(path / INDEX))
        if alike is not None:
            alike.write(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in `path`, mapped; raises SnapshotError."""
        try:
            base = None
            if cls.name != "flat":
                base = faiss.read_index(str(path / INDEX), faiss.IO_FLAG_MMAP_IFC)
            return cls(base, half.read(path / VECTORS), Alike.open(path))
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise SnapshotError(f"the {cls.name} index in {path} cannot be opened: {error}") from error

    def __len__(self) -> int:
        return len(self._stored) if self._alike is None else len(self._alike.group_of)

    @property
    def vectors(self) -> NDArray[np.float16]:
        """The (n, dim) vectors that refine the answers."""
        return (
            self._stored if self._alike is None else cast(Any, Repeated(self._stored, self._alike.group_of))
        )

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row.

        `params` may hold those of `search_defaults`. Where few rows survive the mask, or fewer than k of
        those that exist are reached, the survivors are compared exactly.
        """
        queries = check_search(vectors, self._stored.shape[1], len(self), k, mask)
        chosen = _search_setting(type(self), params)
        with _threads(1 if len(queries) == 1 else 0):
            if self._alike is None:
                return self._find(queries, k, chosen, mask)
            groups = None if mask is None else self._alike.of_rows(mask)
            found, scores = self._find(queries, min(k, len(self._stored)), chosen, groups)
        return self._alike.rows(found, scores, k, mask)

    @classmethod
    def _empty(cls, dim: int, count: int, chosen: Mapping[str, Any]) -> Any:
        """The index before anything is in it; None where there is none but the vectors."""
        raise NotImplementedError

    def _effort(self, chosen: tuple[float, ...], k: int, share: float) -> tuple[float, ...]:
        """The search parameters where only a share of the rows may be found."""
        raise NotImplementedError

    def _parameters(self, chosen: tuple[float, ...], selector: Any) -> Any:
        raise NotImplementedError

    def _scan_is_cheaper(self, survivors: int, chosen: tuple[float, ...], k: int) -> bool:
        """Whether comparing all survivors takes less time than searching for them."""
        raise NotImplementedError

    def _find(
        self, queries: Vectors, k: int, chosen: tuple[float, ...], mask: Mask | None
    ) -> tuple[Rows, Vectors]:
        """The search among distinct vectors."""
        count = len(self._stored)
        survivors = count if mask is None else int(np.count_nonzero(mask))
        if self._scan_is_cheaper(survivors, chosen, k):
            return self._compare(queries, k, survivors, mask)
        if mask is None:
            parameters = self._kept_parameters(chosen)
        else:
            parameters = self._parameters(self._effort(chosen, k, survivors / count), _selector(mask))
        rows, scores = _asked(self._index, queries, min(k, count), parameters)
        if k <= count and _is_ordered(rows, scores):
            return rows, scores
        rows, scores = _ordered(rows, scores, k)
        short = np.flatnonzero((rows[:, : min(k, survivors)] < 0).any(axis=1))
        if len(short):  # parts of a graph may not be linked, and few lists may hold too little
            rows[short], scores[short] = self._compare(queries[short], k, survivors, mask)
        return rows, scores

    def _compare(self, queries: Vectors, k: int, survivors: int, mask: Mask | None) -> tuple[Rows, Vectors]:
        """The exact best k: one survivor after the other where they are rare, else by a pass over all."""
        if mask is not None and survivors * RARE <= len(self._stored):
            return scan(self._stored, queries, k, np.flatnonzero(mask))
        wanted = min(k, survivors)
        if not wanted:
            return _ordered(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32), k)
        parameters = None if mask is None else faiss.SearchParameters(sel=_selector(mask))
        return _ordered(*_asked(self._flat, queries, wanted, parameters), k)

    def _kept_parameters(self, chosen: tuple[float, ...]) -> Any:
        # Making these takes as long as a part of the search; once made they are only read.
        found = self._plain.get(chosen)
        if found is None:
            if len(self._plain) > 64:
                self._plain.clear()
            found = self._plain[chosen] = self._parameters(chosen, None)
        return found


_REFINED = 20  # rows wanted up to which the whole of a graph's `refine` is worth its time


class Graph(_Family):
    """HNSW over 8-bit vectors. `M` links of a vector (twice as many on the ground level), `ef_construction`
    candidates looked at to find them, `threads` to build with (0: all cores); `ef` candidates held while
    walking, `refine` times k of them scored again with 16 bits.
    """

    name = "graph"
    sweep = tuple({"ef": ef} for ef in (16, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512))
    build_defaults: ClassVar[Mapping[str, Any]] = {"M": 24, "ef_construction": 80, "threads": 0}
    search_defaults: ClassVar[Mapping[str, Any]] = {"ef": 64, "refine": 2.0}

    @classmethod
    def _empty(cls, dim: int, count: int, chosen: Mapping[str, Any]) -> Any:
        del count
        graph = faiss.IndexHNSWSQ(
            dim, faiss.ScalarQuantizer.QT_8bit, int(chosen["M"]), faiss.METRIC_INNER_PRODUCT
        )
        graph.hnsw.efConstruction = int(chosen["ef_construction"])
        return graph

    def _find(
        self, queries: Vectors, k: int, chosen: tuple[float, ...], mask: Mask | None
    ) -> tuple[Rows, Vectors]:
        # 8 bits err little: among many rows wanted, those that matter are there without looking at more.
        ef, refine = chosen
        return super()._find(queries, k, (ef, max(1.0, min(refine, refine * _REFINED / max(k, 1)))), mask)

    def _effort(self, chosen: tuple[float, ...], k: int, share: float) -> tuple[float, ...]:
        # Most candidates will be refused, so more must be held.
        del k
        return math.ceil(chosen[0] / share), chosen[1]

    def _parameters(self, chosen: tuple[float, ...], selector: Any) -> Any:
        base = faiss.SearchParametersHNSW(efSearch=int(chosen[0]), sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=chosen[1], base_index_params=base)

    def _scan_is_cheaper(self, survivors: int, chosen: tuple[float, ...], k: int) -> bool:
        # Walking takes about 2 us for each candidate held, of which ef * count / survivors are needed;
        # comparing takes about 0.04 us a vector (384 dimensions, one core).
        return survivors * survivors <= 50 * max(chosen[0], k) * len(self._stored)


class Compact(_Family):
    """Inverted lists of 4-bit product codes, two dimensions to a code. `lists` (0: by the number of vectors),
    `threads` to build with (0: all cores); `probes` lists are scanned, and `refine` times k rows of them
    scored again with 16 bits.
    """

    name = "compact"
    sweep = tuple(
        {"probes": probes, "refine": refine}
        for probes in (4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
        for refine in (4, 8)
    )
    build_defaults: ClassVar[Mapping[str, Any]] = {"lists": 0, "threads": 0}
    search_defaults: ClassVar[Mapping[str, Any]] = {"probes": 32, "refine": 4.0}

    @classmethod
    def _empty(cls, dim: int, count: int, chosen: Mapping[str, Any]) -> Any:
        lists = int(chosen["lists"]) or lists_for(count)
        coarse = faiss.IndexFlatIP(dim)
        codes = dim // 2 if dim % 2 == 0 and dim >= SHORT else dim
        index = faiss.IndexIVFPQFastScan(coarse, dim, lists, codes, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = False
        index.cp.min_points_per_centroid = 1  # a small collection is no mistake
        index.pq.cp.min_points_per_centroid = 1
        coarse.this.disown()
        index.own_fields = True
        return index

    def _effort(self, chosen: tuple[float, ...], k: int, share: float) -> tuple[float, ...]:
        # So many lists that as many rows survive in them as would be met without a mask.
        del k
        return min(math.ceil(chosen[0] / share), self._base.nlist), chosen[1]

    def _parameters(self, chosen: tuple[float, ...], selector: Any) -> Any:
        base = faiss.SearchParametersIVF(nprobe=int(chosen[0]), sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=chosen[1], base_index_params=base)

    def _scan_is_cheaper(self, survivors: int, chosen: tuple[float, ...], k: int) -> bool:
        # A code takes about a fortieth of the time of a 16-bit vector, and picking survivors one by one
        # keeps to what is asked; below a few thousand that is all it takes.
        scanned = len(self._stored) * chosen[0] / max(self._base.nlist, 1)
        return bool(survivors <= max(4096, 8 * k, scanned / 40))


class Flat(_Family):
    """Every vector compared with every query, in 16 bits. Takes no parameters."""

    name = "flat"
    sweep: ClassVar[Sequence[Params]] = ({},)
    build_defaults: ClassVar[Mapping[str, Any]] = {}
    search_defaults: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def _empty(cls, dim: int, count: int, chosen: Mapping[str, Any]) -> Any:
        del dim, count, chosen

    def _scan_is_cheaper(self, survivors: int, chosen: tuple[float, ...], k: int) -> bool:
        del survivors, chosen, k
        return True


def lists_for(count: int) -> int:
    """How many inverted lists suit so many vectors: about the root of that, as a power of two."""
    return int(2 ** round(math.log2(max(math.sqrt(count), 1))))


def _asked(index: Any, queries: Vectors, k: int, parameters: Any) -> tuple[Rows, Vectors]:
    """faiss's own search; straight to the library, as its Python layer takes a tenth of the time."""
    rows = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    pointers = (faiss.swig_ptr(scores), faiss.swig_ptr(rows))
    index.search_c(len(queries), faiss.swig_ptr(queries), k, *pointers, parameters)
    return rows, scores


def _selector(mask: Mask) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def _search_setting(family: type[_Family], params: Params) -> tuple[float, ...]:
    """Every search parameter in its order; raises FindlingError for what the family does not know."""
    defaults = family.search_defaults
    if not (params.keys() <= defaults.keys() and all(isinstance(v, int | float) for v in params.values())):
        _chosen(family.name, params, defaults)
    values = tuple(params.get(name, value) for name, value in defaults.items())
    return _checked_setting(family.name, tuple(defaults), values)


@functools.lru_cache(maxsize=256, typed=True)
def _checked_setting(family: str, names: tuple[str, ...], values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(_chosen(family, dict(zip(names, values, strict=True)), dict.fromkeys(names)).values())


def _chosen(family: str, params: Params, defaults: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [str(name) for name in params if name not in defaults]
    if unknown:
        known = ", ".join(defaults) or "none"
        raise FindlingError(
            f"the {family} index has no parameter {', '.join(unknown)}", todo=f"known are {known}"
        )
    chosen = {**defaults, **params}
    for name, value in chosen.items():
        least = 0 if name in {"threads", "lists"} else 2 if name == "M" else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1e6:
            raise FindlingError(
                f"the {family} index cannot use {name} = {value!r}: {least} or more is wanted"
            )
    return chosen


def _sample(vectors: NDArray[np.floating[Any]], rows: NDArray[Any]) -> Vectors:
    """Evenly spread rows to learn from, again and again where there are few; zeros where there are none."""
    picked = rows[:: max(1, len(rows) // TRAIN_ROWS)][:TRAIN_ROWS]
    found = _halves(vectors, picked).astype(np.float32)
    return found if len(found) >= LEAST else np.resize(found, (LEAST, vectors.shape[1]))


def _halves(vectors: NDArray[np.floating[Any]], rows: NDArray[Any]) -> NDArray[np.float16]:
    """Some rows in 16 bits, zeros without a sign."""
    found: NDArray[np.float16] = vectors[rows].astype(np.float16, copy=False) + np.float16(0)
    return found


def _ordered(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """Best first with ties by row, and filled up to k columns with -1 and -inf."""
    scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
    order = np.lexsort((rows, -scores), axis=1)
    rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    if (missing := k - rows.shape[1]) > 0:
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    return rows, scores


def _is_ordered(rows: Rows, scores: Vectors) -> bool:
    """Whether all are there and each scores below the one before it: nearly always, and quickly seen."""
    return bool((scores[:, 1:] < scores[:, :-1]).all() and (rows[:, -1] >= 0).all())


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
