"""CLIP: both towers against numpy, vectors that stand alone, and conversions that are kept."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from encoders.clip_reference import END, SIDE, START, TOKENS, Reference, pictures, small_clip, words
from findling.encoders import clip_calibration, clip_files, hub, kept
from findling.encoders.base import Encoder, open_encoder
from findling.encoders.clip_config import Shape
from findling.encoders.presets import PRESETS
from findling.encoders.processor import has_byte_products
from findling.encoders.texts import Tokenizer
from findling.errors import ConfigError, EncoderError, MissingExtra

TEXTS = ["a red ship on a dark sea", "sea", "", "RED  Ship!", "x" * 200, "ship " * 40, "l'été à 3 h", "sea"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("clip") / "model")


def opened(directory: Path, **options: Any) -> Encoder:
    return open_encoder(str(directory), options, directory.parent / "cache")


def prepared(directory: Path, images: list[Image.Image]) -> list[Any]:
    config = directory / "config.json"
    ready = clip_files.preprocessing(directory, Shape.read(json.loads(config.read_text()), config))
    return [ready(image) for image in images]


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_float32_equals_numpy(tmp_path: Path, activation: str) -> None:
    directory = small_clip(tmp_path / "model", activation=activation)
    encoder, reference = opened(directory, precision="float32"), Reference(directory)
    images = pictures(11)
    wanted = np.array([reference.picture(pixels) for pixels in prepared(directory, images)])
    assert np.abs(encoder.embed_images(images) - wanted).max() < 1e-5
    tokens = Tokenizer(directory / "tokenizer.json", TOKENS, special=True)(TEXTS)
    wanted = np.array([reference.text(ids, ids.index(words()[0][END])) for ids in tokens])
    assert np.abs(encoder.embed_texts(TEXTS) - wanted).max() < 1e-5


def test_texts_are_pooled_at_the_first_end_token(tmp_path: Path) -> None:
    directory = small_clip(tmp_path / "model")
    encoder, reference = opened(directory, precision="float32"), Reference(directory)
    text = f"red ship {END} sea"
    ids = Tokenizer(directory / "tokenizer.json", TOKENS, special=True)([text])[0]
    end = ids.index(words()[0][END])
    assert end < len(ids) - 1
    assert encoder.embed_texts([text])[0] == pytest.approx(reference.text(ids, end), abs=1e-5)


def test_openais_wrong_end_token_means_the_greatest_id(tmp_path: Path) -> None:
    right, wrong = small_clip(tmp_path / "right"), small_clip(tmp_path / "wrong", legacy=True)
    assert opened(right).spec != opened(wrong).spec
    assert np.array_equal(opened(right).embed_texts(TEXTS), opened(wrong).embed_texts(TEXTS))


def test_the_older_pair_of_word_files_gives_the_same_tokens(tmp_path: Path) -> None:
    new, old = small_clip(tmp_path / "new"), small_clip(tmp_path / "old", old=True)
    assert not (old / "tokenizer.json").exists()
    assert np.array_equal(opened(new).embed_texts(TEXTS), opened(old).embed_texts(TEXTS))


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_vectors_do_not_depend_on_their_batch_mates(small: Path, precision: str) -> None:
    encoder = opened(small, precision=precision)
    images = pictures(21)
    alone = np.concatenate([encoder.embed_images([image]) for image in images])
    assert np.array_equal(encoder.embed_images(images), alone)
    assert np.array_equal(encoder.embed_images(images[::-1])[::-1], alone)
    assert np.array_equal(opened(small, precision=precision, threads=3).embed_images(images), alone)
    white = [images[4], *[Image.new("RGB", (50, 50), "white")] * 9]
    assert np.array_equal(encoder.embed_images(white)[0], alone[4])
    texts = [*TEXTS, *TEXTS[::-1]] * 3
    alone = np.concatenate([encoder.embed_texts([text]) for text in texts])
    assert np.array_equal(encoder.embed_texts(texts), alone)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: encoder.embed_texts(texts), range(8)):
            assert np.array_equal(found, alone)


def test_integers_are_near_floats(small: Path) -> None:
    images = pictures(60)
    exact, rounded = (opened(small, precision=name) for name in ("float32", "int8"))
    cosines = (exact.embed_images(images) * rounded.embed_images(images)).sum(axis=1)
    assert cosines.mean() > 0.998
    assert cosines.min() > 0.97
    texts = [*TEXTS, *clip_calibration.TEXTS]
    cosines = (exact.embed_texts(texts) * rounded.embed_texts(texts)).sum(axis=1)
    assert cosines.mean() > 0.995


def test_processors_without_byte_products_get_the_same_vectors(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(9)
    vectors = []
    for has in (True, False):
        monkeypatch.setattr(clip_files, "has_byte_products", lambda has=has: has)
        encoder = open_encoder(str(small), {}, tmp_path / str(has))
        vectors.append((encoder.embed_images(images), encoder.embed_texts(TEXTS)))
    assert len({path.name for path in tmp_path.glob("*/converted/*")}) == 2
    if has_byte_products():  # elsewhere the signed form may overflow, which is why it is not taken there
        assert np.array_equal(vectors[0][0], vectors[1][0])
        assert np.array_equal(vectors[0][1], vectors[1][1])


def test_pictures_beyond_the_calibrated_range_stay_finite(small: Path) -> None:
    checks = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 255
    image = Image.fromarray(checks.astype(np.uint8)).convert("RGB")
    vectors = opened(small).embed_images([image])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-6)


def test_a_conversion_is_kept_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = small_clip(tmp_path / "model")
    first = opened(directory).embed_texts(TEXTS)
    (converted,) = (tmp_path / "cache" / "converted").iterdir()
    names = {"config.json", "preprocessor_config.json", "tokenizer.json", "made.json"}
    graphs = {"vision.onnx", "vision.bin", "text.onnx", "text.bin"}
    assert {path.name for path in converted.iterdir()} == names | graphs
    monkeypatch.setattr(clip_files, "convert", lambda *_: pytest.fail("converted again"))
    assert np.array_equal(opened(directory).embed_texts(TEXTS), first)
    monkeypatch.undo()
    damaged = converted / "text.bin"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert np.array_equal(opened(directory).embed_texts(TEXTS), first)
    assert kept.intact(converted)


def test_without_a_cache_nothing_is_left_behind(tmp_path: Path) -> None:
    directory = small_clip(tmp_path / "model")
    vectors = open_encoder(str(directory), {"precision": "float32"}).embed_texts(TEXTS)
    assert np.isfinite(vectors).all()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_two_converters_at_once_agree(tmp_path: Path) -> None:
    directory = small_clip(tmp_path / "model")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(directory).embed_texts(TEXTS), range(4)))
    assert all(np.array_equal(vectors, found[0]) for vectors in found)
    assert len(list((tmp_path / "cache" / "converted").iterdir())) == 1


def test_half_precision_checkpoints_are_read(tmp_path: Path) -> None:
    directory = small_clip(tmp_path / "model")
    arrays = load_file(directory / "model.safetensors")
    exact = opened(directory, precision="float32").embed_texts(TEXTS)
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    save_file(halves, directory / "model.safetensors")
    assert np.abs(opened(directory, precision="float32").embed_texts(TEXTS) - exact).max() < 0.01


def broken(directory: Path, fault: str) -> None:
    config = json.loads((directory / "config.json").read_text())
    match fault:
        case "activation":
            config["text_config"]["hidden_act"] = "swish"
        case "heads":
            config["vision_config"]["num_attention_heads"] = 5
        case "number":
            config["vision_config"]["patch_size"] = "eight"
        case "positions":
            config["vision_config"]["patch_size"] = 16
        case "weights":
            arrays = load_file(directory / "model.safetensors")
            arrays.pop("text_projection.weight")
            save_file(arrays, directory / "model.safetensors")
        case "pictures":
            (directory / "preprocessor_config.json").write_text('{"size": 16}')
        case "pickled":
            (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
        case "preprocessor":
            (directory / "preprocessor_config.json").unlink()
    (directory / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("activation", "activation 'swish'"),
        ("heads", "do not share the width evenly"),
        ("number", "Expected `int`, got `str`"),
        ("positions", "17 positions for 4 patches"),
        ("weights", "lacks the weights 'text_projection.weight'"),
        ("pictures", "smaller than the part"),
        ("pickled", "only pickled weights"),
        ("preprocessor", "lacks preprocessor_config.json"),
    ],
)
def test_faults_of_a_checkpoint_are_named(tmp_path: Path, fault: str, message: str) -> None:
    directory = small_clip(tmp_path / "model")
    broken(directory, fault)
    with pytest.raises(EncoderError, match=message):
        opened(directory).embed_images(pictures(1))


def test_weights_that_change_under_an_open_encoder_are_refused(tmp_path: Path) -> None:
    directory = small_clip(tmp_path / "model")
    encoder = opened(directory)
    small_clip(tmp_path / "other", seed=4)
    shutil.copy(tmp_path / "other" / "model.safetensors", directory / "model.safetensors")
    with pytest.raises(EncoderError, match="changed since"):
        encoder.embed_texts(["sea"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"precision": "int4"}, "Invalid enum value 'int4'"),
        ({"device": "tpu"}, "Invalid enum value 'tpu'"),
        ({"device": "cuda"}, "precision is int8"),
        ({"colour": 1}, "unknown field `colour`"),
    ],
)
def test_options_that_cannot_be_are_named(small: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(small, **options)


def test_cuda_where_there_is_none_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingExtra, match="onnxruntime-gpu"):
        opened(small, precision="float32", device="cuda").embed_texts(["sea"])
    assert opened(small, precision="float32", device="auto").embed_texts(["sea"]).shape == (1, 24)


def test_files_nobody_pinned_must_stay_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    small_clip(cache / "clip-vit-b-16")
    first = open_encoder("clip-vit-b-16", {}, cache).spec
    assert first.name == PRESETS["clip-vit-b-16"].repo
    assert first.revision == PRESETS["clip-vit-b-16"].revision
    assert first.dim == 24  # read from the files themselves
    recorded = hub.read_json(cache / "clip-vit-b-16" / "first-used.json")
    assert recorded["model.safetensors"] == first.sha256
    assert open_encoder("clip-vit-b-16", {}, cache).spec == first
    small_clip(cache / "clip-vit-b-16", seed=9)
    with pytest.raises(EncoderError, match="not the file that was first used"):
        open_encoder("clip-vit-b-16", {}, cache)


def test_a_preset_refuses_other_weights(small: Path, tmp_path: Path) -> None:
    encoder = open_encoder("clip-vit-b-32", {"path": str(small)}, tmp_path)
    assert encoder.spec.sha256 == PRESETS["clip-vit-b-32"].files["model.safetensors"]
    with pytest.raises(EncoderError, match="is not the pinned file"):
        encoder.embed_texts(["sea"])
    old = small_clip(tmp_path / "old", old=True)
    with pytest.raises(EncoderError, match="is not the pinned file"):
        open_encoder("clip-vit-b-32", {"path": str(old)}, tmp_path).embed_texts(["sea"])


def test_starts_and_ends_are_the_tokenizers_own(small: Path) -> None:
    vocabulary, _ = words()
    ids = Tokenizer(small / "tokenizer.json", TOKENS, special=True)(["Red SHIP"])[0]
    assert ids == [vocabulary[token] for token in (START, "red</w>", "ship</w>", END)]
