"""Models of sentence-transformers: held to ours of equal weights, and opened without running their code."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.clip_reference import pictures
from encoders.torch_models import small_sentence, small_sentence_clip, write_modules
from findling.encoders import hub
from findling.encoders.base import Encoder, open_encoder
from findling.encoders.sentence import device
from findling.errors import ConfigError, EncoderError, MissingExtra
from needs import skip_without

TEXTS = ["the whale", "a ship of war and peace", "", "moby dick " * 60, "captain", "the whale"]
needs_torch = pytest.mark.needs("torch", "sentence_transformers")


def opened(model: Path | str, cache: Path | None = None, **options: Any) -> Encoder:
    return open_encoder("sentence", {"model": str(model), **options}, cache)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_sentence(tmp_path / "model")


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_gives_the_vectors_of_ours_of_the_same_weights(tmp_path: Path, pooling: str) -> None:
    directory = small_sentence(tmp_path / "model", pooling=pooling)
    ours = open_encoder(str(directory), {"precision": "float32"})
    theirs = opened(directory)
    assert theirs.spec.dim == ours.spec.dim
    assert np.abs(theirs.embed_texts(TEXTS) - ours.embed_texts(TEXTS)).max() < 1e-5


@pytest.mark.slow
@needs_torch
def test_gives_the_vectors_of_our_clip(tmp_path: Path) -> None:
    directory = small_sentence_clip(tmp_path / "clip")
    ours, theirs = open_encoder("tiny-clip", {"precision": "float32"}), opened(directory)
    assert theirs.spec.modalities == ["text", "image"]
    texts = ["a red ship on a dark sea", "red", "a lighthouse " * 30]
    assert np.abs(theirs.embed_texts(texts) - ours.embed_texts(texts)).max() < 1e-4
    images = pictures(9)
    assert np.abs(theirs.embed_images(images) - ours.embed_images(images)).max() < 1e-4


@pytest.mark.slow
@needs_torch
def test_a_matrix_behind_the_pooling_counts(tmp_path: Path) -> None:
    plain = opened(small_sentence(tmp_path / "plain")).embed_texts(TEXTS)
    directory = small_sentence(tmp_path / "dense", dense=20)
    encoder = opened(directory)
    assert encoder.spec.dim == 20
    assert encoder.embed_texts(TEXTS).shape == (6, 20)
    matrix = hub.read_arrays(directory / "2_Dense" / "model.safetensors")["linear.weight"]
    wanted = plain @ matrix.T
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.abs(encoder.embed_texts(TEXTS) - wanted).max() < 1e-5
    assert opened(directory, dim=8).embed_texts(TEXTS).shape == (6, 8)
    # Ours leaves such a model to this encoder, rather than leave out the matrix.
    with pytest.raises(EncoderError, match=r"Dense.*encoder = \"sentence\""):
        open_encoder(str(directory))


@pytest.mark.slow
@needs_torch
def test_a_model_that_names_no_length_is_asked_for_it(model: Path) -> None:
    told = json.loads((model / "1_Pooling" / "config.json").read_text())
    both = {**told, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (model / "1_Pooling" / "config.json").write_text(json.dumps(both))
    encoder = opened(model)
    assert encoder.spec.dim == 64
    assert encoder.embed_texts(TEXTS).shape == (6, 64)


@pytest.mark.slow
@needs_torch
def test_options_say_where_to_cut_and_what_stands_before(model: Path) -> None:
    plain, cut = opened(model), opened(model, max_tokens=5)
    assert np.array_equal(cut.embed_texts(["sea ship war peace"]), cut.embed_texts(["sea ship war moby"]))
    assert cut.spec.id != plain.spec.id
    before = opened(model, query_prefix="moby ")
    assert np.abs(before.embed_texts(["sea"], "query") - plain.embed_texts(["moby sea"])).max() < 1e-6
    assert np.abs(before.embed_texts(["sea"]) - plain.embed_texts(["sea"])).max() < 1e-6


@pytest.mark.slow
@needs_torch
def test_cuda_gives_the_vectors_of_a_processor(model: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device: torch sees none here")
    quick, plain = opened(model, device="auto"), opened(model, device="cpu")
    assert quick.spec == plain.spec
    assert np.abs(quick.embed_texts(TEXTS) - plain.embed_texts(TEXTS)).max() < 1e-4


def test_the_device_is_chosen_by_what_is_there() -> None:
    assert [device(wanted, cuda=True) for wanted in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    assert [device(wanted, cuda=False) for wanted in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(MissingExtra, match=r"device is 'cuda'.*device = 'cpu'"):
        device("cuda", cuda=False)


@needs_torch
def test_the_spec_tells_the_files_without_loading_them(model: Path) -> None:
    first = opened(model).spec
    assert first.sha256 == hub.sha256(model / "model.safetensors")
    assert (first.dim, first.modalities) == (32, ["text"])
    assert opened(model, threads=2, device="cpu").spec == first
    config = model / "config.json"
    config.write_text(config.read_text() + " ")
    assert opened(model).spec.id != first.id, "another setting may be other vectors"
    (model / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "q: "}}))
    assert opened(model).spec.prefixes == {"query": "q: "}
    assert opened(model, query_prefix="").spec.prefixes == {}


@needs_torch
def test_a_name_on_the_hub_may_stand_in_the_model_cache(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "nobody").mkdir(parents=True)
    model.rename(tmp_path / "cache" / "nobody" / "small")
    spec = opened("nobody/small", tmp_path / "cache").spec
    assert spec.name == "nobody/small"


@needs_torch
def test_what_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="not a directory"):
        opened("./nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match=r"neither modules\.json nor config\.json"):
        opened(tmp_path / "empty")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EncoderError, match=r"nobody/small.*findling\[hub\]"):
        opened("nobody/small", tmp_path)


@needs_torch
def test_pickled_weights_are_refused_in_every_module(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("a pickle was opened",))

    directory = small_sentence(tmp_path / "model", dense=8)
    (directory / "2_Dense" / "model.safetensors").unlink()
    (directory / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EncoderError, match=r"2_Dense has only pickled weights"):
        opened(directory)


@needs_torch
def test_code_that_comes_with_a_model_is_refused(model: Path) -> None:
    write_modules(model, [("Transformer", "")])
    told = (model / "modules.json").read_text().replace("sentence_transformers.models", "mine")
    (model / "modules.json").write_text(told)
    (model / "mine.py").write_text("raise SystemExit('the code of a model was run')")
    with pytest.raises(EncoderError, match=r"mine\.Transformer.*code that comes with the model"):
        opened(model)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": None}, "no model"),
        ({"threads": 0}, "threads"),
        ({"dim": 0}, "dim"),
        ({"device": "tpu"}, "device"),
        ({"speed": 1}, "speed.*allowed are"),
    ],
)
def test_a_wrong_option_is_named(model: Path, options: dict[str, Any], word: str) -> None:
    skip_without("sentence_transformers")
    with pytest.raises(ConfigError, match=word):
        open_encoder("sentence", {"model": str(model), **options})


def test_a_missing_library_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"findling\[torch\]"):
        opened(model)
