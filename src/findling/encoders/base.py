"""What an encoder is: texts and pictures in, vectors out, with a spec that says exactly which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Role = Literal["document", "query"]
Vectors = NDArray[np.float32]


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides an encoder's vectors, so that two equal specs mean interchangeable vectors.

    `sha256` is that of the weights, `dim` the vectors' length, `options` what changes numbers (a precision,
    a pooling), `prefixes` what is put before a text in each role.
    """

    name: str
    revision: str
    sha256: str
    dim: int
    normalised: bool = True
    prefixes: dict[str, str] = {}
    modalities: list[str] = ["text"]
    options: dict[str, str] = {}

    @property
    def id(self) -> str:
        """A short name for file paths and cache keys: the name and a digest of everything else."""
        import hashlib

        digest = hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()
        return f"{self.name.rpartition('/')[2]}-{digest[:12]}"


class Encoder(Protocol):
    """Maps texts, pictures or both into one vector space."""

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is; cheap, known before anything is embedded."""
        ...

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:
        """(n, dim) float32, row i for text i, whatever else is in the list. Thread-safe."""
        ...

    def embed_images(self, images: list[Image]) -> Vectors:
        """(n, dim) float32; raises EncoderError where the encoder knows no pictures."""
        ...
