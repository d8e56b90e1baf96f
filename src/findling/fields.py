"""The vector fields of an open snapshot: a query's vector in each, and the nearest documents to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling import pictures, registry, snapshot
from findling.encoders.base import Encoder, Vectors, open_encoder
from findling.encoders.instant import Instant
from findling.encoders.queries import QueryVectors
from findling.errors import QueryError, SnapshotError
from findling.indexes.base import Index, Mask, Searchable
from findling.indexes.layered import LayeredIndex
from findling.records import Term
from findling.snapshot import Manifest, SnapshotPaths
from findling.where import Tree, to_milvus

Rows = NDArray[np.int64]
Ranked = tuple[Rows, NDArray[np.float32]]
"""Rows, best first, and their scores."""


@dataclass(frozen=True)
class VectorField:
    """A vector field, open: its index, the document row of each vector, and who embeds queries for it."""

    name: str
    index: Searchable
    rows: Rows | None
    encoder: Encoder
    params: Mapping[str, Any]
    instant: Instant | None = None
    kept: QueryVectors = field(default_factory=QueryVectors)

    def search(self, vector: Vectors, k: int, mask: Mask | None, tree: Tree | None = None) -> Ranked:
        """The best k documents for one (dim,) vector; `tree` is what the mask was made from."""
        own = mask if mask is None or self.rows is None else mask[self.rows]
        params = self.params
        if tree is not None and (scalars := getattr(self.index, "scalars", None)):  # a search on a server
            params = {**params, "where": to_milvus(tree, scalars) or ""}
        rows, scores = self.index.search(vector[None], k, params, own)
        found = rows[0] >= 0
        best = rows[0][found]
        return (best if self.rows is None else self.rows[best]), scores[0][found]

    def vector_of(self, row: int) -> Vectors | None:
        """A document's own vector, if it has one."""
        place = row
        if self.rows is not None:
            place = int(np.searchsorted(self.rows, row))
            if place == len(self.rows) or self.rows[place] != row:
                return None
        vector: Vectors = np.asarray(self.index.vectors[np.array([place])], np.float32)[0]
        return vector

    def query_vector(
        self, terms: Sequence[Term], row_of: Callable[[str], int], *, full: bool = False
    ) -> Vectors | None:
        """The weighted sum of what the terms give for this field, as a unit vector; None where nothing does.

        Words are embedded by the instant queries, where there are some, they know the words, and the caller
        does not ask for the `full` encoder.
        Raises QueryError for a vector of another length and a picture that cannot be decoded.
        """
        total: Vectors | None = None
        for term in terms:
            for vector in self._vectors(term, row_of, full):
                part = np.float32(term.weight) * _unit(vector)
                total = part if total is None else total + part
        return _unit(total) if total is not None and np.any(total) else None

    def embed(self, terms: Sequence[Term], *, full: bool = False) -> None:
        """Embed the words of all terms at once, for the `query_vector` of each that follows."""
        words = [term.q for term in terms if self._reads(term) and self._quick(term, full) is None]
        self.kept.embed(self.encoder, words)

    def reads(self, modality: str) -> bool:
        """Whether its encoder takes such queries: "text" or "image"."""
        return modality in self.encoder.spec.modalities

    def _reads(self, term: Term) -> bool:
        return bool(term.q.strip()) and self.reads("text")

    def _quick(self, term: Term, full: bool) -> Vectors | None:
        return None if self.instant is None or full else self.instant.embed(term.q)

    def _vectors(self, term: Term, row_of: Callable[[str], int], full: bool) -> list[Vectors]:
        spec = self.encoder.spec
        vectors: list[Vectors] = []
        if self._reads(term):
            quick = self._quick(term, full)
            vectors.append(self.kept.embed(self.encoder, [term.q])[0] if quick is None else quick)
        if term.like is not None:
            own = self.vector_of(row_of(term.like))
            vectors += [own] if own is not None else []
        if term.vector is not None:
            if term.vector.shape != (spec.dim,):
                raise QueryError(
                    f"the vector has {term.vector.size} numbers, field {self.name!r} has {spec.dim}"
                )
            vectors.append(term.vector)
        if term.image is not None and self.reads("image"):
            vectors += list(self.encoder.embed_images([pictures.decode(term.image, spec.jpeg_side)]))
        return vectors


def open_field(
    manifest: Manifest, paths: SnapshotPaths, name: str, models: Path | None, kept: QueryVectors
) -> VectorField:
    """A field of a snapshot, its index mapped; its encoder loads when it is first asked.

    Raises SnapshotError where the encoder here is not the one that embedded the documents.
    """
    built = manifest.fields[name]
    encoder = open_encoder(built.encoder, dict(built.options), models)
    if encoder.spec.id != built.spec.id:
        raise SnapshotError(
            f"field {name!r} of snapshot {manifest.id} was embedded by {built.spec.id}, but the encoder "
            f"{built.encoder!r} here is {encoder.spec.id}",
            todo="build again, or install the same weights",
        )
    index, rows = open_index(manifest, paths, name)
    instant = None
    if built.instant is not None and built.instant.used:
        instant = Instant.open((paths.base(manifest) or paths).instant(name))
    return VectorField(name, index, rows, encoder, built.search, instant, kept)


def open_index(manifest: Manifest, paths: SnapshotPaths, name: str) -> tuple[Searchable, Rows | None]:
    """A field's index, and the document row of each of its vectors where that is not the same."""
    kind, base = manifest.fields[name].kind, paths.base(manifest)
    rows = snapshot.open_rows(paths, name)
    if base is None:
        return registry.load("index", kind).open(paths.field(name)), rows
    first: Index = registry.load("index", kind).open(base.field(name))
    second: Index = registry.load("index", "exact").open(paths.field(name))
    many, old = snapshot.read_manifest(base.root).documents, snapshot.open_rows(base, name)
    gone = snapshot.open_gone(paths)
    if rows is None and old is None:
        return LayeredIndex(first, second, gone), None
    old = np.arange(many) if old is None else old
    rows = np.arange(len(second.vectors)) if rows is None else rows
    lost = np.flatnonzero(np.isin(old, gone, assume_unique=True))
    return LayeredIndex(first, second, lost), np.concatenate([old, rows + many])


def _unit(vector: Vectors) -> Vectors:
    wide = vector.astype(np.float64)  # the squares of what a float32 holds do not fit into one
    length = float(np.linalg.norm(wide))
    return (wide / length).astype(np.float32) if length > 0 else vector
