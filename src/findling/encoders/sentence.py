"""Any model of the sentence-transformers library, of texts or of texts and pictures, on torch.

For models that no encoder of ours reads, and for GPUs. A model is opened in that library's layout only
(https://sbert.net/docs/sentence_transformer/usage/custom_models.html), with safetensors and with the
library's own modules, so that opening it runs no code of its author's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from findling.encoders import hub
from findling.encoders.base import (
    EncoderSpec,
    Once,
    Role,
    Vectors,
    check_threads,
    read_options,
    reads_texts_only,
)
from findling.encoders.presets import CONFIG
from findling.encoders.texts import CHARACTERS_PER_TOKEN, encodable, equal_lengths, unit
from findling.errors import ConfigError, EncoderError, MissingExtra, extra

if TYPE_CHECKING:
    from PIL.Image import Image

Modules = list[tuple[str, Path]]
TOKENS_IN_BATCH = {"cpu": 1024, "cuda": 32_768}
PICTURES_IN_BATCH = {"cpu": 8, "cuda": 128}
_LONGEST = 8192
"""Tokens that are read of a text where a model names no limit of its own."""
_SETTINGS = ("*.json", "*.txt", "*.model")
_OTHER_RUNTIMES = {"onnx", "openvino"}
_TWO_TOWERS = {"clip", "siglip", "siglip2"}


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder; `model` is a directory, or a name on the hub."""

    model: str | None = None
    revision: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dim: int | None = None
    max_tokens: int | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    threads: int = 1


class Sentence:
    """An encoder of whatever the library reads; the model is loaded when it first embeds."""

    def __init__(self, directory: Path, options: Options) -> None:
        self._options = options
        self._model = Once(lambda: _Model(directory, options))
        settings = _settings(directory)
        dim = options.dim or settings.dim or self._model().dim
        given = {"query": options.query_prefix, "document": options.document_prefix}
        prefixes = {**settings.prefixes, **{role: text for role, text in given.items() if text is not None}}
        told = {"runtime": "sentence-transformers", "files": settings.files}
        if options.max_tokens:
            told["max_tokens"] = str(options.max_tokens)
        self._spec = EncoderSpec(
            name=options.model if options.model and not Path(options.model).is_dir() else directory.name,
            revision=options.revision or "local",
            sha256=settings.sha256,
            dim=dim,
            prefixes={role: text for role, text in prefixes.items() if text},
            modalities=settings.modalities,
            options=told,
        )

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> Sentence:  # noqa: ARG003
        """An encoder of the option `model`.

        Raises ConfigError for a wrong option, MissingExtra without the library, EncoderError for a directory
        that holds no such model, or one whose weights are pickled.
        """
        chosen = read_options(options, Options)
        check_threads(chosen.threads)
        for name in ("dim", "max_tokens"):
            if (number := getattr(chosen, name)) is not None and number < 1:
                raise ConfigError(f"encoder option {name} is {number}", todo="it must be 1 or more")
        if not chosen.model:
            raise ConfigError(
                "encoder 'sentence' has no model",
                todo='say model = "a directory", or a name on the Hugging Face hub',
            )
        with extra("torch", "encoder 'sentence'"):
            if importlib.util.find_spec("sentence_transformers") is None:
                raise ModuleNotFoundError(name="sentence_transformers")
        return cls(_directory(chosen.model, chosen.revision, cache).resolve(), chosen)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is, told by the model's files."""
        return self._spec

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:
        """(n, dim) float32 rows of length 1, row i for text i. Thread-safe.

        Texts of equal length share a batch, so that nothing is padded; what a row has of its batch-mates is
        the order of torch's additions, 1e-6 of a number at most.
        """
        return self._checked(self._model().texts(texts, self._spec.prefixes.get(role, "")))

    def embed_images(self, images: list[Image]) -> Vectors:
        """(n, dim) float32 rows of length 1; raises EncoderError where the model reads texts only."""
        if "image" not in self._spec.modalities:
            reads_texts_only(self._spec, images)
        return self._checked(self._model().pictures(images))

    def _checked(self, vectors: Vectors) -> Vectors:
        if vectors.shape[1] != self._spec.dim:
            raise EncoderError(f"{self._spec.name} gives {vectors.shape[1]} numbers, not {self._spec.dim}")
        return vectors


