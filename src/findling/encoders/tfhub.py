"""Text modules of TensorFlow Hub (Universal Sentence Encoder, NNLM and their like) from a SavedModel.

A module takes a list of strings and gives a vector for each, called as TensorFlow 2 has it
(https://www.tensorflow.org/hub/common_saved_model_apis/text) or by its signature "default" or
"serving_default". A SavedModel is a program that TensorFlow runs: open those whose author you trust.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from findling.encoders import hub
from findling.encoders.base import EncoderSpec, Once, Role, Vectors, read_options, reads_texts_only
from findling.encoders.texts import encodable, unit
from findling.errors import ConfigError, EncoderError, MissingExtra, extra

if TYPE_CHECKING:
    from PIL.Image import Image

GRAPH = "saved_model.pb"
TEXTS_IN_BATCH = 64
_CHARACTERS = 32_768
"""How much of a text is read; the modules' authors mean sentences and short paragraphs."""
_SIGNATURES = ("default", "serving_default")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a configuration may say of this encoder; `model` is a directory, or a handle cached here."""

    model: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    query_prefix: str | None = None
    document_prefix: str | None = None


class TfHub:
    """A text encoder run by TensorFlow. Only the module knows its vectors' length, so it loads at once."""

    def __init__(self, directory: Path, options: Options) -> None:
        self._model = Once(lambda: _Model(directory, options.device))
        prefixes = {"query": options.query_prefix, "document": options.document_prefix}
        self._spec = EncoderSpec(
            name=options.model or directory.name,
            revision="local",
            sha256=_digest(directory),
            dim=self._model().dim,
            prefixes={role: text for role, text in prefixes.items() if text},
            options={"runtime": "tensorflow"},
        )

    @classmethod
    def from_options(cls, preset: str | None, options: dict[str, Any], cache: Path | None) -> TfHub:  # noqa: ARG003
        """An encoder of the option `model`.

        Raises ConfigError for a wrong option, MissingExtra without TensorFlow, EncoderError for a handle that
        is not cached here and for a directory that holds no text module.
        """
        chosen = read_options(options, Options)
        if not chosen.model:
            raise ConfigError("encoder 'tfhub' has no model", todo='say model = "a directory", or a handle')
        with extra("tf", "encoder 'tfhub'"):
            if importlib.util.find_spec("tensorflow") is None:
                raise ModuleNotFoundError(name="tensorflow")
        return cls(find(chosen.model, cache).resolve(), chosen)

    @property
    def spec(self) -> EncoderSpec:
        """Which encoder this is, told by the module's files."""
        return self._spec

    def embed_texts(self, texts: list[str], role: Role = "document") -> Vectors:
        """(n, dim) float32 rows of length 1, row i for text i; one of zeros stays one. Thread-safe.

        What a row has of its batch-mates is TensorFlow's order of additions, 1e-6 of a number at most.
        """
        prefix = self._spec.prefixes.get(role, "")
        given = [encodable(prefix + text[:_CHARACTERS]) for text in texts]
        vectors = np.empty((len(given), self._spec.dim), np.float32)
        for start in range(0, len(given), TEXTS_IN_BATCH):
            some = given[start : start + TEXTS_IN_BATCH]
            vectors[start : start + len(some)] = self._model()(some)
        return unit(vectors)

    def embed_images(self, images: list[Image]) -> Vectors:
        """Raises EncoderError: this encoder reads texts only."""
        reads_texts_only(self._spec, images)


class _Model:
    """A loaded module, called with strings."""

    def __init__(self, directory: Path, wanted: str) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors only
        with extra("tf", "encoder 'tfhub'"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the library finds to remark on its own versions
            import tensorflow as tf
        there = len(tf.config.list_physical_devices("GPU")) > 0
        if wanted == "cuda" and not there:
            raise MissingExtra(
                "encoder option device is 'cuda', but TensorFlow sees no CUDA device here",
                todo="install tensorflow[and-cuda], or say device = 'cpu'",
            )
        self._tf = tf
        self._directory = directory
        self._device = "/GPU:0" if there and wanted != "cpu" else "/CPU:0"
        try:
            with tf.device(self._device):
                self._module = tf.saved_model.load(str(directory))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise EncoderError(f"TensorFlow cannot open {directory}: {error}") from error
        self._call = self._module if callable(self._module) else self._signature()
        self.dim = int(self(["a"]).shape[1])

    def _signature(self) -> Any:
        signatures = getattr(self._module, "signatures", {})
        for name in _SIGNATURES:
            if name in signatures:
                return signatures[name]
        raise EncoderError(
            f"{self._directory} can be called neither as it is nor as {' or '.join(_SIGNATURES)}"
        )

    def __call__(self, texts: list[str]) -> Vectors:
        """(n, dim) float32 as the module gives them."""
        with self._tf.device(self._device):
            try:
                given = self._call(self._tf.constant(texts))
            except (TypeError, ValueError, self._tf.errors.InvalidArgumentError) as error:
                raise EncoderError(
                    f"the module in {self._directory} takes no list of strings: {str(error).splitlines()[0]}"
                ) from error
        found = _only_vectors(given)
        if found is None or found.ndim != 2 or len(found) != len(texts):
            raise EncoderError(f"the module in {self._directory} does not give a vector for each text")
        return found


def find(model: str, cache: Path | None) -> Path:
    """The directory of a module: named itself, in the model cache, or where other tools cache a handle.

    tensorflow_hub keeps a handle under its sha1 in TFHUB_CACHE_DIR, kagglehub keeps
    owner/model/framework/variation/version under KAGGLEHUB_CACHE/models. Raises EncoderError.
    """
    tried = []
    for place in _places(model, cache):
        if (place / GRAPH).is_file():
            return place
        if place.is_dir() and list(place.glob("*/" + GRAPH)):
            raise EncoderError(f"{place} holds {GRAPH} one directory below", todo="name that directory")
        tried.append(str(place))
    fetch = (
        f"fetch it: mkdir DIR && curl -L '{model}?tf-hub-format=compressed' | tar xz -C DIR; then name DIR"
        if model.startswith("https://")
        else f"name a directory that holds {GRAPH}"
    )
    raise EncoderError(f"no SavedModel found for {model!r}; looked at {', '.join(tried)}", todo=fetch)


def _places(model: str, cache: Path | None) -> Iterator[Path]:
    if "://" not in model:
        yield Path(model)
        if cache is not None:
            yield cache / model
        if model.count("/") == 4 and not model.startswith((".", "/")):
            home = os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub"
            yield Path(home) / "models" / model
        return
    home = os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules"
    yield Path(home) / hashlib.sha1(model.encode(), usedforsecurity=False).hexdigest()


def _only_vectors(given: Any) -> Vectors | None:
    """The tensor among what a module returned: itself, or under the key that names the vectors."""
    if isinstance(given, dict):
        names = [name for name in ("default", "outputs", "output_0") if name in given] or list(given)
        given = given[names[0]] if names else None
    return None if given is None else np.asarray(given, np.float32)


def _digest(directory: Path) -> str:
    files = [directory / GRAPH, *sorted((directory / "variables").glob("*"))]
    files += sorted(path for path in (directory / "assets").rglob("*") if path.is_file())
    lines = [f"{hub.sha256(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
