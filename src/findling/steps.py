"""The portable recipe: each step says what happens to a batch; an engine decides where.

A step is a frozen, picklable dataclass. Its `open` is called once per worker process and gives a function
from batch to batch, so that a model is loaded once per process and never once per batch. Steps never know
their engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa

from findling import archives, schema, storage
from findling.config import models_cache
from findling.encoders.base import Role, open_encoder
from findling.errors import StorageError
from findling.fetch import Fetcher, FetchOptions, PictureLoader
from findling.fetch.addresses import is_web
from findling.filters import EVERYTHING, Where
from findling.schema import READ, WAITED, WORKED, Drop
from findling.sources.base import BatchFunction, Source

SEPARATOR = ". "
_PICTURES = 32  # embedded at a time, while the next ones are fetched and decoded
EMBEDDED = ["hash", "vector"]
"""The columns of embeddings: 16 bytes of content hash, and the vector."""


class Step(Protocol):
    """A frozen, picklable recipe on Arrow batches.

    One that is dear says so in `row_seconds`: about how long a row takes on one core. Engines plan by it, and
    by what they measure where there is much to do; not of one that `fetches`, as it asks others for each row.
    """

    def open(self) -> BatchFunction:
        """The step, ready to work in this process."""
        ...


def chain(steps: Sequence[Step]) -> BatchFunction:
    """The steps opened, as one function; what an earlier step dropped passes by the later ones."""
    opened = [step.open() for step in steps]

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        told: list[Drop] = []
        for step in opened:
            batch, drops = schema.without_drops(step(batch))
            told += drops
        return schema.with_drops(batch, told)

    return run


@dataclass(frozen=True)
class ParseStep:
    """Raw records of one table to columns."""

    source: Source
    table: str
    where: Where = EVERYTHING
    count: bool = False
    columns: frozenset[str] | None = None

    def open(self) -> BatchFunction:
        """The source's parser; with `count`, the rows that come in are tallied as read."""
        parse = self.source.parser(self.table, self.where, self.columns)

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            parsed, drops = schema.without_drops(parse(batch))
            return schema.with_drops(parsed, [Drop(READ, batch.num_rows), *drops] if self.count else drops)

        return run


@dataclass(frozen=True)
class FilterStep:
    """Only the rows that pass `where`; the others are counted by the part they fail."""

    where: Where

    def open(self) -> BatchFunction:
        """The filter, evaluated on whole batches."""

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            return schema.with_drops(*self.where.apply(batch))

        return run


@dataclass(frozen=True)
class SelectStep:
    """Only these columns, in this order."""

    columns: tuple[str, ...]

    def open(self) -> BatchFunction:
        """The projection."""

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            return batch.select(list(self.columns))

        return run


@dataclass(frozen=True)
class TextStep:
    """What an encoder reads of each document: a text, and the content hash under which its vector is kept.

    Gives the columns `hash` (16 bytes) and `text`; a document whose columns are all empty has neither.
    """

    columns: tuple[str, ...]

    def open(self) -> BatchFunction:
        """The texts of a batch, joined and hashed."""

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            texts = [text for text in texts_of(batch, self.columns) if text]
            hashes = [content_hash(text) for text in texts]
            return pa.record_batch(
                {"hash": pa.array(hashes, pa.binary()), "text": pa.array(texts, pa.string())}
            )

        return run


@dataclass(frozen=True)
class EmbedStep:
    """Texts to vectors: `hash` and `text` become `hash` and `vector` (a list of float32)."""

    encoder: str
    options: dict[str, Any] = field(hash=False)
    cache: Path
    row_seconds: ClassVar[float] = 2e-3
    role: Role = "document"

    def open(self) -> BatchFunction:
        """The encoder, loaded once for this process."""
        encoder = open_encoder(self.encoder, self.options, models_cache(otherwise=self.cache))

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            vectors = encoder.embed_texts(batch.column("text").to_pylist(), role=self.role)
            return _embedded(batch.column("hash"), vectors, encoder.spec.dim)

        return run


