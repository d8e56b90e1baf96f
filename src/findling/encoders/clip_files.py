"""A CLIP checkpoint's files: found, checked, and turned once into two ONNX graphs that are kept.

The layout is that of the Hugging Face hub: config.json, model.safetensors, preprocessor_config.json, and
tokenizer.json or the older pair of vocab.json and merges.txt.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from findling.encoders import clip_calibration, hub
from findling.encoders.clip_config import LEGACY_END, Shape, TextShape
from findling.encoders.clip_graph import Array, Weights, blocks, text_tower, vision_tower
from findling.encoders.clip_numbers import Float, Integers, Watched, smooth
from findling.encoders.clip_pictures import Preprocessing
from findling.encoders.presets import CONFIG, PREPROCESSOR, PRESETS, TOKENIZER, WEIGHTS
from findling.encoders.processor import has_byte_products
from findling.encoders.texts import Tokenizer
from findling.errors import EncoderError

LAYOUT = "2"  # of what is kept: another layout is another model
VISION, TEXT = "vision.onnx", "text.onnx"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
_PINS = "first-used.json"
_SLOWER = ["SkipLayerNormFusion"]
"""What ONNX Runtime would put in place of a sum and a layer norm takes it four times as long."""


def find(preset: str | None, path: str | None, cache: Path | None) -> hub.Files:
    """The checked files of a preset or a directory; see hub.find.

    Files of a preset whose hashes nobody has published are remembered under the cache when they are first
    used; raises EncoderError where they have changed since then.
    """
    old = path is not None and not (Path(path) / TOKENIZER).is_file() and (Path(path) / VOCABULARY).is_file()
    words = (VOCABULARY, MERGES) if old else (TOKENIZER,)
    if preset is not None and old:
        files = hub.checked(Path(path or ""), needed=(CONFIG, PREPROCESSOR, WEIGHTS, *words))
        if (wanted := PRESETS[preset].files.get(WEIGHTS)) and wanted != files.sha256[WEIGHTS]:
            raise EncoderError(f"{files.paths[WEIGHTS]} is not the pinned file: its sha256 is not {wanted}")
    else:
        files = hub.find(preset, path, cache, (CONFIG, PREPROCESSOR, WEIGHTS, *words))
    if preset is not None and cache is not None and PRESETS[preset].unpinned:
        _remember(files, {name: files.sha256[name] for name in PRESETS[preset].unpinned}, cache / preset)
    return files


def _remember(files: hub.Files, found: dict[str, str], directory: Path) -> None:
    record = directory / _PINS
    if not record.is_file():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            aside = directory / f".{_PINS}.{os.getpid()}"
            aside.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
            aside.replace(record)
        except OSError:
            return  # nothing can be kept here, as with converted models
    for name, digest in hub.read_json(record).items():
        if found.get(name, digest) != digest:
            raise EncoderError(
                f"{files.paths[name]} is not the file that was first used: its sha256 was {digest}",
                todo=f"if the change is wanted, delete {record}",
            )


def facts(sha256: dict[str, str], precision: str) -> list[str]:
    """All that decides what a checkpoint is converted to."""
    kind = "signed" if has_byte_products() else "unsigned"
    numbers = f"{precision} {kind}" if precision == "int8" else precision
    return ["clip", LAYOUT, numbers, *(f"{name} {sha256[name]}" for name in sorted(sha256))]


def convert(files: hub.Files, precision: str, out: Path) -> None:
    """Writes the two graphs, the tokenizer and the settings of a checkpoint into an empty directory."""
    for name in (CONFIG, PREPROCESSOR):
        shutil.copyfile(files.paths[name], out / name)
    save_tokenizer(files, out / TOKENIZER)
    shape = Shape.read(hub.read_json(files.paths[CONFIG]), files.paths[CONFIG])
    pictures = preprocessing(out, shape)
    weights = Weights(hub.read_arrays(files.paths[WEIGHTS]), files.paths[WEIGHTS])
    layers = {name: blocks(weights, f"{name}_model", getattr(shape, name)) for name in ("vision", "text")}
    if precision == "float32":
        vision_tower(out / VISION, weights, shape, pictures.scale, layers["vision"], Float())
        text_tower(out / TEXT, weights, shape, layers["text"], Float())
        return
    with tempfile.TemporaryDirectory(prefix=".calibrating-", dir=out.parent) as aside:
        path, watched = Path(aside) / VISION, Watched()
        vision_tower(path, weights, shape, pictures.scale, layers["vision"], watched)
        side = shape.vision.grid * shape.vision.patch_size
        seen = _ranges(path, watched, "pixels", clip_calibration.batches(side))
        path, watched = Path(aside) / TEXT, Watched()
        text_tower(path, weights, shape, layers["text"], watched)
        tokenizer = Tokenizer(out / TOKENIZER, shape.text.max_position_embeddings, special=True)
        tokens = [to_end(ids, shape.text) for ids in tokenizer(clip_calibration.TEXTS)]
        read = _ranges(path, watched, "ids", [np.array([ids], np.int32) for ids in tokens])
    signed = has_byte_products()
    seen, read = smooth(layers["vision"], seen), smooth(layers["text"], read)
    vision_tower(
        out / VISION, weights, shape, pictures.scale, layers["vision"], Integers(seen, signed=signed)
    )
    text_tower(out / TEXT, weights, shape, layers["text"], Integers(read, signed=signed))


def _ranges(path: Path, watched: Watched, name: str, inputs: Any) -> dict[str, tuple[Array, Array]]:
    run = session(path, "CPUExecutionProvider")
    found: dict[str, tuple[Array, Array]] = {}
    for batch in inputs:
        watched.merge(run.run(watched.outputs(), {name: batch}), found)
    return found


def session(path: Path, provider: str) -> Any:
    """An ONNX Runtime session of one thread, which any number of threads may use at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only; they are raised too
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[provider], disabled_optimizers=_SLOWER
        )
    except Exception as error:  # the library raises kinds of its own
        raise EncoderError(f"ONNX Runtime cannot open {path}: {error}") from error


