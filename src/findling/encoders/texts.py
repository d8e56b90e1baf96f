"""Texts to token ids: whatever a dump holds, without a crash and without waiting on one endless text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.encoders.base import Vectors
from findling.errors import EncoderError

CHARACTERS_PER_TOKEN = 64
"""How much of a text is read for each token kept: words are shorter, so only runs of blanks could differ."""


class Tokenizer:
    """A tokenizer.json, cutting at `max_tokens` with special tokens counted, if it is to `cut`. Thread-safe.

    Lone surrogates become U+FFFD, as they have no UTF-8. Raises EncoderError where the file cannot be read.
    """

    def __init__(self, path: Path, max_tokens: int, *, special: bool, cut: bool = True) -> None:
        import tokenizers

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise EncoderError(f"{path} is not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if cut:
            self._tokenizer.enable_truncation(max_tokens)
        self._special = special
        self.size: int = self._tokenizer.get_vocab_size()
        self._longest = max_tokens * CHARACTERS_PER_TOKEN

    def __call__(self, texts: Sequence[str], prefix: str = "") -> list[list[int]]:
        """Token ids of each text, the prefix before it."""
        given = [encodable(prefix + text[: self._longest]) for text in texts]
        if len(given) == 1:  # no thread pool to wake: a query waits for this
            return [self._tokenizer.encode(given[0], add_special_tokens=self._special).ids]
        encoded = self._tokenizer.encode_batch_fast(given, add_special_tokens=self._special)
        return [each.ids for each in encoded]


def equal_lengths(lengths: Sequence[int], tokens: int) -> Iterator[NDArray[np.intp]]:
    """Rows of equal length together, the longest first, at most `tokens` tokens (or one text) at a time.

    Nothing in such a batch is padding, so that a text's vector cannot depend on the texts beside it.
    """
    found = np.asarray(lengths, np.intp)
    order = np.argsort(-found, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(found[order])) + 1):
        if len(same):
            step = max(1, tokens // max(1, int(found[same[0]])))
            yield from (same[start : start + step] for start in range(0, len(same), step))


def encodable(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD; a pair of them becomes what it stands for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def unit(vectors: Vectors) -> Vectors:
    """(n, dim) float32 rows scaled to length 1; a row of zeros stays one."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, optimize=False))
    scaled: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
    return scaled
