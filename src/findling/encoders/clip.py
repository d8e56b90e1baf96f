"""CLIP: texts and pictures in one vector space, from its safetensors, without torch, on ONNX Runtime.

A vector does not depend on what else is embedded with it: texts share a batch with texts of equal length
only, nothing is padded, and 8-bit activations are scaled by what calibration saw, not by the batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import clip_files, hub
from findling.encoders.base import (
    JPEG_SIDE,
    EncoderSpec,
    Once,
    Role,
    Vectors,
    check_threads,
    read_options,
    share,
)
from findling.encoders.checkpoint import Checkpoint
from findling.encoders.clip_config import Shape
from findling.encoders.clip_pictures import DRAFT
from findling.encoders.presets import CONFIG, PREPROCESSOR, TOKENIZER
from findling.encoders.texts import Tokenizer, equal_lengths, unit
from findling.errors import ConfigError, MissingExtra

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

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self._checkpoint = checkpoint
        self._spec = _spec(checkpoint, options)
        self._options = options
        self._model = Once(self._load)

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Clip:
        """See `findling.encoders.base.open_encoder`."""
        chosen = read_options(options, Options)
        check_threads(chosen.threads)
        if chosen.device == "cuda" and chosen.precision == "int8":
            raise ConfigError(
                "encoder option precision is int8, which is for processors, with device = 'cuda'",
                todo='say precision = "float32"',
            )
        return cls(Checkpoint(preset, chosen.path, cache, clip_files.find), chosen)

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

        share(embed, equal_lengths([len(ids) for ids in tokens], TOKENS_IN_BATCH), self._options.threads)
        return vectors

    def embed_images(self, images: list[Image]) -> Vectors:
        """(n, dim) float32 rows of length 1, row i for picture i, of any size and mode. Thread-safe."""
        model = self._model()
        vectors = np.empty((len(images), self._spec.dim), np.float32)

        def embed(start: int) -> None:
            some = images[start : start + PICTURES_IN_BATCH]
            vectors[start : start + len(some)] = model.pictures(some)

        share(embed, range(0, len(images), PICTURES_IN_BATCH), self._options.threads)
        return vectors

    def _load(self) -> _Model:
        provider, precision = _provider(self._options), self._options.precision
        with ExitStack() as keep:
            path = self._checkpoint.converted(
                lambda sha256: clip_files.facts(sha256, precision),
                lambda files, out: clip_files.convert(files, precision, out),
                keep,
            )
            return _Model(path, provider)


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


def _spec(checkpoint: Checkpoint, options: Options) -> EncoderSpec:
    known, sha256 = checkpoint.preset, checkpoint.sha256
    if known is not None:
        dim, tokens, jpeg_side = known.dim, known.max_tokens, DRAFT * known.side
    else:
        config = checkpoint.files().paths[CONFIG]
        shape = Shape.read(hub.read_json(config), config)
        dim, tokens = shape.dim, shape.text.max_position_embeddings
        jpeg_side = clip_files.preprocessing(config.parent, shape).jpeg_side
    words = sha256.get(TOKENIZER) or sha256[clip_files.MERGES]
    return checkpoint.spec(
        dim=dim,
        modalities=["text", "image"],
        options={
            "runtime": "onnxruntime",
            "precision": options.precision,
            "max_tokens": str(tokens),
            "tokenizer": words[:16],
            "config": sha256[CONFIG][:16],
            "pictures": sha256[PREPROCESSOR][:16],
            JPEG_SIDE: str(jpeg_side),
        },
    )
