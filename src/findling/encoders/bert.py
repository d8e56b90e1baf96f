"""BERT-family text encoders from their safetensors, without torch, on CTranslate2.

A text's vector never depends on what else is embedded with it, to the last bit: batches hold texts of equal
length only, so that nothing is padded, int8 activations are scaled token by token, and float32 matrices are
never so slim that another way of multiplying is chosen for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import ct2, hub
from findling.encoders.base import EncoderSpec, Role, Vectors, read_options
from findling.encoders.presets import CONFIG, PRESETS, TOKENIZER, WEIGHTS, Pooling
from findling.encoders.texts import Tokenizer, unit
from findling.errors import ConfigError, EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

TOKENS_IN_BATCH = 1024
"""How many tokens go through the network at once, at most: they fill the multipliers, and fit the cache."""

FLOAT_TOKENS = 32
"""How few may in float32: libraries multiply slim matrices (under 16 rows) in another order of additions."""


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

    def __init__(self, spec: EncoderSpec, options: Options, preset: str | None, cache: Path | None) -> None:
        self._spec = spec
        self._options = options
        self._preset = preset
        self._cache = cache
        self._lock = threading.Lock()
        self._loaded: _Model | None = None

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Bert:
        """An encoder from a preset's name, a `path`, or both (then the files must be the preset's).

        Raises ConfigError for an unknown option or a wrong value, EncoderError for a `path` without a model.
        """
        chosen = read_options(options, Options)
        if chosen.threads < 1:
            raise ConfigError(f"encoder option threads is {chosen.threads}", todo="it must be 1 or more")
        if preset is not None:
            spec, positions = _preset_spec(preset, chosen)
        elif chosen.path is not None:
            spec, positions = _directory_spec(Path(chosen.path), chosen)
        else:
            raise ConfigError("the encoder has neither a preset nor a path to a model's directory")
        if not 3 <= int(spec.options["max_tokens"]) <= positions:
            raise ConfigError(
                f"encoder option max_tokens is {spec.options['max_tokens']}",
                todo=f"{spec.name} takes 3 to {positions}",
            )
        return cls(spec, chosen, preset, cache)

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

        batches = list(_batches(np.array([len(ids) for ids in tokens]), TOKENS_IN_BATCH))
        if self._options.threads == 1 or len(batches) == 1:
            for rows in batches:
                embed(rows)
        else:
            with ThreadPoolExecutor(self._options.threads) as pool:
                list(pool.map(embed, batches))
        return vectors

    def embed_images(self, images: list[Image]) -> Vectors:
        """Raises EncoderError: this encoder reads texts only."""
        raise EncoderError(f"{self._spec.name} embeds texts only, not {len(images)} pictures")

    def _model(self) -> _Model:
        if self._loaded is None:
            with self._lock:
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Model:
        with ExitStack() as keep:
            path = self._converted(keep)
            return _Model(path, self._spec, self._options)

    def _converted(self, keep: ExitStack) -> Path:
        precision, path = self._options.precision, self._options.path
        if self._preset is not None and path is None and self._cache is not None:
            # What was converted from files of the pinned hashes needs those files no more.
            kept = ct2.converted_path(self._cache, PRESETS[self._preset].files, precision)
            if ct2.intact(kept):
                return kept
        files = hub.find(self._preset, path, self._cache)
        if files.sha256[WEIGHTS] != self._spec.sha256:
            raise EncoderError(f"{files.paths[WEIGHTS]} changed since this encoder was opened")
        return ct2.converted(files, precision, self._cache, keep)


class _Model:
    """A loaded network with its tokenizer."""

    def __init__(self, path: Path, spec: EncoderSpec, options: Options) -> None:
        ct2.prefer_wide_instructions()
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
        self._least = FLOAT_TOKENS if options.precision == "float32" else 1

    def forward(self, ids: NDArray[np.int32]) -> Vectors:
        """(n, dim) float32 unit rows for (n, length) int32 token ids, all of them real: none is padding."""
        texts, length = ids.shape
        if texts * length < self._least:
            ids = np.resize(ids, (-(-self._least // length), length))
        lengths = np.full(len(ids), length, np.int32)
        output = self._encoder.forward_batch(self._view(ids), self._view(lengths))
        states: NDArray[np.float32] = np.asarray(output.last_hidden_state)[:texts]
        return unit(states[:, 0] if self._cls else states.mean(axis=1))


def _batches(lengths: NDArray[np.intp], tokens: int) -> Iterator[NDArray[np.intp]]:
    """Rows of equal length together, the longest first, at most `tokens` tokens (or one text) at a time."""
    order = np.argsort(-lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(same):
            step = max(1, tokens // max(1, int(lengths[same[0]])))
            for start in range(0, len(same), step):
                yield same[start : start + step]


def _preset_spec(name: str, options: Options) -> tuple[EncoderSpec, int]:
    preset = PRESETS[name]
    return _spec(
        options,
        name=preset.repo,
        revision=preset.revision,
        sha256=preset.files,
        dim=preset.dim,
        pooling=preset.pooling,
        max_tokens=preset.max_tokens,
        prefixes=preset.prefixes,
    ), preset.positions


def _directory_spec(directory: Path, options: Options) -> tuple[EncoderSpec, int]:
    files = hub.checked(directory)
    shape = ct2.Architecture.read(hub.read_json(files.paths[CONFIG]), files.paths[CONFIG])
    beside = hub.sentence_settings(directory)
    return _spec(
        options,
        name=directory.resolve().name,
        revision="local",
        sha256=files.sha256,
        dim=shape.dim,
        pooling=beside.pooling,
        max_tokens=min(beside.max_tokens or shape.positions, shape.positions),
        prefixes=beside.prefixes,
    ), shape.positions


def _spec(
    options: Options,
    *,
    name: str,
    revision: str,
    sha256: dict[str, str],
    dim: int,
    pooling: Pooling,
    max_tokens: int,
    prefixes: dict[str, str],
) -> EncoderSpec:
    given = {"query": options.query_prefix, "document": options.document_prefix}
    chosen = {**prefixes, **{role: text for role, text in given.items() if text is not None}}
    return EncoderSpec(
        name=name,
        revision=revision,
        sha256=sha256[WEIGHTS],
        dim=dim,
        prefixes={role: text for role, text in chosen.items() if text},
        options={
            "runtime": "ctranslate2",
            "precision": options.precision,
            "pooling": options.pooling or pooling,
            "max_tokens": str(options.max_tokens or max_tokens),
            "tokenizer": sha256[TOKENIZER][:16],
            "config": sha256[CONFIG][:16],
        },
    )
