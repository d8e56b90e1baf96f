"""CLIP: texts and pictures in one vector space, from its safetensors, without torch, on ONNX Runtime.

A vector does not depend on what else is embedded with it: texts share a batch with texts of equal length
only, nothing is padded, and 8-bit activations are scaled by what calibration saw, not by the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import clip_files, hub, kept
from findling.encoders.base import EncoderSpec, Role, Vectors, read_options
from findling.encoders.clip_config import Shape
from findling.encoders.presets import CONFIG, PREPROCESSOR, PRESETS, TOKENIZER, WEIGHTS
from findling.encoders.texts import Tokenizer, unit
from findling.errors import ConfigError, EncoderError, MissingExtra

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES_IN_BATCH = 8
"""How many pictures go through at once: they fill the multipliers, and fit the cache."""

TOKENS_IN_BATCH = 512
"""How many tokens of texts go through at once, at most."""

_CUDA = "CUDAExecutionProvider"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder."""

    path: str | None = None
    precision: Literal["int8", "float32"] = "int8"
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Clip:
    """An encoder of texts and pictures; its weights are found, converted and loaded when it first embeds."""

    def __init__(self, spec: EncoderSpec, options: Options, preset: str | None, cache: Path | None) -> None:
        self._spec = spec
        self._options = options
        self._preset = preset
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: _Model | None = None

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Clip:
        """An encoder from a preset's name, a `path`, or both (then the files must be the preset's).

        Raises ConfigError for an unknown option or a wrong value, EncoderError for a `path` without a model.
        """
        chosen = read_options(options, Options)
        if chosen.threads < 1:
            raise ConfigError(f"encoder option threads is {chosen.threads}", todo="it must be 1 or more")
        if chosen.device == "cuda" and chosen.precision == "int8":
            raise ConfigError(
                "encoder option precision is int8, which is for processors, with device = 'cuda'",
                todo='say precision = "float32"',
            )
        return cls(_spec(preset, chosen, cache), chosen, preset, cache)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is, known without loading anything."""
        return self._spec

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:  # noqa: ARG002 - both alike
        """(n, dim) float32 rows of length 1, row i for text i. Thread-safe; the GIL is free meanwhile.

        Texts are cut at the model's number of tokens (77 with OpenAI's); the empty text has a vector too.
        """
        model = self._model()
        tokens = [clip_files.to_end(ids, model.shape.text) for ids in model.tokenizer(texts)]
        vectors = np.empty((len(texts), self._spec.dim), np.float32)

        def embed(rows: NDArray[np.intp]) -> None:
            vectors[rows] = model.texts(np.array([tokens[row] for row in rows], np.int32))

        self._share(embed, list(_equal_lengths(np.array([len(ids) for ids in tokens], np.intp))))
        return vectors

    def embed_images(self, images: list[Image]) -> Vectors:
        """(n, dim) float32 rows of length 1, row i for picture i, of any size and mode. Thread-safe."""
        model = self._model()
        vectors = np.empty((len(images), self._spec.dim), np.float32)

        def embed(start: int) -> None:
            some = images[start : start + PICTURES_IN_BATCH]
            vectors[start : start + len(some)] = model.pictures(some)

        self._share(embed, list(range(0, len(images), PICTURES_IN_BATCH)))
        return vectors

    def _share(self, embed: Callable[[Any], None], batches: list[Any]) -> None:
        if self._options.threads == 1 or len(batches) < 2:
            for batch in batches:
                embed(batch)
        else:
            with ThreadPoolExecutor(self._options.threads) as pool:
                list(pool.map(embed, batches))

    def _model(self) -> _Model:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Model:
        provider = _provider(self._options)
        with ExitStack() as keep:
            return _Model(self._converted(keep), provider)

    def _converted(self, keep: ExitStack) -> Path:
        precision, path = self._options.precision, self._options.path
        pinned = PRESETS[self._preset] if self._preset is not None and path is None else None
        if pinned and not pinned.unpinned and self._cache is not None:
            # What was converted from files of the pinned hashes needs those files no more.
            there = kept.place(self._cache, clip_files.facts(pinned.files, precision))
            if kept.intact(there):
                return there
        files = clip_files.find(self._preset, path, self._cache)
        if files.sha256[WEIGHTS] != self._spec.sha256:
            raise EncoderError(f"{files.paths[WEIGHTS]} changed since this encoder was opened")
        target = (
            kept.place(self._cache, clip_files.facts(files.sha256, precision))
            if self._cache is not None
            else None
        )
        return kept.or_made(target, lambda out: clip_files.convert(files, precision, out), keep)


class _Model:
    """Both loaded networks with the tokenizer and the preparation of pictures."""

    def __init__(self, path: Path, provider: str) -> None:
        self.shape = Shape.read(hub.read_json(path / CONFIG), path / CONFIG)
        self.tokenizer = Tokenizer(path / TOKENIZER, self.shape.text.max_position_embeddings, special=True)
        self._prepare = clip_files.preprocessing(path, self.shape)
        self._side = self.shape.vision.grid * self.shape.vision.patch_size
        self._vision = clip_files.session(path / clip_files.VISION, provider)
        self._text = clip_files.session(path / clip_files.TEXT, provider)

    def texts(self, ids: NDArray[np.int32]) -> Vectors:
        """(n, dim) float32 unit rows for (n, length) int32 token ids."""
        return unit(self._text.run(None, {"ids": ids})[0])

    def pictures(self, images: Iterable[Image]) -> Vectors:
        """(n, dim) float32 unit rows."""
        # A picture that the patches do not fill has a rest at the right and below, which is not looked at.
        pixels = np.stack([self._prepare(image)[: self._side, : self._side] for image in images])
        return unit(self._vision.run(None, {"pixels": pixels})[0])


def _provider(options: Options) -> str:
    if options.device == "cpu" or options.precision == "int8":
        return "CPUExecutionProvider"
    import onnxruntime

    there = _CUDA in onnxruntime.get_available_providers()
    if options.device == "cuda" and not there:
        raise MissingExtra(
            "encoder option device is 'cuda', but this ONNX Runtime has no CUDA provider",
            todo="run: pip install onnxruntime-gpu in place of onnxruntime, or say device = 'cpu'",
        )
    return _CUDA if there else "CPUExecutionProvider"


def _equal_lengths(lengths: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Rows of equal length together, the longest first, at most TOKENS_IN_BATCH tokens at a time."""
    for length in np.unique(lengths)[::-1]:
        same = np.flatnonzero(lengths == length)
        step = max(1, TOKENS_IN_BATCH // int(length))
        yield from (same[start : start + step] for start in range(0, len(same), step))


def _spec(preset: str | None, options: Options, cache: Path | None) -> EncoderSpec:
    known = PRESETS[preset] if preset is not None else None
    if known is not None and not known.unpinned:
        name, revision, sha256 = known.repo, known.revision, known.files
        dim, tokens = known.dim, known.max_tokens
        words = sha256[TOKENIZER]
    else:
        files = clip_files.find(preset, options.path, cache)
        sha256 = files.sha256
        shape = Shape.read(hub.read_json(files.paths[CONFIG]), files.paths[CONFIG])
        name, revision = (
            (known.repo, known.revision) if known else (Path(options.path or "").resolve().name, "local")
        )
        dim, tokens = shape.dim, shape.text.max_position_embeddings
        words = sha256.get(TOKENIZER) or sha256[clip_files.MERGES]
    return EncoderSpec(
        name=name,
        revision=revision,
        sha256=sha256[WEIGHTS],
        dim=dim,
        modalities=["text", "image"],
        options={
            "runtime": "onnxruntime",
            "precision": options.precision,
            "max_tokens": str(tokens),
            "tokenizer": words[:16],
            "config": sha256[CONFIG][:16],
            "pictures": sha256[PREPROCESSOR][:16],
        },
    )
