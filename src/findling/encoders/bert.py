"""BERT-family text encoders from their safetensors, without torch, on CTranslate2.

A text's vector never depends on what else is embedded with it: batches hold texts of equal length only, so
that nothing is padded, and int8 activations are scaled token by token. So it is in int8 to the last bit; in
float32 libraries add in another order for other numbers of rows, which moves numbers by about 1e-7.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import ct2, hub
from findling.encoders.base import (
    EncoderSpec,
    Once,
    Role,
    Vectors,
    check_threads,
    read_options,
    reads_texts_only,
    share,
)
from findling.encoders.checkpoint import Checkpoint
from findling.encoders.presets import CONFIG, TOKENIZER, Pooling
from findling.encoders.processor import prefer_wide_instructions
from findling.encoders.texts import Tokenizer, equal_lengths, unit
from findling.errors import ConfigError

if TYPE_CHECKING:
    from PIL.Image import Image

TOKENS_IN_BATCH = 1024
"""How many tokens go through the network at once, at most: they fill the multipliers, and fit the cache."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder; None leaves it to the preset or the model's own files."""

    path: str | None = None
    precision: Literal["int8", "float32"] = "int8"
    pooling: Pooling | None = None
    max_tokens: int | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    threads: int = 1


class Bert:
    """A text encoder; its weights are found, checked, converted and loaded when it first embeds."""

    def __init__(self, checkpoint: Checkpoint, spec: EncoderSpec, options: Options) -> None:
        self._checkpoint = checkpoint
        self._spec = spec
        self._options = options
        self._model = Once(self._load)

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Bert:
        """See `findling.encoders.base.open_encoder`."""
        chosen = read_options(options, Options)
        check_threads(chosen.threads)
        checkpoint = Checkpoint(preset, chosen.path, cache)
        use = _use(checkpoint)
        spec = _spec(checkpoint, use, chosen)
        if not 3 <= int(spec.options["max_tokens"]) <= use.positions:
            raise ConfigError(
                f"encoder option max_tokens is {spec.options['max_tokens']}",
                todo=f"{spec.name} takes 3 to {use.positions}",
            )
        return cls(checkpoint, spec, chosen)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is, known without loading anything."""
        return self._spec

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:
        """(n, dim) float32 rows of length 1, row i for text i. Thread-safe; the GIL is free meanwhile.

        Longer texts are cut at `max_tokens`; the empty text has a vector too. Long lists are faster for each
        text than short ones, since only texts of equal length share a batch.
        """
        model = self._model()
        tokens = model.tokenizer(texts, self._spec.prefixes.get(role, ""))
        vectors = np.empty((len(texts), self._spec.dim), np.float32)

        def embed(rows: NDArray[np.intp]) -> None:
            ids = np.array([tokens[row] for row in rows], np.int32)
            vectors[rows] = model.forward(ids)

        share(embed, equal_lengths([len(ids) for ids in tokens], TOKENS_IN_BATCH), self._options.threads)
        return vectors

    def embed_images(self, images: list[Image]) -> Vectors:
        """Raises EncoderError: this encoder reads texts only."""
        reads_texts_only(self._spec, images)

    def _load(self) -> _Model:
        precision = self._options.precision
        with ExitStack() as keep:
            path = self._checkpoint.converted(
                lambda sha256: ct2.facts(sha256, precision),
                lambda files, out: ct2.convert(files, precision, out),
                keep,
            )
            return _Model(path, self._spec, self._options)


class _Model:
    """A loaded network with its tokenizer."""

    def __init__(self, path: Path, spec: EncoderSpec, options: Options) -> None:
        prefer_wide_instructions()
        import ctranslate2

        self.tokenizer = Tokenizer(path / TOKENIZER, int(spec.options["max_tokens"]), special=True)
        self._encoder: Any = ctranslate2.Encoder(
            str(path),
            device="cpu",
            compute_type=options.precision,
            inter_threads=options.threads,
            intra_threads=1,
        )
        self._view = ctranslate2.StorageView.from_array
        self._cls = spec.options["pooling"] == "cls"

    def forward(self, ids: NDArray[np.int32]) -> Vectors:
        """(n, dim) float32 unit rows for (n, length) int32 token ids, all of them real: none is padding."""
        lengths = np.full(len(ids), ids.shape[1], np.int32)
        output = self._encoder.forward_batch(self._view(ids), self._view(lengths))
        states: NDArray[np.float32] = np.asarray(output.last_hidden_state)
        return unit(states[:, 0] if self._cls else states.mean(axis=1))


class _Use(NamedTuple):
    """How a model is to be used; `positions` is the most tokens that it can read."""

    dim: int
    pooling: Pooling
    max_tokens: int
    prefixes: dict[str, str]
    positions: int


def _use(checkpoint: Checkpoint) -> _Use:
    """As its preset says, or the files in its directory."""
    if (known := checkpoint.preset) is not None:
        return _Use(known.dim, known.pooling, known.max_tokens, known.prefixes, known.positions)
    config = checkpoint.files().paths[CONFIG]
    shape = ct2.Architecture.read(hub.read_json(config), config)
    beside = hub.sentence_settings(config.parent)
    longest = min(beside.max_tokens or shape.positions, shape.positions)
    return _Use(shape.dim, beside.pooling, longest, beside.prefixes, shape.positions)


def _spec(checkpoint: Checkpoint, use: _Use, options: Options) -> EncoderSpec:
    given = {"query": options.query_prefix, "document": options.document_prefix}
    chosen = {**use.prefixes, **{role: text for role, text in given.items() if text is not None}}
    return checkpoint.spec(
        dim=use.dim,
        prefixes={role: text for role, text in chosen.items() if text},
        options={
            "runtime": "ctranslate2",
            "precision": options.precision,
            "pooling": options.pooling or use.pooling,
            "max_tokens": str(options.max_tokens or use.max_tokens),
            "tokenizer": checkpoint.sha256[TOKENIZER][:16],
            "config": checkpoint.sha256[CONFIG][:16],
        },
    )
