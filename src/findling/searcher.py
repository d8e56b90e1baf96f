"""The online story: a query in, an answer out, from one snapshot. Knows no HTTP and no cache.

Each part (a vector field, or the lexical side) gives its best candidates; fusion makes one list of them;
the store turns its rows into documents.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling import fusion, registry, snapshot, where
from findling.config import LEXICAL, RankOptions
from findling.encoders.base import Vectors
from findling.encoders.queries import QueryVectors
from findling.errors import EncoderError, NotFound, QueryError, SnapshotError
from findling.fields import Ranked, Rows, VectorField, open_field
from findling.indexes.base import Mask
from findling.lexical import Lexical
from findling.records import (
    MAX_K,
    MAX_QUERY_CHARACTERS,
    MAX_REACH,
    MAX_TERMS,
    MAX_WEIGHT,
    MODES,
    WAYS,
    Answer,
    Hit,
    Query,
    Term,
)
from findling.snapshot import Manifest, SnapshotPaths
from findling.stages import Stages
from findling.stores.layered import LayeredStore, Readable

_ALONE = 20  # candidates of a part that is not fused with another
_DEEPER = 10  # how much larger the next pool of candidates is
_MASKS = 64  # filters remembered per snapshot
_MARKED = 2000  # characters of a column in which matches are marked


class Searcher:
    """Answers queries over one snapshot. Thread-safe; opening maps files and loads no model."""

    def __init__(
        self,
        paths: SnapshotPaths,
        manifest: Manifest,
        store: Readable,
        fields: Mapping[str, VectorField],
        lexical: Lexical | None,
        rank: RankOptions,
    ) -> None:
        self.paths = paths
        self.manifest = manifest
        self.store = store
        self.fields = fields
        self.lexical = lexical
        self.rank = rank
        self.together = 1  # queries that are better embedded at once; see `findling.serve.batcher`
        self._alive = _alive(paths, len(store)) if manifest.base else None
        # They know the store and not the searcher, which in a circle would wait for the garbage collector.
        self._mask = functools.lru_cache(_MASKS)(functools.partial(_evaluate, store, self._alive))
        self._facets = functools.lru_cache(_MASKS)(
            functools.partial(_count_facets, store, self._alive, self._mask)
        )

    @classmethod
    def open(
        cls, root: Path, rank: RankOptions, models: Path | None = None, kept: QueryVectors | None = None
    ) -> Self:
        """Open a snapshot's directory; raises SnapshotError naming a file that is not what was built.

        `kept` are vectors of earlier queries, by encoder, that several snapshots may share.
        """
        kept = kept or QueryVectors()
        manifest = snapshot.check(root)
        paths = SnapshotPaths(root)
        with snapshot.complaining_of(manifest):
            store = open_store(manifest, paths)
            lexical = _open_lexical(manifest, paths)
            fields = {name: open_field(manifest, paths, name, models, kept) for name in manifest.fields}
        return cls(paths, manifest, store, fields, lexical, rank)

    def search(self, query: Query, stages: Stages | None = None) -> Answer:
        """The hits of a query; raises QueryError saying what is wrong with it.

        `stages` learns where the time goes: wait (before this call), filter, encode, index, lexical, fuse,
        facets, documents.
        """
        stages = stages or Stages()
        stages.lap("wait")
        self._check(query)
        tree = self._tree(query.where)
        expression = None if tree is None else where.to_text(tree)
        mask = None if expression is None else self._mask(expression)
        stages.lap("filter")
        rows, scores, parts, degraded = self._ranked(query, mask, tree, stages)
        if query.min_score is not None:
            good = int(
                np.count_nonzero(scores >= np.float64(query.min_score))
            )  # the first ones, as scores never rise
            rows, scores = rows[:good], scores[:good]
        facets = {name: self._facets(name, expression) for name in query.facets}
        stages.lap("facets")
        page = slice(query.offset, query.offset + query.k)
        hits = self._hits(query, rows[page], scores[page], parts)
        stages.lap("documents")
        return Answer(
            hits=hits,
            facets=facets,
            offset=query.offset,
            k=query.k,
            snapshot=self.manifest.id,
            degraded=degraded,
        )

    def embed(self, queries: Sequence[Query]) -> None:
        """Embed the words of several queries at once, for the `search` of each that follows.

        Leaves out those that `search` will refuse. Raises EncoderError.
        """
        terms: dict[tuple[str, bool], list[Term]] = {}
        for query in queries:
            with contextlib.suppress(QueryError):
                self._check(query)
                for name in self._asked(query) if query.mode != "lexical" else []:
                    terms.setdefault((name, query.query == "full"), []).extend(query.terms)
        for (name, full), some in terms.items():
            self.fields[name].embed(some, full=full)

    def samples(self, count: int) -> list[str]:
        """Up to `count` titles, from all over the collection."""
        rows = np.linspace(0, len(self.store) - 1, min(count, len(self.store)), dtype=np.int64)
        documents = map(msgspec.json.decode, self.store.get_many(rows.tolist()))
        return [str(document.get(self.manifest.title)) for document in documents]

    def try_encoders(self, texts: list[str]) -> None:
        """Embed texts as queries in every field that reads words, and keep nothing. Raises EncoderError."""
        for field in self.fields.values():
            if "text" in field.encoder.spec.modalities:
                field.encoder.embed_texts(texts, role="query")

    def document(self, identity: str) -> bytes:
        """A document by id, as JSON; raises NotFound."""
        return self.store.get_many([self._row(identity)])[0]

    def probe(self) -> None:
        """Ask what the snapshot knows the answer to; raises SnapshotError when too little of it is found."""
        wanted = found = 0
        for probe in snapshot.read_probes(self.paths):
            vector = self.fields[probe.part].vector_of(self._row(probe.like))
            if vector is None:
                raise SnapshotError(f"probe {probe.like!r} has no vector in {probe.part!r}")
            rows, _ = self.fields[probe.part].search(vector, len(probe.ids), None)
            wanted += len(probe.ids)
            found += len({*probe.ids} & {*self.store.ids([int(row) for row in rows])})
        if found < wanted * self.manifest.recall * 0.9:
            raise SnapshotError(
                f"snapshot {self.manifest.id} finds {found} of {wanted} known neighbours", todo="build again"
            )

    def warm(self) -> None:
        """Load the encoders and touch what a first query would wait for."""
        for way in WAYS if any(field.instant for field in self.fields.values()) else WAYS[:1]:
            self.search(Query(q=self.manifest.title, k=1, query=way))

    def _check(self, query: Query) -> None:
        """Raises QueryError unless the query can be asked of this snapshot."""
        if not 1 <= query.k <= MAX_K:
            raise QueryError(f"k is {query.k}", todo=f"ask for 1 to {MAX_K} hits")
        if query.offset < 0 or query.offset + query.k > MAX_REACH:
            raise QueryError(
                f"offset {query.offset} with k {query.k} is out of reach",
                todo=f"offset + k may be at most {MAX_REACH}; narrow the search instead",
            )
        longest = max([len(query.q), *(len(term.q) for term in query.also)])
        if longest > MAX_QUERY_CHARACTERS:
            raise QueryError(
                f"the query has {longest} characters", todo=f"at most {MAX_QUERY_CHARACTERS} are taken"
            )
        if query.mode not in MODES:
            raise QueryError(f"unknown mode {query.mode!r}", todo=f"known are {', '.join(MODES)}")
        if query.query not in (None, *WAYS):
            raise QueryError(f"unknown query {query.query!r}", todo=f"known are {', '.join(WAYS)}")
        if not query.terms or any(term.is_empty for term in query.also):
            raise QueryError("the query is empty", todo="give words, a picture or a document to compare with")
        if len(query.also) > MAX_TERMS:
            raise QueryError(
                f"the query has {len(query.also)} further terms", todo=f"at most {MAX_TERMS} are taken"
            )
        _check_numbers(query)
        _known("field", [query.field] if query.field else [], list(self.fields))
        _known("weights", list(query.weights), [*self.fields, *([LEXICAL] if self.lexical else [])])
        _known("facets", list(query.facets), ["id", *self.manifest.columns])
        pictured = query.mode != "lexical" and any(term.image is not None for term in query.terms)
        if pictured and not any(self.fields[name].reads("image") for name in self._asked(query)):
            raise QueryError("no vector field that is asked reads pictures", todo="ask with words")
        if query.query == "instant" and not any(self.fields[name].instant for name in self._asked(query)):
            raise QueryError(
                "this collection has no instant queries",
                todo='build with query = "instant", or ask for "full"',
            )
        if query.mode == "semantic" and not self.fields:
            raise QueryError("this collection has no vectors", todo="search with mode lexical")
        if query.mode == "lexical" and self.lexical is None:
            raise QueryError("this collection has no lexical index", todo="search with mode semantic")
        if query.mode == "lexical" and not query.q.strip():
            raise QueryError("lexical search needs words", todo="give q, or use mode semantic")

    def _ranked(
        self, query: Query, mask: Mask | None, tree: where.Tree | None, stages: Stages
    ) -> tuple[Rows, NDArray[np.float32], dict[str, Ranked], bool]:
        """All rows up to the page's end, best first, with each part's own list.

        Candidates come in pools of growing size, and what a smaller pool ranked stays before what a larger
        one adds: so pages of one query never overlap and never miss a row, however deep one goes.
        """
        vectors, degraded = self._vectors(query)
        _check_weights(query, [*vectors, *([LEXICAL] if self._reads_words(query) else [])])
        stages.lap("encode")
        asked = [self._row(term.like) for term in query.terms if term.like is not None and term.weight > 0]
        reach = query.offset + query.k
        size = self.rank.candidates if self._is_fused(query, vectors) else _ALONE
        rows, scores = np.empty(0, np.int64), np.empty(0, np.float32)
        while True:
            parts = dict(self._parts(query, vectors, size, mask, tree, stages))
            more, more_scores = self._fuse(query, parts)
            stages.lap("fuse")
            if len(rows) or asked:  # a document is no answer to itself
                new = ~np.isin(more, np.array([*rows.tolist(), *asked], np.int64))
                more, more_scores = more[new], more_scores[new]
            if len(rows):
                # A later pool's scores may be higher; no later page's first hit may outscore the last one.
                more = np.concatenate([rows, more])
                more_scores = np.concatenate([scores, np.minimum(more_scores, scores[-1])])
            rows, scores = more, more_scores
            exhausted = all(len(part[0]) < size for part in parts.values())
            if len(rows) >= reach or exhausted or size >= MAX_REACH:
                return rows, scores, parts, degraded
            size = min(size * _DEEPER, MAX_REACH)

    def _is_fused(self, query: Query, vectors: Mapping[str, Vectors]) -> bool:
        """Whether more than one part ranks; a single one need not look further than the page."""
        return len(vectors) + self._reads_words(query) > 1

    def _reads_words(self, query: Query) -> bool:
        return self.lexical is not None and query.mode != "semantic" and bool(query.q.strip())

    def _parts(
        self,
        query: Query,
        vectors: Mapping[str, Vectors],
        size: int,
        mask: Mask | None,
        tree: where.Tree | None,
        stages: Stages,
    ) -> Iterator[tuple[str, Ranked]]:
        for name, vector in vectors.items():
            yield name, self.fields[name].search(vector, size, mask, tree)
        stages.lap("index")
        if self.lexical is not None and self._reads_words(query):
            yield LEXICAL, self.lexical.search(query.q, size, mask, typos=query.typos)
            stages.lap("lexical")

    def _fuse(self, query: Query, parts: Mapping[str, Ranked]) -> Ranked:
        if len(parts) == 1:
            return next(iter(parts.values()))
        weights = {name: query.weights.get(name, self.rank.weights.get(name, 1.0)) for name in parts}
        if self.rank.fusion == "weighted":
            rows, scores = fusion.weighted(parts, weights)
        else:
            rows, scores = fusion.reciprocal_rank(parts, weights, self.rank.constant)
        return rows, scores.astype(np.float32)

    def _vectors(self, query: Query) -> tuple[dict[str, Vectors], bool]:
        """The query's vector in each field that is asked; and whether one had to be left out."""
        if query.mode == "lexical":
            return {}, False
        full = query.query == "full"
        try:
            found = {
                name: self.fields[name].query_vector(query.terms, self._row, full=full)
                for name in self._asked(query)
            }
        except EncoderError:
            if query.mode == "semantic" or self.lexical is None or not query.q.strip():
                raise
            return {}, True
        vectors = {name: vector for name, vector in found.items() if vector is not None}
        if not vectors and (query.mode == "semantic" or not query.q.strip()):
            raise QueryError(
                "no vector field can take this query",
                todo="ask with words or another field; a document without a picture has no vector there, and "
                "terms may cancel one another out",
            )
        return vectors, False

    def _asked(self, query: Query) -> list[str]:
        return [query.field] if query.field else list(self.fields)

    def _hits(
        self, query: Query, rows: Rows, scores: NDArray[np.float32], parts: Mapping[str, Ranked]
    ) -> list[Hit]:
        places = rows.tolist()
        documents = self.store.get_many(places)
        ids, values = self.store.ids(places), scores.tolist()
        own_scores, own_ranks = _by_row(parts, rows)
        marked = self._marker(query) if query.highlight else _unmarked
        return [
            Hit(
                id=ids[at],
                rank=query.offset + at + 1,
                score=values[at],
                scores=own_scores[at],
                document=document,
                ranks=own_ranks[at] if query.explain else None,
                highlights=marked(document),
                row=places[at],
            )
            for at, document in enumerate(documents)
        ]

    def _marker(self, query: Query) -> Any:
        """What marks the query's words in a document's kept text columns."""
        lexical, inputs = self.lexical, self.manifest.lexical
        if lexical is None or inputs is None or query.mode == "semantic" or not query.q.strip():
            return _unmarked
        columns = [name for name in inputs.input if name in self.manifest.columns]

        def marked(document: bytes) -> dict[str, list[tuple[int, int]]]:
            values = msgspec.json.decode(document)
            texts = {n: values[n][:_MARKED] for n in columns if isinstance(values.get(n), str)}
            return lexical.highlights(query.q, texts)

        return marked

    def _row(self, identity: str) -> int:
        row = self.store.row_of(identity)
        if row is None:
            raise NotFound(f"there is no document {identity!r} in {self.manifest.collection!r}")
        return row

    def _tree(self, expression: Any) -> Any:
        if expression is None or (isinstance(expression, str) and not expression.strip()):
            return None
        return where.parse(expression, self.store.schema)


