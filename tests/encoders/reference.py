"""BERT's forward pass in plain numpy, and small models with random weights: what encoders are held to.

The formulas are those of Devlin et al. 2018 (arXiv 1810.04805), with GELU in its exact form, and the names of
weights those of the transformers library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[np.float64]
TITLES = "the a whale hunt that becomes an obsession moby dick sea ship captain war peace of and to in"
WORDS = TITLES.split()


def forward(directory: Path, ids: list[int]) -> Array:
    """The last hidden states (tokens, dim) of one text's token ids, in float64."""
    config = json.loads((directory / "config.json").read_text())
    kind = config["model_type"]
    arrays = {
        name: array.astype(np.float64) for name, array in load_file(directory / "model.safetensors").items()
    }
    (word,) = (name for name in arrays if name.endswith("word_embeddings.weight"))
    prefix = word.removesuffix("embeddings.word_embeddings.weight")

    def take(name: str) -> Array:
        return arrays[prefix + name]

    def linear(x: Array, name: str) -> Array:
        return x @ take(f"{name}.weight").T + take(f"{name}.bias")

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + config.get("layer_norm_eps", 1e-12))
        return centred / deviation * take(f"{name}.weight") + take(f"{name}.bias")

    distilled = kind == "distilbert"
    first = config.get("pad_token_id", 1) + 1 if kind in {"roberta", "xlm-roberta"} else 0
    x = take("embeddings.word_embeddings.weight")[ids]
    x = x + take("embeddings.position_embeddings.weight")[first : first + len(ids)]
    if not distilled:
        x = x + take("embeddings.token_type_embeddings.weight")[0]
    x = norm(x, "embeddings.LayerNorm")
    heads = config["n_heads" if distilled else "num_attention_heads"]
    for number in range(config["n_layers" if distilled else "num_hidden_layers"]):
        at = f"transformer.layer.{number}." if distilled else f"encoder.layer.{number}."
        names = (
            ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm")
            if distilled
            else (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
                "attention.output.LayerNorm",
            )
        )
        up, down, last = (
            ("ffn.lin1", "ffn.lin2", "output_layer_norm")
            if distilled
            else ("intermediate.dense", "output.dense", "output.LayerNorm")
        )
        query, key, value = (
            linear(x, at + name).reshape(len(ids), heads, -1).transpose(1, 0, 2) for name in names[:3]
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        x = norm(linear(mixed.transpose(1, 0, 2).reshape(len(ids), -1), at + names[3]) + x, at + names[4])
        inner = linear(x, at + up)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(linear(inner, at + down) + x, at + last)
    return x


def embed(directory: Path, ids: list[int], pooling: str = "mean") -> Array:
    """One text's vector, of length 1."""
    states = forward(directory, ids)
    pooled = states[0] if pooling == "cls" else states.mean(0)
    return pooled / np.linalg.norm(pooled)


def small_model(
    directory: Path, kind: str = "bert", *, dim: int = 32, prefix: str = "", seed: int = 7
) -> Path:
    """A model directory with random weights of the given layout, and a tokenizer of a few words."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(directory)
    heads, layers, inner, first = 4, 2, dim * 2, 2 if "roberta" in kind else 0
    distilled = kind == "distilbert"
    config: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": vocabulary,
        "max_position_embeddings": 64 + first,
    }
    config |= (
        {"n_layers": layers, "n_heads": heads, "dim": dim, "hidden_dim": inner, "activation": "gelu"}
        if distilled
        else {
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_size": dim,
            "intermediate_size": inner,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5 if first else 1e-12,
            "type_vocab_size": 1 if first else 2,
            "pad_token_id": 1 if first else 0,
        }
    )
    (directory / "config.json").write_text(json.dumps(config))
    draw = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float32]] = {}

    def add(name: str, *shape: int, around: float = 0.0) -> None:
        arrays[prefix + name] = (around + draw.normal(0, 0.2, shape)).astype(np.float32)

    def norm(name: str) -> None:
        add(f"{name}.weight", dim, around=1.0)
        add(f"{name}.bias", dim)

    def linear(name: str, out: int, given: int) -> None:
        add(f"{name}.weight", out, given)
        add(f"{name}.bias", out)

    add("embeddings.word_embeddings.weight", vocabulary, dim)
    add("embeddings.position_embeddings.weight", 64 + first, dim)
    if not distilled:
        add("embeddings.token_type_embeddings.weight", config["type_vocab_size"], dim)
    norm("embeddings.LayerNorm")
    for number in range(layers):
        at = f"transformer.layer.{number}." if distilled else f"encoder.layer.{number}."
        if distilled:
            for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
                linear(f"{at}attention.{name}", dim, dim)
            norm(f"{at}sa_layer_norm")
            linear(f"{at}ffn.lin1", inner, dim)
            linear(f"{at}ffn.lin2", dim, inner)
            norm(f"{at}output_layer_norm")
        else:
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                linear(f"{at}attention.{name}", dim, dim)
            norm(f"{at}attention.output.LayerNorm")
            linear(f"{at}intermediate.dense", inner, dim)
            linear(f"{at}output.dense", dim, inner)
            norm(f"{at}output.LayerNorm")
    save_file(arrays, directory / "model.safetensors")
    return directory


def small_static(directory: Path, *, dim: int = 16, seed: int = 7, **more: NDArray[Any]) -> Path:
    """A model2vec directory with random token vectors; `more` are further arrays of the file."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(directory)
    vectors = np.random.default_rng(seed).normal(0, 1, (vocabulary, dim)).astype(np.float32)
    save_file({"embeddings": vectors} | more, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))
    return directory


def write_tokenizer(directory: Path) -> int:
    """A BERT-style tokenizer.json over a few words and single letters; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *WORDS,
        *(set(letters) - set(WORDS)),
        *(f"##{c}" for c in letters),
    ]
    tokens = list(dict.fromkeys(sorted(tokens, key=lambda token: (not token.startswith("["), token))))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    return len(vocabulary)
