"""Static encoders of the model2vec family: a text's vector is the mean of its tokens' vectors.

The layout (https://github.com/MinishLab/model2vec): a safetensors file with `embeddings` (tokens or clusters
by dim), and perhaps `weights` (one per token) and `mapping` (the row of each token). Hundreds of times faster
than a network, and blind to the order of words.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import hub
from findling.encoders.base import EncoderSpec, Once, Role, Vectors, read_options, reads_texts_only
from findling.encoders.checkpoint import Checkpoint
from findling.encoders.presets import TOKENIZER, WEIGHTS
from findling.encoders.texts import Tokenizer, unit
from findling.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_TOKENS = 8192


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder."""

    path: str | None = None
    max_tokens: int = 512


class Static:
    """A text encoder of token vectors; its weights are found and checked when it first embeds."""

    def __init__(self, checkpoint: Checkpoint, options: Options) -> None:
        self._spec = _spec(checkpoint, options)
        self._table = Once(lambda: _Table(checkpoint.files(), options.max_tokens))

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Static:
        """See `findling.encoders.base.open_encoder`."""
        chosen = read_options(options, Options)
        if not 1 <= chosen.max_tokens <= MOST_TOKENS:
            raise ConfigError(
                f"encoder option max_tokens is {chosen.max_tokens}", todo=f"it must be 1 to {MOST_TOKENS}"
            )
        return cls(Checkpoint(preset, chosen.path, cache), chosen)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is, known without loading anything."""
        return self._spec

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:  # noqa: ARG002 - both alike
        """(n, dim) float32 rows of length 1, row i for text i. Thread-safe.

        A text with no known token has a row of zeros. Longer texts are cut after `max_tokens` known tokens.
        """
        return self._table().means(texts)

    def embed_images(self, images: list[Image]) -> Vectors:
        """Raises EncoderError: this encoder reads texts only."""
        reads_texts_only(self._spec, images)


class _Table:
    """The token vectors, weighted and in the order of token ids, with the tokenizer."""

    def __init__(self, files: hub.Files, max_tokens: int) -> None:
        arrays = hub.read_arrays(files.paths[WEIGHTS])
        vectors = _embeddings(arrays, files.paths[WEIGHTS]).astype(np.float32)
        if (mapping := arrays.get("mapping")) is not None:
            vectors = vectors[mapping.astype(np.intp)]
        if (weights := arrays.get("weights")) is not None:
            vectors = vectors * weights.astype(np.float32)[:, None]
        self._vectors: NDArray[np.float32] = np.ascontiguousarray(vectors)
        self._tokenizer = Tokenizer(files.paths[TOKENIZER], max_tokens, special=False, cut=False)
        self._unknown = _unknown_token(files.paths[TOKENIZER])
        self._max_tokens = max_tokens
        if self._tokenizer.size > len(self._vectors):
            raise EncoderError(f"{files.paths[WEIGHTS]} has fewer vectors than its tokenizer has tokens")

    def means(self, texts: list[str]) -> Vectors:
        """Unit means by text, for which their sums do; zeros where there is nothing to take the mean of."""
        result = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for row, ids in enumerate(self._tokenizer(texts)):
            known = [number for number in ids if number != self._unknown][: self._max_tokens]
            if known:
                np.add.reduce(self._vectors.take(known, axis=0), axis=0, out=result[row])
        return unit(result)


def _spec(checkpoint: Checkpoint, options: Options) -> EncoderSpec:
    known = checkpoint.preset
    return checkpoint.spec(
        dim=known.dim if known else _dimension(checkpoint.files().paths[WEIGHTS]),
        options={
            "pooling": "mean",
            "max_tokens": str(options.max_tokens),
            "tokenizer": checkpoint.sha256[TOKENIZER][:16],
        },
    )


def _embeddings(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    vectors = arrays.get("embeddings")
    if vectors is None or vectors.ndim != 2:
        raise EncoderError(f"{path} holds no table 'embeddings', so it is not of the model2vec family")
    return vectors


def _dimension(path: Path) -> int:
    return int(_embeddings(hub.read_arrays(path), path).shape[1])


def _unknown_token(path: Path) -> int | None:
    """The id of the token for what the vocabulary lacks; it says nothing, so it has no share in the mean."""
    model = hub.read_json(path).get("model", {})
    if (number := model.get("unk_id")) is not None:  # Unigram
        return int(number)
    vocabulary = model.get("vocab")
    found = vocabulary.get(model.get("unk_token")) if isinstance(vocabulary, dict) else None
    return None if found is None else int(found)