def open_store(manifest: Manifest, paths: SnapshotPaths) -> Readable:
    """The documents of a snapshot, those of its base among them."""
    kind, options = registry.load("store", manifest.store), manifest.store_options
    own: Readable = kind.open(paths.documents, options)
    base = paths.base(manifest)
    if base is None:
        return own
    return LayeredStore(kind.open(base.documents, options), own, snapshot.open_gone(paths))


def _open_lexical(manifest: Manifest, paths: SnapshotPaths) -> Lexical | None:
    base = paths.base(manifest)
    return Lexical.open(paths.lexical, base.lexical if base else None) if manifest.lexical else None


def _alive(paths: SnapshotPaths, rows: int) -> Mask:
    """Which rows of a layered store may be found at all."""
    alive = np.ones(rows, np.bool_)
    alive[snapshot.open_gone(paths)] = False
    return alive


def _evaluate(store: Readable, alive: Mask | None, expression: str) -> Mask:
    mask = where.evaluate(where.parse(expression, store.schema), store.column)
    return mask if alive is None else mask & alive


def _count_facets(
    store: Readable, alive: Mask | None, mask: Callable[[str], Mask], name: str, expression: str | None
) -> list[tuple[Any, int]]:
    return where.facets(store.column(name), alive if expression is None else mask(expression))


