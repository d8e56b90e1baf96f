"""A toy encoder for tests and for trying things out: deterministic, no weights, nothing to install.

Equal words give near vectors, since a text is the sum of fixed random signs for its words and, weaker, for
their three-letter pieces (random indexing: Kanerva et al. 2000, "Random indexing of text samples"). It knows
nothing of meaning, and the README's figures never come from it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders.base import EncoderSpec, Role, Vectors, read_options
from findling.encoders.texts import encodable, unit
from findling.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

_METHOD = "words 1, trigrams 1/4; 4x4x4 colours"
_WORD = re.compile(r"\w+")
_SIDE = 32
_LONGEST = 16_384


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder."""

    dim: int = 64


class Hashing:
    """Words and colours to vectors by hashing."""

    def __init__(self, dim: int = 64) -> None:
        if dim % 8 or not 8 <= dim <= 512:
            raise ConfigError(f"encoder option dim is {dim}", todo="it must be a multiple of 8 from 8 to 512")
        self._dim = dim

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Hashing:  # noqa: ARG003
        """An encoder with the option `dim`; raises ConfigError for any other."""
        return cls(read_options(options, Options).dim)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is: its method has a hash in place of weights."""
        return EncoderSpec(
            name="hashing",
            revision="1",
            sha256=hashlib.sha256(_METHOD.encode()).hexdigest(),
            dim=self._dim,
            modalities=["text", "image"],
        )

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:  # noqa: ARG002 - both alike
        """(n, dim) float32 rows of length 1, row i for text i. Thread-safe."""
        rows = np.zeros((len(texts), self._dim), np.float32)
        for row, text in enumerate(texts):
            words = _WORD.findall(encodable(text[:_LONGEST]).casefold())
            for word in words or [""]:
                rows[row] += _of_word(word, self._dim)
            if not rows[row].any():  # signs can cancel
                rows[row] = _signs(" ".join(words), self._dim)
        return unit(rows)

    def embed_images(self, images: list[Image]) -> Vectors:
        """(n, dim) float32 rows of length 1: near for pictures with like shares of 64 coarse colours."""
        rows = np.zeros((len(images), self._dim), np.float32)
        for row, image in enumerate(images):
            pixels = np.asarray(image.convert("RGB").resize((_SIDE, _SIDE)), np.uint8) >> 6
            bins = (pixels[..., 0] * 16 + pixels[..., 1] * 4 + pixels[..., 2]).ravel()
            for colour, count in enumerate(np.bincount(bins, minlength=64)):
                if count:
                    rows[row] += np.float32(np.sqrt(count)) * _signs(f"colour {colour}", self._dim)
        return unit(rows)


@functools.lru_cache(maxsize=65_536)
def _of_word(word: str, dim: int) -> NDArray[np.float32]:
    padded = f"<{word}>"
    vector = _signs(word, dim).copy()
    for start in range(len(padded) - 2):
        vector += _signs(f"3:{padded[start : start + 3]}", dim) / np.float32(4)
    return vector


@functools.lru_cache(maxsize=65_536)
def _signs(feature: str, dim: int) -> NDArray[np.float32]:
    digest = hashlib.blake2b(feature.encode(), digest_size=dim // 8).digest()
    return np.unpackbits(np.frombuffer(digest, np.uint8)).astype(np.float32) * 2 - 1
