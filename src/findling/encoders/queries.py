"""The vectors of words that were asked before: kept by encoder, so that they outlive a snapshot."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from findling.encoders.base import Encoder, Vectors

_OVERHEAD = 300  # bytes that an entry takes beside its text and vector


class QueryVectors:
    """A bounded number of bytes of vectors; the least recently used go first. Thread-safe."""

    def __init__(self, limit: int = 32_000_000) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, encoder: Encoder, texts: Sequence[str]) -> list[Vectors]:
        """The (dim,) vector of each text as a query; those that are not kept are embedded in one call."""
        name = encoder.spec.id
        found = {text: vector for text in texts if (vector := self._get((name, text))) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            for text, row in zip(missing, encoder.embed_texts(missing, role="query"), strict=True):
                vector = row.copy()  # a row would hold on to all the others
                vector.flags.writeable = False
                found[text] = vector
                self._put((name, text), vector)
        return [found[text] for text in texts]

    def _get(self, key: tuple[str, str]) -> Vectors | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _put(self, key: tuple[str, str], vector: Vectors) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = vector
            self._bytes += _size(key, vector)
            while self._bytes > self._limit:
                self._bytes -= _size(*self._kept.popitem(last=False))


def _size(key: tuple[str, str], vector: Vectors) -> int:
    return len(key[1].encode("utf-8", "surrogatepass")) + vector.nbytes + _OVERHEAD