def _check_numbers(query: Query) -> None:
    numbers = [*query.weights.values(), *(term.weight for term in query.also)]
    if any(not abs(number) <= MAX_WEIGHT for number in numbers):
        raise QueryError("a weight is out of range", todo=f"give numbers up to {MAX_WEIGHT:g}")
    if query.min_score is not None and not math.isfinite(query.min_score):
        raise QueryError(f"min_score is {query.min_score}", todo="give a number")


def _check_weights(query: Query, parts: list[str]) -> None:
    """Raises QueryError where a request only pushes down: a part's best would come last, and the rest not."""
    if parts and all(query.weights.get(name, 1.0) <= 0 for name in parts):
        raise QueryError(
            f"weights leave nothing to rank by: {', '.join(parts)} would count 0 or less",
            todo="give one of them a weight above 0; for unlike, give a term of also one below 0",
        )


def _by_row(parts: Mapping[str, Ranked], rows: Rows) -> tuple[list[dict[str, float]], list[dict[str, int]]]:
    """For each row, the score and the rank that each part gave it."""
    scores: list[dict[str, float]] = [{} for _ in rows]
    ranks: list[dict[str, int]] = [{} for _ in rows]
    for name, (found, values) in parts.items():
        here, places = np.nonzero(found == rows[:, None])
        for at, place, score in zip(here.tolist(), places.tolist(), values[places].tolist(), strict=True):
            scores[at][name] = score
            ranks[at][name] = place + 1
    return scores, ranks


def _unmarked(document: bytes) -> None:
    del document


def _known(what: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise QueryError(f"{what} names {name!r}", todo=f"known are {', '.join(known) or 'none'}")
