"""The portable recipe: each step says what happens to a batch; an engine decides where.

A step is a frozen, picklable dataclass. Its `open` is called once per worker process and gives a function
from batch to batch, so that a model is loaded once per process and never once per batch. Steps never know
their engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from findling import schema
from findling.encoders.base import open_encoder
from findling.filters import EVERYTHING, Where
from findling.schema import READ, Drop
from findling.sources.base import BatchFunction, Source

SEPARATOR = ". "
EMBEDDED = ["hash", "vector"]
"""The columns of embeddings: 16 bytes of content hash, and the vector."""


class Step(Protocol):
    """A frozen, picklable recipe on Arrow batches."""

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

    def open(self) -> BatchFunction:
        """The encoder, loaded once for this process."""
        encoder = open_encoder(self.encoder, self.options, self.cache)

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            vectors = encoder.embed_texts(batch.column("text").to_pylist(), role="document")
            flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
            ends = np.arange(len(vectors) + 1, dtype=np.int32) * encoder.spec.dim
            lists = pa.ListArray.from_arrays(pa.array(ends), flat)
            return pa.record_batch([batch.column("hash"), lists], names=EMBEDDED)

        return run


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
