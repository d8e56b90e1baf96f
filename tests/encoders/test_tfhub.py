"""Text modules of TensorFlow Hub, from SavedModels that these tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.torch_models import small_saved_model
from findling.encoders import tfhub
from findling.encoders.base import Encoder, open_encoder
from findling.errors import ConfigError, EncoderError, MissingExtra
from needs import skip_without

HANDLE = "https://tfhub.dev/google/universal-sentence-encoder/4"
KAGGLE = "google/universal-sentence-encoder/tensorFlow2/universal-sentence-encoder/2"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    skip_without("tensorflow")
    return small_saved_model(tmp_path_factory.mktemp("saved") / "module")


def opened(model: Path | str, cache: Path | None = None, **options: Any) -> Encoder:
    return open_encoder("tfhub", {"model": str(model), **options}, cache)


@pytest.mark.slow
def test_a_module_is_called_as_it_is_or_by_its_signature(saved: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    texts = ["the whale", "whale the", "", "moby dick " * 500]
    encoder = opened(saved)
    wanted = np.asarray(tf.saved_model.load(str(saved))(tf.constant(texts)))
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    assert encoder.spec.dim == 24
    assert np.abs(encoder.embed_texts(texts) - wanted).max() < 1e-6
    other = opened(small_saved_model(tmp_path / "signature", "signature"))
    assert np.abs(other.embed_texts(texts) - wanted).max() < 1e-6
    assert other.spec.id != encoder.spec.id
    before = opened(saved, query_prefix="the ")
    assert np.array_equal(before.embed_texts(["whale"], "query"), before.embed_texts(["the whale"]))


@pytest.mark.slow
def test_what_takes_no_texts_is_refused(tmp_path: Path) -> None:
    skip_without("tensorflow")
    numbers = small_saved_model(tmp_path / "numbers", "numbers")
    with pytest.raises(EncoderError, match="takes no list of strings") as refused:
        opened(numbers)
    assert "\n" not in str(refused.value)
    (numbers / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(EncoderError, match="TensorFlow cannot open"):
        opened(numbers)


@pytest.mark.slow
def test_cuda_is_used_where_it_is(saved: Path) -> None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        with pytest.raises(MissingExtra, match=r"device is 'cuda'.*device = 'cpu'"):
            opened(saved, device="cuda")
        pytest.skip("needs a CUDA device: TensorFlow sees none here")
    quick, plain = opened(saved, device="cuda"), opened(saved, device="cpu")
    assert np.abs(quick.embed_texts(["the whale"]) - plain.embed_texts(["the whale"])).max() < 1e-4


def module_at(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / tfhub.GRAPH).write_bytes(b"")
    return directory


def test_handles_are_found_where_other_tools_cache_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "tfhub"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kaggle"))
    for handle in (HANDLE, KAGGLE, "use"):
        with pytest.raises(EncoderError, match=r"no SavedModel found.*looked at"):
            tfhub.find(handle, tmp_path / "models")
    with pytest.raises(EncoderError, match=r"fetch it: .*curl -L 'https://tfhub\.dev/\S+compressed'"):
        tfhub.find(HANDLE, None)
    place = module_at(tmp_path / "tfhub" / "063d866c06683311b44b4992fd46003be952409c")
    assert tfhub.find(HANDLE, None) == place
    place = module_at(tmp_path / "kaggle" / "models" / KAGGLE)
    assert tfhub.find(KAGGLE, None) == place
    place = module_at(tmp_path / "models" / "use")
    assert tfhub.find("use", tmp_path / "models") == tfhub.find(str(place), None) == place
    with pytest.raises(EncoderError, match="one directory below"):
        tfhub.find(str(tmp_path / "models"), None)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"model": None}, "no model"), ({"device": "tpu"}, "device"), ({"dim": 3}, "dim.*allowed are")],
)
def test_a_wrong_option_is_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        open_encoder("tfhub", options)


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"findling\[tf\]"):
        opened(tmp_path)
