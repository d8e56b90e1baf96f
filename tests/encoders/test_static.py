"""Static encoders: means of token vectors, as the model2vec library takes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from encoders.reference import small_static
from findling.encoders.base import open_encoder
from findling.errors import ConfigError, EncoderError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_static(tmp_path / "model")


def ids_of(model: Path, text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    return [number for number in tokenizer.encode(text, add_special_tokens=False).ids if number]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_is_the_mean_of_known_tokens(model: Path) -> None:
    vectors = load_file(model / "model.safetensors")["embeddings"]
    unknown = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]["[UNK]"]
    ids = [number for number in ids_of(model, "the sea 東 ship") if number != unknown]
    found = open_encoder(str(model)).embed_texts(["the sea 東 ship", "東", ""])
    assert found[0] == pytest.approx(unit(vectors[ids].mean(axis=0)), abs=1e-6)
    assert not found[1:].any(), "zeros where no token is known"


def test_weights_and_clusters(model: Path) -> None:
    size = len(load_file(model / "model.safetensors")["embeddings"])
    draw = np.random.default_rng(1)
    table = draw.normal(size=(10, 16)).astype(np.float16)
    weights, mapping = draw.random(size), draw.integers(0, 10, size)
    save_file({"embeddings": table, "weights": weights, "mapping": mapping}, model / "model.safetensors")
    ids = ids_of(model, "whale hunt obsession")
    wanted = (table[mapping[ids]].astype(np.float64) * weights[ids][:, None]).mean(axis=0)
    encoder = open_encoder(str(model))
    assert encoder.spec.dim == 16
    assert encoder.embed_texts(["whale hunt obsession"])[0] == pytest.approx(unit(wanted), abs=1e-6)


def test_reads_so_many_tokens(model: Path) -> None:
    encoder = open_encoder(str(model), {"max_tokens": 3})
    same, one = encoder.embed_texts(["sea ship war peace", "sea ship war"])
    assert np.array_equal(same, one)
    assert encoder.spec.options["max_tokens"] == "3"
    with pytest.raises(ConfigError, match="max_tokens"):
        open_encoder(str(model), {"max_tokens": 0})


def test_a_table_that_does_not_fit_is_refused(model: Path) -> None:
    save_file({"embeddings": np.zeros((3, 4), np.float32)}, model / "model.safetensors")
    with pytest.raises(EncoderError, match="fewer vectors"):
        open_encoder(str(model)).embed_texts(["sea"])
    save_file({"other": np.zeros((3, 4), np.float32)}, model / "model.safetensors")
    with pytest.raises(EncoderError, match="no table 'embeddings'"):
        open_encoder(str(model))