class _Model:
    """A loaded model. One thread at a time uses it: its tokenizer cannot be shared, and torch has threads."""

    def __init__(self, directory: Path, options: Options) -> None:
        with extra("torch", "encoder 'sentence'"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the libraries find to remark on their own versions
            import torch
            import transformers
            from sentence_transformers import SentenceTransformer
        self.device = device(options.device, cuda=torch.cuda.is_available())
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
        if self.device == "cpu":
            torch.set_num_threads(options.threads)
        else:
            torch.backends.cudnn.allow_tf32 = False  # 10 bits of a number are too few for equal vectors
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._model = SentenceTransformer(
                    str(directory),
                    device=self.device,
                    truncate_dim=options.dim,
                    trust_remote_code=False,
                    local_files_only=True,
                    model_kwargs={"use_safetensors": True},
                ).float()  # weights kept in half precision are computed with in full
            except Exception as error:
                # The library and those below it raise many kinds; all mean that this cannot be opened.
                raise EncoderError(f"sentence-transformers cannot open {directory}: {error}") from error
            dimension = getattr(self._model, "get_embedding_dimension", None)
            self.dim = int((dimension or self._model.get_sentence_embedding_dimension)() or 0)
        self._prepare = getattr(self._model, "preprocess", None) or self._model.tokenize
        self._lock = threading.Lock()
        self._longest = self._bounded(options.max_tokens)

    def texts(self, texts: list[str], prefix: str) -> Vectors:
        """(n, dim) unit rows."""
        given = [encodable(text[: self._longest * CHARACTERS_PER_TOKEN]) for text in texts]
        vectors = np.empty((len(given), self.dim), np.float32)
        with self._lock:
            for rows in equal_lengths(self._lengths(given, prefix), TOKENS_IN_BATCH[self.device]):
                vectors[rows] = self._encode([given[row] for row in rows], prefix)
        return unit(vectors)

    def pictures(self, images: list[Image]) -> Vectors:
        """(n, dim) unit rows."""
        step = PICTURES_IN_BATCH[self.device]
        vectors = np.empty((len(images), self.dim), np.float32)
        with self._lock:
            for start in range(0, len(images), step):
                some = [image.convert("RGB") for image in images[start : start + step]]
                vectors[start : start + len(some)] = self._encode(some, "")
        return unit(vectors)

    def _encode(self, inputs: list[Any], prefix: str) -> Vectors:
        found = self._model.encode(
            inputs, prompt=prefix or None, batch_size=len(inputs), show_progress_bar=False
        )
        return np.asarray(found, np.float32)

    def _lengths(self, texts: list[str], prefix: str) -> list[int]:
        """Tokens by text; all equal where the model pads nothing."""
        if not texts:
            return []
        mask = self._prepare([prefix + text for text in texts]).get("attention_mask")
        if mask is None or len(mask) != len(texts):
            return [1] * len(texts)
        return [int(length) for length in mask.sum(dim=1)]

    def _bounded(self, wanted: int | None) -> int:
        """How many tokens are read, made sure of: some CLIP models know no end, and fail behind theirs."""
        known = self._model.max_seq_length
        config = getattr(getattr(self._model[0], "auto_model", None), "config", None)
        shape = getattr(config, "text_config", config)
        positions = getattr(shape, "max_position_embeddings", None)
        limits = [int(limit) for limit in (wanted, known, positions) if limit]
        longest = min(limits, default=_LONGEST)
        if longest != known and limits:
            with suppress(AttributeError):  # token vectors have no length to set
                self._model.max_seq_length = longest
        return min(longest, _LONGEST)


def device(wanted: str, *, cuda: bool) -> str:
    """Where torch runs: CUDA if it is there, unless the option says otherwise; raises MissingExtra."""
    if wanted == "cuda" and not cuda:
        raise MissingExtra(
            "encoder option device is 'cuda', but torch sees no CUDA device here",
            todo="install a torch built for CUDA, or say device = 'cpu'",
        )
    return "cuda" if cuda and wanted != "cpu" else "cpu"


class _Settings(msgspec.Struct, frozen=True):
    """What a model's files say: hashes of weights and settings; `dim` where it is told plainly."""

    sha256: str
    files: str
    dim: int | None
    modalities: list[str]
    prefixes: dict[str, str]


def _settings(directory: Path) -> _Settings:
    modules = hub.modules(directory)
    if not modules and not (directory / CONFIG).is_file():
        raise EncoderError(
            f"{directory} has neither modules.json nor {CONFIG}",
            todo="name a directory that sentence-transformers saved",
        )
    places = [directory, *(path for path in sorted(directory.rglob("*")) if path.is_dir())]
    places = [place for place in places if not _OTHER_RUNTIMES & {*place.relative_to(directory).parts}]
    weights = [path for place in places for path in sorted(place.glob("*.safetensors"))]
    for place in places:
        if hub.is_pickled(place) and not list(place.glob("*.safetensors")):
            raise hub.only_pickled(place)
    if not weights:
        raise EncoderError(f"{directory} holds no safetensors", todo="save the model with its weights")
    settings = [path for place in places for kind in _SETTINGS for path in sorted(place.glob(kind))]
    return _Settings(
        sha256=hub.sha256(weights[0]) if len(weights) == 1 else _digest(directory, weights),
        files=_digest(directory, settings)[:16],
        dim=_dim(modules),
        modalities=_modalities(directory, modules),
        prefixes=hub.prompts(directory),
    )


def _dim(modules: Modules) -> int | None:
    """The vectors' length if the last module that decides it says so; None where the model must be asked."""
    for kind, directory in reversed(modules):
        config = _told(directory / CONFIG)
        if kind == "Dense":
            return config.get("out_features")
        if kind == "Pooling":
            dim = config.get("embedding_dimension") or config.get("word_embedding_dimension")
            return dim if len(hub.pooling_modes(config)) == 1 else None
        if kind not in {"Normalize", "LayerNorm", "Dropout"}:
            return config.get("projection_dim")
    return None


def _modalities(directory: Path, modules: Modules) -> list[str]:
    """["text"], or with "image" where the first module reads pictures into the same space."""
    reads = _told(directory / "sentence_bert_config.json").get("modality_config")
    if reads is None:
        two_towers = _told(directory / CONFIG).get("model_type") in _TWO_TOWERS
        reads = {"image"} if two_towers or [kind for kind, _ in modules][:1] == ["CLIPModel"] else {}
    return ["text", "image"] if "image" in reads else ["text"]


def _told(path: Path) -> dict[str, Any]:
    return hub.read_json(path) if path.is_file() else {}


def _digest(directory: Path, paths: list[Path]) -> str:
    lines = [f"{hub.sha256(path)}  {path.relative_to(directory).as_posix()}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _directory(model: str, revision: str | None, cache: Path | None) -> Path:
    """A directory of that name, one in the model cache, or the hub's; raises EncoderError."""
    for place in (Path(model), *([cache / model] if cache else [])):
        if place.is_dir():
            return place
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise EncoderError(f"encoder 'sentence': {model} is not a directory")
    return hub.snapshot(model, revision, ["*.json", "*.txt", "*.model", "*.safetensors"])
