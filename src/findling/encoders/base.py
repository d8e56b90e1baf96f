"""What an encoder is: texts and pictures in, vectors out, with a spec that says exactly which."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling import registry
from findling.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

Role = Literal["document", "query"]
Vectors = NDArray[np.float32]
JPEG_SIDE = "jpeg_side"


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True, dict=True):
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
    modalities: list[str] = msgspec.field(default_factory=lambda: ["text"])
    options: dict[str, str] = {}

    @property
    def jpeg_side(self) -> int | None:
        """How short a side a JPEG may have that is decoded at a reduced scale; None: it is decoded whole."""
        return int(self.options[JPEG_SIDE]) if JPEG_SIDE in self.options else None

    @functools.cached_property
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


OptionsOf = TypeVar("OptionsOf", bound=msgspec.Struct)


def read_options(given: dict[str, Any], kind: type[OptionsOf]) -> OptionsOf:
    """An encoder's options, typed; raises ConfigError naming the key, what was found and what is allowed."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        allowed = ", ".join(kind.__struct_fields__)
        raise ConfigError(f"encoder options: {error}", todo=f"allowed are {allowed}") from None


def check_threads(threads: int) -> None:
    """Raises ConfigError for an option `threads` under 1."""
    if threads < 1:
        raise ConfigError(f"encoder option threads is {threads}", todo="it must be 1 or more")


def reads_texts_only(spec: EncoderSpec, images: list[Image]) -> NoReturn:
    """What an encoder of texts answers to pictures: EncoderError."""
    raise EncoderError(f"{spec.name} embeds texts only, not {len(images)} pictures")


Made = TypeVar("Made")


class Once(Generic[Made]):
    """Something dear, made when it is first asked for, and once, however many threads ask at that moment."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[Made] = []

    def __call__(self) -> Made:
        """What was made; what making it raises, and then the next call tries again."""
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]


Batch = TypeVar("Batch")


def share(work: Callable[[Batch], None], batches: Iterable[Batch], threads: int) -> None:
    """Does the work for each batch, in so many threads; raises what it raises."""
    given = list(batches)
    if threads == 1 or len(given) < 2:
        for batch in given:
            work(batch)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, given))


def open_encoder(name: str, options: dict[str, Any] | None = None, cache: Path | None = None) -> Encoder:
    """The encoder of a known name, or of a model's directory; its weights load when it first embeds.

    `options` are the backend's own, `cache` is where models are looked for and converted ones are kept.
    Raises ConfigError for an unknown name or option, EncoderError for a directory without a usable model.
    """
    given = dict(options or {})
    preset: str | None = None
    if (
        "/" in name
        or name.startswith(".")
        or (("encoder", name) not in registry.BACKENDS and Path(name).is_dir())
    ):
        from findling.encoders.hub import family_of

        backend = _FAMILIES[family_of(Path(name))]
        given["path"] = name
    else:
        backend, preset = name, registry.find("encoder", name).preset
    return cast(Encoder, registry.load("encoder", backend).from_options(preset, given, cache))


_FAMILIES = {"bert": "minilm", "static": "potion-base-8m", "clip": "tiny-clip"}
"""For each family that reads a directory, a name under which its class is registered."""
