"""Sorted documents and their vectors to a snapshot: the last thing the batch half does."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import findling
from findling import fitting, registry, snapshot, storage, tuning, versions
from findling.catalog import Catalog
from findling.config import IndexOptions, Settings
from findling.embeddings import Embeddings, Hashes, hash_halves
from findling.encoders.base import Encoder
from findling.errors import NotFound, SnapshotError
from findling.indexes import measure, milvus_collection, planner
from findling.indexes.base import Index
from findling.indexes.milvus_fields import Columns
from findling.indexes.planner import Candidate, Targets
from findling.indexes.scan import NotFinite
from findling.lexical import Lexical
from findling.progress import Progress
from findling.snapshot import (
    FieldManifest,
    InstantManifest,
    LexicalManifest,
    Manifest,
    Probe,
    SnapshotPaths,
)
from findling.steps import content_hash, picture_keys, texts_of
from findling.stores.mapped import open_documents
from findling.tuning import Asked

_PROBES = 16
_BLOCK = 65_536  # rows moved at a time
_EVEN = 16_384  # rows digested at a time


@dataclass
class Draft:
    """A snapshot in the making: where documents come from (again and again, sorted by id), and with what.

    `embed_queries` gives (n, dim) vectors for a field's name and n queries.
    """

    settings: Settings
    documents: Callable[[], Iterator[pa.RecordBatch]]
    count: int
    encoders: Mapping[str, Encoder]
    embeddings: Mapping[str, Embeddings]
    records: dict[str, Any]
    workspace: Path
    progress: Progress
    embed_queries: Callable[[str, list[str]], NDArray[np.float16]]
    seconds: dict[str, float] = field(default_factory=dict)
    is_delta: bool = False

    def pictures(self) -> list[tuple[str, Embeddings]]:
        """The columns that hold pictures, and which of these have a vector."""
        fields = self.settings.vectors.items()
        return [(options.image, self.embeddings[name]) for name, options in fields if options.image]


def write(draft: Draft, home: Catalog, digest: str) -> Manifest:
    """Write the draft as a snapshot, or find that the very same one is there already.

    `digest` is `digest_of(draft)`. Raises SnapshotError where a text has no vector yet.
    """
    if known := same_as(draft, home, digest):
        return known
    now = datetime.datetime.now(datetime.UTC)
    identity = snapshot.new_id(digest, now, after=max(home.ids(), default=""))
    with storage.stage_directory(home.path(identity), last=snapshot.MANIFEST) as aside:
        paths = SnapshotPaths(aside)
        settings = draft.settings
        manifest = Manifest(
            id=identity,
            digest=digest,
            collection=settings.collection,
            created=now.isoformat(timespec="seconds"),
            findling=findling.__version__,
            source=settings.source,
            where=settings.filter.where,
            title=settings.document.title,
            columns=settings.document.columns,
            facets=settings.document.facets,
            picture=settings.document.picture,
            fields={},
            lexical=None,
            recall=settings.index.recall,
            latency_ms=settings.index.latency_ms,
            records=draft.records,
            documents=draft.count,
            shape=shape_digest(draft),
            store=settings.store_kind,
            store_options=settings.store_options,
        )
        write_documents(draft, paths)
        np.save(paths.versions, versions.of(draft.documents(), draft.pictures(), settings.base))
        lexical = _write_lexical(draft, paths)
        fields = {name: _write_field(draft, paths, name, home, identity) for name in draft.encoders}
        snapshot.write_probes(paths, list(_probes(paths, fields)))
        return snapshot.seal(aside, msgspec.structs.replace(manifest, fields=fields, lexical=lexical))


def same_as(draft: Draft, home: Catalog, digest: str) -> Manifest | None:
    """The snapshot that holds exactly this, if there is one and it is whole."""
    for identity in reversed(home.ids()):
        try:
            if home.manifest(identity).digest == digest:
                known = snapshot.check(home.local(identity))
                draft.progress.say(f"nothing changed: {identity} holds exactly this")
                return known
        except SnapshotError as error:
            draft.progress.say(f"not used again: {error.what}")
    return None


def plan_index(settings: Settings, encoders: Mapping[str, Encoder], name: str, count: int) -> list[Candidate]:
    """The indexes to try for so many vectors of a field, the likeliest first.

    Fields share the memory by their dimensions. Raises ConfigError where nothing fits; a kind by name does.
    """
    options, dim = settings.index, encoders[name].spec.dim
    if options.kind != "auto":
        registry.find("index", options.kind)
        size = planner.resident(options.kind, count, dim, options.params)
        return [Candidate(options.kind, options.params, size)]
    share = options.memory_bytes * dim // sum(encoder.spec.dim for encoder in encoders.values())
    targets = dataclasses.replace(targets_of(options), memory=share)
    return planner.candidates(count, dim, targets, options.params)


def shape_digest(draft: Draft) -> str:
    """A name for the settings and encoders that shape a snapshot."""
    shape = json.dumps(shape_of(draft.settings, draft.encoders), sort_keys=True)
    return hashlib.sha256(shape.encode()).hexdigest()


def digest_of(draft: Draft) -> str:
    """What decides a snapshot's content: documents, encoders, which vectors there are, what shapes it."""
    digest = hashlib.sha256(shape_digest(draft).encode())
    for batch in _even(draft.documents()):
        digest.update(batch.serialize())
    for name in draft.encoders:
        digest.update(np.packbits(draft.embeddings[name].held(_wanted(draft, name))).tobytes())
    return digest.hexdigest()