@dataclass(frozen=True)
class PictureStep:
    """Which picture an encoder looks at for each document, and the key under which its vector is kept.

    Gives `hash`, `text` (the reference) and `id`; a document without a reference has none of them.
    """

    column: str
    base: str

    def open(self) -> BatchFunction:
        """The references of a batch, with their keys."""

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            keys = picture_keys(batch, self.column, self.base)
            there = pa.array([key is not None for key in keys], pa.bool_())
            kept = batch.filter(there)
            hashes = pa.array([key for key in keys if key is not None], pa.binary())
            columns = {"hash": hashes, "text": kept.column(self.column), "id": kept.column("id")}
            return pa.record_batch(columns)

        return run


@dataclass(frozen=True)
class EmbedPicturesStep:
    """Pictures to vectors: fetched, decoded and embedded at once; one that cannot be had becomes a drop."""

    encoder: str
    options: dict[str, Any] = field(hash=False)
    models: Path
    fetch: FetchOptions = field(hash=False)
    cache: Path
    base: str
    roots: tuple[str, ...] = ()
    retry_failed: bool = False
    row_seconds: ClassVar[float] = 5e-2
    fetches: ClassVar[bool] = True

    def open(self) -> BatchFunction:
        """The encoder, the fetcher and the threads that decode, once for this process."""
        encoder = open_encoder(self.encoder, self.options, models_cache(otherwise=self.models))
        fetcher = Fetcher(
            self.fetch, self.cache, base=self.base, roots=self.roots, retry_failed=self.retry_failed
        )
        loader = PictureLoader(fetcher, at_least=encoder.spec.jpeg_side)

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            waited, worked = loader.waited, loader.worked
            references = batch.column("text").to_pylist()
            vectors: list[np.ndarray[Any, np.dtype[np.float32]]] = []
            reasons: list[str | None] = []
            for loaded in loader.stream(references, _PICTURES):
                images = [each.image for each in loaded if each.image is not None]
                vectors += list(encoder.embed_images(images)) if images else []
                reasons += [None if each.image is not None else each.reason for each in loaded]
            kept = batch.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
            drops = [
                Drop(reason, 1, _failure(batch, row))
                for row, reason in enumerate(reasons)
                if reason is not None
            ]
            drops += [
                Drop(WAITED, round(1e6 * (loader.waited - waited))),
                Drop(WORKED, round(1e6 * (loader.worked - worked))),
            ]
            return schema.with_drops(_embedded(kept.column("hash"), vectors, encoder.spec.dim), drops)

        return run


def picture_keys(batch: pa.RecordBatch, column: str, base: str) -> list[bytes | None]:
    """For each row the key of its picture: of its address, or of a file's path, size and time of change."""
    return [
        _picture_key(reference, base) if reference else None for reference in batch.column(column).to_pylist()
    ]


def _picture_key(reference: str, base: str) -> bytes:
    if is_web(reference):
        return content_hash(reference)
    member = archives.parts_of(reference)
    try:
        version = storage.version(storage.join(base, member[0] if member else reference))
    except StorageError:
        version = "absent"  # told when it is to be read
    return content_hash(f"{reference}\n{version}")


def _failure(batch: pa.RecordBatch, row: int) -> str:
    told = {name: batch.column(name)[row].as_py() for name in ("id", "text", "hash")}
    return json.dumps({"id": told["id"], "record": told["text"], "hash": told["hash"].hex()})


def _embedded(hashes: pa.Array, vectors: Any, dim: int) -> pa.RecordBatch:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    ends = pa.array(np.arange(len(hashes) + 1, dtype=np.int32) * dim)
    return pa.record_batch({"hash": hashes, "vector": pa.ListArray.from_arrays(ends, flat)})


def texts_of(batch: pa.RecordBatch, columns: Sequence[str]) -> list[str]:
    """One text per row: the columns that have something, one after another; lists by commas."""
    parts = [[_said(value) for value in batch.column(name).to_pylist()] for name in columns]
    if len(parts) == 1:
        return parts[0]
    return [SEPARATOR.join(filter(None, row)) for row in zip(*parts, strict=True)]


def content_hash(text: str) -> bytes:
    """16 bytes that name a text wherever it is met (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(_said, value)))
    return "" if value is None else str(value).strip()
