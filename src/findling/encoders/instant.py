"""Instant queries: a text's vector as the sum of its words' vectors, fitted to a collection by the build.

Microseconds instead of a pass through a network. The words are those of the collection; a text of which it
knows too few is left to the full encoder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from findling.encoders.base import Vectors
from findling.errors import SnapshotError

WORDS, TABLE = "words.txt", "table.npy"
KNOWN = 2 / 3
"""The share of a text's words that must be known; the rest is left out of the sum."""
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The distinct words of a text, in lower case, in their order."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return list(dict.fromkeys(_WORD.findall(text.lower())))


class Instant:
    """A vector for each known word, mapped. Thread-safe."""

    def __init__(self, words: Sequence[str], table: NDArray[np.floating[Any]]) -> None:
        self._rows = {word: row for row, word in enumerate(words)}
        self._table = table

    def __len__(self) -> int:
        return len(self._rows)

    def embed(self, text: str) -> Vectors | None:
        """(dim,) float32 of length 1; None where fewer than KNOWN of the words are known."""
        words = words_of(text)
        rows = [row for word in words if (row := self._rows.get(word)) is not None]
        if not rows or len(rows) < KNOWN * len(words):
            return None
        total: Vectors = self._table[rows].sum(axis=0, dtype=np.float32)
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else None

    def write(self, path: Path) -> None:
        """Write the words and their vectors, as float16, into the directory `path`."""
        path.mkdir(parents=True, exist_ok=True)
        (path / WORDS).write_text("\n".join(self._rows), "utf-8")
        np.save(path / TABLE, self._table.astype(np.float16), allow_pickle=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """What `write` wrote, mapped; raises SnapshotError."""
        try:
            text = (path / WORDS).read_text("utf-8")
            table = np.load(path / TABLE, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        except (OSError, ValueError, EOFError) as error:
            raise SnapshotError(f"the instant queries in {path} cannot be opened: {error}") from error
        words = text.split("\n") if text else []
        if table.ndim != 2 or len(words) != len(table):
            raise SnapshotError(f"the instant queries in {path} have {len(words)} words for {table.shape}")
        return cls(words, table)