def shape_of(settings: Settings, encoders: Mapping[str, Encoder]) -> dict[str, Any]:
    """The settings and encoders that decide what a snapshot makes of its documents."""
    queries = settings.index.queries and storage.read_bytes(settings.path(settings.index.queries))
    return {
        "queries": hashlib.sha256(queries).hexdigest() if queries else None,
        "document": msgspec.to_builtins(settings.document),
        "store": settings.store,
        "lexical": msgspec.to_builtins(settings.lexical),
        "index": msgspec.to_builtins(settings.index),
        "vectors": msgspec.to_builtins(settings.vectors),
        "encoders": {name: encoder.spec.id for name, encoder in encoders.items()},
        "format": snapshot.FORMAT,
        "findling": findling.__version__,
    }


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches that do not tell how they were cut before."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        while sum(len(each) for each in held) >= _EVEN:
            table = pa.Table.from_batches(held)
            yield _whole(table.slice(0, _EVEN))
            held = table.slice(_EVEN).to_batches()
    if held:
        yield _whole(pa.Table.from_batches(held))


def _whole(table: pa.Table) -> pa.RecordBatch:
    # Taken row by row: a slice would carry what is around it.
    return table.combine_chunks().take(pa.array(range(len(table)), pa.int64())).to_batches()[0]


def write_documents(draft: Draft, paths: SnapshotPaths) -> None:
    """The columns that documents keep, in row order."""
    columns = ["id", *(name for name in draft.settings.document.columns if name != "id")]
    with draft.progress.task("documents", draft.count, "documents") as task:

        def kept() -> Iterator[pa.RecordBatch]:
            for batch in draft.documents():
                yield batch.select(columns)
                task.advance(batch.num_rows)

        store = registry.load("store", draft.settings.store_kind)
        store.write(kept(), paths.documents, draft.settings.store_options)


def _write_lexical(draft: Draft, paths: SnapshotPaths) -> LexicalManifest | None:
    options = draft.settings.lexical
    if options is None:
        return None
    started = time.perf_counter()
    weights = {name: options.weights.get(name, 1.0) for name in options.input}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    with draft.progress.task("lexical", draft.count, "documents") as task:
        texts = lexical_texts(draft, list(weights), task.advance)
        Lexical.build(texts, paths.lexical, weights, options.language)
    draft.seconds["lexical"] = time.perf_counter() - started
    return LexicalManifest(input=options.input, weights=weights, language=options.language)


def lexical_texts(
    draft: Draft, columns: list[str], advance: Callable[[int], object] = bool
) -> Iterator[dict[str, str]]:
    """What the lexical side reads of each document."""
    for batch in draft.documents():
        by_column = {name: texts_of(batch, [name]) for name in columns}
        for texts in zip(*by_column.values(), strict=True):
            yield dict(zip(by_column, texts, strict=True))
        advance(batch.num_rows)


