"""Brute force: the oracle that other indexes are measured against, and enough for a small collection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError, SnapshotError
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.scan import check_search, check_vectors, halves, scan

FILE = "vectors.npy"


class Exact:
    """Every vector compared with every query, from one mapped float16 file. Takes no parameters."""

    sweep: ClassVar[Sequence[Params]] = ({},)

    def __init__(self, vectors: NDArray[np.float16]) -> None:
        self.vectors = vectors

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Write (n, dim) vectors as float16; raises FindlingError naming the row that is not finite."""
        _no_parameters(params)
        check_vectors(vectors)
        path.mkdir(parents=True, exist_ok=True)
        if not len(vectors):  # nothing can be mapped
            np.save(path / FILE, np.empty(vectors.shape, np.float16), allow_pickle=False)
            return
        out = np.lib.format.open_memmap(path / FILE, mode="w+", dtype=np.float16, shape=vectors.shape)
        for start, block in halves(vectors):
            out[start : start + len(block)] = block
        out.flush()

    @classmethod
    def open(cls, path: Path) -> Self:
        """The vectors in `path`, mapped; raises SnapshotError."""
        try:
            try:
                vectors = np.load(path / FILE, mmap_mode="r", allow_pickle=False)
            except ValueError:  # an empty file cannot be mapped
                vectors = np.load(path / FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SnapshotError(f"the exact index in {path} cannot be opened: {error}") from error
        if vectors.dtype != np.float16 or vectors.ndim != 2:
            raise SnapshotError(f"{path / FILE} holds {vectors.dtype} {vectors.shape}, not (n, dim) float16")
        # A plain array over the same mapping: np.memmap runs Python at every slice.
        return cls(vectors.view(np.ndarray))

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The exact best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row."""
        _no_parameters(params)
        queries = check_search(vectors, self.vectors.shape[1], len(self), k, mask)
        return scan(self.vectors, queries, k, None if mask is None else np.flatnonzero(mask))


def _no_parameters(params: Params) -> None:
    if params:
        raise FindlingError(
            f"the exact index takes no parameters, but was given {', '.join(map(str, params))}"
        )
