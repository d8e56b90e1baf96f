"""Milvus: the vectors of each snapshot and field in a collection, on a server or in a file of Milvus Lite.

The index's directory only says where the collection is, and which rows share a vector.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.errors import ConfigError, SnapshotError
from findling.indexes.alike import Alike, Repeated
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.milvus_collection import (
    ABOUT,
    MOST,
    ROW,
    SECONDS,
    SHARED,
    VECTOR,
    About,
    Fetched,
    batch_rows,
    check_uri,
    client_of,
    counted,
    explained,
    in_turn,
    load,
    told,
)
from findling.indexes.milvus_fields import Columns
from findling.indexes.scan import check_search, check_vectors, scan

_NAMED = 10_000  # rows that an expression names before hits are rather passed over
_MASKED = 4  # times as many nodes are looked at under an expression as elsewhere, or as hold what is wanted
_MOST_NODES = 32_768  # that Milvus looks at


class Milvus:
    """A collection with an HNSW graph, opened. Search parameters come with each call."""

    sweep: ClassVar[Sequence[Params]] = tuple(
        {"ef": ef} for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
    )
    build_defaults: ClassVar[Mapping[str, Any]] = {"uri": "", "name": "", "M": 24, "ef_construction": 80}
    search_defaults: ClassVar[Mapping[str, Any]] = {"ef": 64, "where": ""}

    def __init__(self, about: About, alike: Alike | None) -> None:
        self._about, self._alike = about, alike
        self.scalars: Mapping[str, tuple[str, str]] = about.scalars
        self._stored = cast("NDArray[np.float16]", Fetched(about))
        self._count = about.count if alike is None else len(alike.group_of)
        self.vectors: Any = self._stored if alike is None else Repeated(self._stored, alike.group_of)

    @classmethod
    def build(
        cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params, columns: Columns | None = None
    ) -> None:
        """Load (n, dim) vectors into a collection with the parameters of `build_defaults`.

        `uri` is a server's address or a file that ends in .db; `name` the collection's, by default a hash of
        the vectors. `columns` become scalar fields. Raises FindlingError naming the row that is not finite,
        StorageError from Milvus.
        """
        chosen = _chosen(params, cls.build_defaults)
        check_vectors(vectors)
        alike = Alike.find(vectors)
        rows = np.arange(len(vectors)) if alike is None else np.asarray(alike.firsts, np.int64)
        name = chosen["name"] or _hash(vectors, rows)
        scalars = columns.scalars() if columns else {}
        about = About(check_uri(chosen["uri"]), name, len(rows), vectors.shape[1], scalars)
        shared = np.zeros(len(rows), np.bool_) if alike is None else np.diff(alike.starts) > 1
        path.mkdir(parents=True, exist_ok=True)
        load(about, vectors, rows, shared, chosen, columns)
        if alike is not None:
            alike.write(path)
        (path / ABOUT).write_bytes(msgspec.json.encode(about) + b"\n")

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index of which `path` tells, its collection loaded; raises SnapshotError, StorageError."""
        try:
            about = told((path / ABOUT).read_bytes())
            alike = Alike.open(path)
        except (OSError, ValueError, SnapshotError) as error:
            raise SnapshotError(f"the milvus index in {path} cannot be opened: {error}") from error
        found = counted(about)
        if found != about.count:
            there = "is not there" if found is None else f"has {found} vectors, not {about.count}"
            raise SnapshotError(
                f"the milvus index in {path} cannot be opened: the collection {about.collection} {there}",
                todo="build again",
            )
        return cls(about, alike)

    def __len__(self) -> int:
        return self._count

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row.

        `params` may hold `where`, an expression of Milvus that rows of the mask satisfy, and maybe others.
        Raises StorageError where Milvus does not answer.
        """
        queries = check_search(vectors, self._about.dim, self._count, k, mask)
        chosen = _chosen(params, self.search_defaults)
        if self._alike is None:
            return self._best(queries, k, chosen, mask)
        groups = None if mask is None else self._alike.of_rows(mask)
        return self._alike.rows(*self._best(queries, k, chosen, groups), k, mask)

    def _best(
        self, queries: Vectors, k: int, chosen: Mapping[str, Any], mask: Mask | None
    ) -> tuple[Rows, Vectors]:
        left = None if mask is None else np.flatnonzero(mask)
        there = self._about.count if left is None else len(left)
        wanted = min(k, there)
        if not wanted or not len(queries):
            shape = (len(queries), k)
            return np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        if wanted <= MOST:
            for limit, expression in self._ways(wanted, chosen["where"], mask, left):
                ef = int(chosen["ef"]) if not expression else self._wider(chosen["ef"], wanted, there)
                rows, scores = self._asked(queries, limit, max(ef, limit), expression)
                if mask is not None:
                    out = ~mask[rows] | (rows < 0)
                    rows, scores = np.where(out, -1, rows), np.where(out, -np.inf, scores).astype(np.float32)
                if ((rows >= 0).sum(axis=1) >= wanted).all():
                    return _ordered(rows, scores, k)
        return scan(self._stored, queries, k, left)  # a graph may not reach what exists

    def _ways(
        self, wanted: int, expression: str, mask: Mask | None, left: Rows | None
    ) -> Iterator[tuple[int, str]]:
        """(hits to ask for, expression): what finds `wanted` rows under the mask, the cheapest first."""
        if mask is None or left is None or len(left) == len(mask):
            yield wanted, ""
            return
        if expression:
            yield wanted, expression if self._alike is None else f"{SHARED} == true or {expression}"
        if len(left) <= _NAMED:
            yield wanted, f"{ROW} in {left.tolist()}"
        else:
            # A row named costs more than a hit passed over.
            hits = int(1.2 * wanted * len(mask) / len(left)) + 16
            if hits <= MOST:
                yield min(hits, len(mask)), ""
            yield wanted, f"{ROW} in {left.tolist()}"

    def _wider(self, ef: int, wanted: int, there: int) -> int:
        """How many nodes to look at where an expression lets only some of them pass."""
        return min(_MASKED * max(ef, wanted * self._about.count // there), _MOST_NODES)

    def _asked(self, queries: Vectors, limit: int, ef: int, expression: str) -> tuple[Rows, Vectors]:
        """What Milvus finds: rows (q, limit) and scores (q, limit), ending in -1 and -inf."""
        with explained("search", self._about.uri), in_turn(self._about.uri):
            answers = client_of(self._about.uri).search(
                self._about.collection,
                data=list(queries),
                anns_field=VECTOR,
                limit=limit,
                output_fields=[ROW],  # else an old server calls it by another name
                filter=expression,
                search_params={"metric_type": "IP", "params": {"ef": ef}},
                consistency_level="Eventually",  # what was counted at opening never changes
                timeout=SECONDS,
            )
        rows = np.full((len(queries), limit), -1, np.int64)
        scores = np.full((len(queries), limit), -np.inf, np.float32)
        for at, hits in enumerate(answers):
            rows[at, : len(hits)] = [hit[ROW] for hit in hits]
            scores[at, : len(hits)] = [hit["distance"] for hit in hits]
        return rows, scores


def _hash(vectors: NDArray[np.floating[Any]], rows: Rows) -> str:
    digest = blake2b(digest_size=16)
    step = batch_rows(vectors.shape[1])
    digest.update(json.dumps(vectors.shape).encode())
    for at in range(0, len(rows), step):
        digest.update(np.ascontiguousarray(vectors[rows[at : at + step]], np.float32).data)
    return f"findling_{digest.hexdigest()}"


def _ordered(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """Answers (q, any) as (q, k), ties by row, those that are none (-1) last."""
    last = np.where(rows < 0, np.iinfo(np.int64).max, rows)
    order = np.lexsort((last, -scores), axis=1)[:, :k]
    out = (np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))
    short = ((0, 0), (0, k - out[0].shape[1]))
    return (
        np.pad(out[0], short, constant_values=-1),
        np.pad(out[1], short, constant_values=-np.inf),
    )


def _chosen(params: Params, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter; raises ConfigError for one that is not known, or a value that cannot be used."""
    unknown = [str(given) for given in params if given not in defaults]
    if unknown:
        raise ConfigError(
            f"the milvus index has no parameter {', '.join(unknown)}", todo=f"known are {', '.join(defaults)}"
        )
    chosen = {**defaults, **params}
    for given, value in chosen.items():
        fits = (
            isinstance(value, str) if isinstance(defaults[given], str) else type(value) is int and value > 0
        )
        if not fits:
            raise ConfigError(f"the milvus index cannot use {given} = {value!r}")
    return chosen