def _write_field(
    draft: Draft, paths: SnapshotPaths, name: str, home: Catalog, identity: str
) -> FieldManifest:
    """Gather a field's vectors, index them, and measure what the index finds."""
    options, encoder = draft.settings.vectors[name], draft.encoders[name]
    directory = paths.field(name)
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=draft.workspace, prefix="gather-") as aside:
        vectors = gather(draft, paths, name, Path(aside) / "vectors.npy")
        storage.check_room(directory, vectors.nbytes)
        started = time.perf_counter()
        plan = plan_index(draft.settings, draft.encoders, name, len(vectors))
        also: dict[str, Any] = {}
        if (
            plan[0].kind == "milvus"
        ):  # which keeps no vectors in the snapshot, but has its columns to filter by
            known = (home.collection, name, identity)
            params = milvus_collection.named(dict(plan[0].params), draft.settings.base, known)
            also = {"columns": _columns(draft, paths, name)}
            plan = [dataclasses.replace(plan[0], params=params)]
        with naming_documents(paths, name):
            built = tuning.build(
                vectors,
                directory,
                plan,
                _asking(draft, paths, name),
                targets_of(draft.settings.index),
                name,
                draft.progress,
                also,
            )
    draft.seconds[f"index {name}"] = time.perf_counter() - started
    instant = _write_instant(draft, paths, name, built.index, home) if options.query == "instant" else None
    return FieldManifest(
        encoder=options.encoder,
        options=options.options,
        spec=encoder.spec,
        kind=built.candidate.kind,
        params=dict(built.candidate.params),
        search=dict(built.chosen["params"]),
        count=len(vectors),
        bytes=sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()),
        recall_at_10=built.chosen["recall"],
        queries=built.asked.said,
        latency_ms=built.chosen["latency_ms"],
        curve=built.curve,
        instant=instant,
    )


@contextlib.contextmanager
def naming_documents(paths: SnapshotPaths, name: str) -> Iterator[None]:
    """A vector that is not finite is told with the id of its document, which people know it by."""
    try:
        yield
    except NotFinite as error:
        rows = snapshot.open_rows(paths, name)
        row = error.row if rows is None else int(rows[error.row])
        identity, *_ = open_documents(paths.documents).ids([row])
        raise SnapshotError(
            f"the vector of document {identity!r} in field {name!r} is {error.why}",
            todo=f"leave the document out by filter.where, or remove embeddings/{name} and build again",
        ) from None


def _columns(draft: Draft, paths: SnapshotPaths, name: str) -> Columns:
    """What a field's documents keep, as Milvus is to have it."""
    store = open_documents(paths.documents)
    names = list(dict.fromkeys(["id", *draft.settings.document.columns]))
    return Columns({each: store.column(each) for each in names}, snapshot.open_rows(paths, name))


def targets_of(options: IndexOptions) -> Targets:
    """What an index is measured against."""
    return Targets(options.recall, options.memory_bytes, options.latency_ms)


def _asking(draft: Draft, paths: SnapshotPaths, name: str) -> Callable[[str, Index], Asked]:
    """What a field's index is measured with: people's own queries, if there is a file of them."""
    settings, encoder = draft.settings, draft.encoders[name]
    file = settings.index.queries if "text" in encoder.spec.modalities else None

    @functools.cache  # the same for every index that is tried
    def words(many: int) -> Asked:
        if file:
            return Asked.of_file(settings.path(file), encoder, many)
        rows = snapshot.open_rows(paths, name)
        return Asked.of_texts(_spread(draft, settings.vectors[name].input, rows, many), encoder)

    def ask(kind: str, index: Index) -> Asked:
        many = tuning.EXACT_QUERIES if kind in ("exact", "flat") else tuning.QUERIES
        if settings.vectors[name].image and not file:
            return Asked.of_rows(index, measure.sample_rows(len(index.vectors), many), "pictures")
        return words(many)

    return ask


def _write_instant(
    draft: Draft, paths: SnapshotPaths, name: str, index: Index, home: Catalog
) -> InstantManifest:
    """Instant queries for a field; what the current snapshot has serves again where little changed."""
    options, rows = draft.settings.vectors[name], snapshot.open_rows(paths, name)

    def texts() -> Iterator[list[str]]:
        at = 0
        for batch in draft.documents():
            block = texts_of(batch, options.input)
            if rows is not None:
                low, high = np.searchsorted(rows, (at, at + len(block)))
                block = [block[row - at] for row in rows[low:high].tolist()]
            at += batch.num_rows
            yield block

    hashes = _wanted(draft, name)
    corpus = fitting.Corpus(
        texts,
        index.vectors,
        hashes if rows is None else hashes[rows],
        functools.partial(draft.embed_queries, name),
    )
    started = time.perf_counter()
    made = fitting.write(
        paths.instant(name), corpus, options.instant_overlap, _fitted_before(draft, name, home)
    )
    draft.seconds[f"instant {name}"] = time.perf_counter() - started
    found = f"{name}: instant queries find {made.overlap_at_10:.0%} of the full encoder's top 10"
    fails = f", instant_overlap asks for {options.instant_overlap:.0%}: queries stay full"
    draft.progress.say(found if made.used else found + fails)
    return made


