"""Texts of our own to vectors, by an engine and through a cache, as a source's texts are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from findling.embeddings import Embeddings, hash_halves
from findling.engines.base import Engine
from findling.sources.base import Split
from findling.steps import Step, content_hash

_ROWS = 2048


@dataclass(frozen=True)
class Texts:
    """A dataset of `hash` and `text`; its splits are named by what they hold."""

    texts: Sequence[str]

    def splits(self) -> list[Split]:
        """A split for each 2,048 texts."""
        starts = range(0, len(self.texts), _ROWS)
        return [
            Split("", "", self._name(start), start, min(_ROWS, len(self.texts) - start)) for start in starts
        ]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The texts of a split, in one batch."""
        texts = self.texts[split.start : split.start + split.length]
        hashes = pa.array([content_hash(text) for text in texts], pa.binary())
        yield pa.record_batch({"hash": hashes, "text": pa.array(texts, pa.string())})

    def _name(self, start: int) -> str:
        hashes = b"".join(content_hash(text) for text in self.texts[start : start + _ROWS])
        return f"texts-{hashlib.blake2b(hashes, digest_size=8).hexdigest()}"


def vectors_of(
    engine: Engine, cache: Embeddings, step: Step, texts: Sequence[str], name: str, dim: int
) -> NDArray[np.float16]:
    """(n, dim) for n texts; `step` embeds those that the cache does not hold, `name` is for progress."""
    if not texts:
        return np.empty((0, dim), np.float16)
    hashes = [content_hash(text) for text in texts]
    wanted = hash_halves(hashes)
    held = cache.held(wanted)
    lacking = {key: text for key, text, there in zip(hashes, texts, held, strict=True) if not there}
    if lacking:
        engine.run(Texts(tuple(lacking.values())), [step], cache.path, name)
    vectors: NDArray[Any] = np.empty((len(texts), dim), np.float16)
    cache.gather(wanted, vectors)
    return vectors