def preprocessing(directory: Path, shape: Shape) -> Preprocessing:
    """How pictures are prepared, from a directory's preprocessor_config.json."""
    where = directory / PREPROCESSOR
    return Preprocessing.read(hub.read_json(where), shape.vision.image_size, where)


def to_end(ids: list[int], text: TextShape) -> list[int]:
    """Token ids up to the one that stands for the whole text; those behind it change nothing.

    As in transformers that is the first end token, or with OpenAI's own files the first greatest token id.
    """
    if text.eos_token_id == LEGACY_END:
        end = ids.index(max(ids))
    else:
        end = ids.index(text.eos_token_id) if text.eos_token_id in ids else 0
    return ids[: max(end, 1) + 1]


def save_tokenizer(files: hub.Files, out: Path) -> None:
    """The tokenizer.json of a checkpoint: its own, or one made from vocab.json and merges.txt.

    The latter follows CLIPTokenizer in transformers: lower case, runs of blanks as one, byte-level BPE with
    words ended by </w>.
    """
    if TOKENIZER in files.paths:
        shutil.copyfile(files.paths[TOKENIZER], out)
        return
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Made

    start, end = "<|startoftext|>", "<|endoftext|>"
    try:
        known, merges = models.BPE.read_file(str(files.paths[VOCABULARY]), str(files.paths[MERGES]))
    except Exception as error:  # the library raises bare Exception
        raise EncoderError(f"{files.paths[VOCABULARY]} and {MERGES} are no tokenizer: {error}") from error
    made = Made(models.BPE(known, merges, end_of_word_suffix="</w>", unk_token=end, fuse_unk=False))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, known[start]), (end, known[end])]
    )
    made.add_special_tokens([start, end])
    made.save(str(out))