def _fitted_before(draft: Draft, name: str, home: Catalog) -> Path | None:
    """Where the current snapshot has instant queries of the same encoder, by the method of now."""
    try:
        root = SnapshotPaths(home.local(home.current()))
        manifest = snapshot.check(root.root)
        if base := root.base(manifest):
            root, manifest = base, snapshot.check(base.root)
    except (NotFound, SnapshotError):
        return None
    known = manifest.fields.get(name)
    if known is None or known.instant is None or known.spec.id != draft.encoders[name].spec.id:
        return None
    fits = known.instant.used and known.instant.method == fitting.METHOD
    return root.instant(name) if fits else None


def _wanted(draft: Draft, name: str) -> Hashes:
    """The content hash of each document's text for a field, in row order."""
    options, base = draft.settings.vectors[name], draft.settings.base
    nothing = content_hash("")
    if options.image:
        keys = (picture_keys(batch, options.image, base) for batch in draft.documents())
        return hash_halves([key or nothing for block in keys for key in block])
    texts = (texts_of(batch, options.input) for batch in draft.documents())
    return hash_halves([content_hash(text) for block in texts for text in block])


def gather(draft: Draft, paths: SnapshotPaths, name: str, aside: Path) -> NDArray[np.float16]:
    """A field's vectors in row order, mapped from the file `aside`; rows.npy tells whose they are.

    Raises SnapshotError where a text has no vector, or no document has any; a delta may have none.
    """
    wanted = _wanted(draft, name)
    shape = (len(wanted), draft.encoders[name].spec.dim)
    if not len(wanted):
        return np.empty(shape, np.float16)
    vectors = np.lib.format.open_memmap(aside, mode="w+", dtype=np.float16, shape=shape)
    with aside.open("r+b") as file:  # a mapped file that outgrows its disk would end this process
        os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
    found = draft.embeddings[name].gather(wanted, vectors)
    if found.all():
        return vectors
    nothing = (wanted == hash_halves([content_hash("")])).all(axis=1)
    lacking = int((~found & ~nothing).sum())
    if lacking and not draft.settings.vectors[name].image:  # a picture may be out of reach
        raise SnapshotError(
            f"{lacking} documents have a text for {name!r} but no vector yet",
            todo="run: findling build --only embed,index,publish",
        )
    rows = np.flatnonzero(found)
    if not len(rows) and not draft.is_delta:
        raise SnapshotError(
            f"no document has anything to embed for {name!r}",
            todo=f"check vectors.{name} and failures/embed-{name}.jsonl, or leave it out",
        )
    np.save(paths.rows(name), rows)
    for start in range(0, len(rows), _BLOCK):  # rows only move towards the front
        block = vectors[rows[start : start + _BLOCK]]
        vectors[start : start + len(block)] = block
    return vectors[: len(rows)]


def _spread(draft: Draft, columns: list[str], rows: NDArray[np.int64] | None, many: int) -> Iterator[str]:
    """The texts of evenly spread documents; `rows` are those that have a vector, where not all do."""
    there = draft.count if rows is None else len(rows)
    picked = np.linspace(0, there - 1, min(many, there), dtype=np.int64)
    picked = picked if rows is None else rows[picked]
    at = 0
    for batch in draft.documents():
        here = picked[(picked >= at) & (picked < at + batch.num_rows)]
        if len(here):
            yield from texts_of(batch.take(pa.array(here - at)), columns)
        at += batch.num_rows


def _probes(paths: SnapshotPaths, fields: Mapping[str, FieldManifest]) -> Iterator[Probe]:
    """For each vector field some documents with their exact neighbours."""
    store = open_documents(paths.documents)
    for name, field_manifest in fields.items():
        index = registry.load("index", field_manifest.kind).open(paths.field(name))
        rows = snapshot.open_rows(paths, name)
        many = len(index.vectors)
        picked = np.unique(np.linspace(0, many - 1, min(_PROBES, many), dtype=np.int64))
        asked = np.asarray(index.vectors[picked], np.float32)
        truth, _ = measure.exact_answers(index.vectors, asked, min(10, many))
        documents = rows if rows is not None else np.arange(many)
        for place, answer in zip(picked, truth, strict=True):
            like, *_ = store.ids([int(documents[place])])
            yield Probe(part=name, like=like, ids=store.ids([int(row) for row in documents[answer]]))
