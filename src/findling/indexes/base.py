"""What an index is: vectors in, the nearest rows out, with a higher score always better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Params = Mapping[str, Any]


class Searchable(Protocol):
    """An index that is open. Nothing is changed by a search: parameters come with the call."""

    @property
    def vectors(self) -> NDArray[np.float16]:
        """The (n, dim) vectors themselves, as kept."""
        ...

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each of (q, dim) vectors: rows (q, k) and scores (q, k), best first.

        `mask` (n,) says which rows may be found. Where fewer than k exist, rows end in -1 and scores in
        -inf. Thread-safe.
        """
        ...


class Index(Searchable, Protocol):
    """Nearest neighbours by inner product (the cosine, as vectors are normalised).

    `build` writes files into a directory and `open` maps them, so that processes share one copy.
    """

    sweep: ClassVar[Sequence[Params]]
    """Search parameters worth measuring, from fast to thorough."""

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Index (n, dim) vectors (float16 or float32, perhaps mapped) into the directory `path`.

        Raises FindlingError naming the row of a vector that is not finite.
        """
        ...

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in `path`, mapped."""
        ...
