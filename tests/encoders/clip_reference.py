"""CLIP's forward pass in plain numpy, and small checkpoints with random weights: what the encoder is held to.

The formulas are those of Radford et al. 2021 (arXiv 2103.00020), the names of weights and files those of the
transformers library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

Array = NDArray[np.float64]
START, END = "<|startoftext|>", "<|endoftext|>"
SIDE, PATCH, WIDTH, TEXT_WIDTH, DIM, TOKENS = 32, 8, 48, 32, 24, 16
MEAN, DEVIATION = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def _activated(x: Array, name: str) -> Array:
    if name == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    if name == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class Reference:
    """Both towers of a checkpoint's directory, in float64, one text or picture at a time."""

    def __init__(self, directory: Path) -> None:
        stored = load_file(directory / "model.safetensors")
        self.arrays = {name: array.astype(np.float64) for name, array in stored.items()}
        self.config = json.loads((directory / "config.json").read_text())

    def _linear(self, x: Array, name: str) -> Array:
        return x @ self.arrays[f"{name}.weight"].T + self.arrays[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / deviation * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]

    def _blocks(self, x: Array, tower: str, *, causal: bool) -> Array:
        settings = self.config[f"{tower}_config"]
        heads, length = settings["num_attention_heads"], len(x)
        for number in range(settings["num_hidden_layers"]):
            at = f"{tower}_model.encoder.layers.{number}"
            read = self._norm(x, f"{at}.layer_norm1")
            query, key, value = (
                self._linear(read, f"{at}.self_attn.{name}_proj")
                .reshape(length, heads, -1)
                .transpose(1, 0, 2)
                for name in "qkv"
            )
            scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
            if causal:
                scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = (shares / shares.sum(-1, keepdims=True)) @ value
            x = x + self._linear(mixed.transpose(1, 0, 2).reshape(length, -1), f"{at}.self_attn.out_proj")
            wide = self._linear(self._norm(x, f"{at}.layer_norm2"), f"{at}.mlp.fc1")
            x = x + self._linear(_activated(wide, settings["hidden_act"]), f"{at}.mlp.fc2")
        return x

    def text(self, ids: list[int], end: int) -> Array:
        """The vector of token ids, pooled at position `end`, of length 1; all tokens are computed."""
        at = "text_model.embeddings"
        x = self.arrays[f"{at}.token_embedding.weight"][ids]
        x = x + self.arrays[f"{at}.position_embedding.weight"][: len(ids)]
        x = self._norm(self._blocks(x, "text", causal=True), "text_model.final_layer_norm")
        return _unit(self.arrays["text_projection.weight"] @ x[end])

    def picture(self, pixels: NDArray[np.uint8]) -> Array:
        """The vector of (side, side, 3) bytes, of length 1."""
        at = "vision_model.embeddings"
        scaled = (pixels / 255 - np.array(MEAN)) / np.array(DEVIATION)
        kernel = self.arrays[f"{at}.patch_embedding.weight"]
        size = kernel.shape[-1]
        patches = [
            np.einsum("yxc,ocyx->o", scaled[top : top + size, left : left + size], kernel)
            for top in range(0, len(pixels) - size + 1, size)
            for left in range(0, len(pixels) - size + 1, size)
        ]
        x = np.stack([self.arrays[f"{at}.class_embedding"], *patches])
        x = self._norm(x + self.arrays[f"{at}.position_embedding.weight"], "vision_model.pre_layrnorm")
        x = self._norm(self._blocks(x, "vision", causal=False), "vision_model.post_layernorm")
        return _unit(self.arrays["visual_projection.weight"] @ x[0])


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


def small_clip(
    directory: Path, *, activation: str = "quick_gelu", legacy: bool = False, old: bool = False, seed: int = 3
) -> Path:
    """A checkpoint with random weights; `legacy` has a wrong end token, `old` the pair of word files."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = words()
    if old:
        (directory / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (directory / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    else:
        write_tokenizer(directory, vocabulary, merges)
    stack = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_act": activation}
    config: dict[str, Any] = {
        "model_type": "clip",
        "projection_dim": DIM,
        "text_config": stack
        | {
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": TOKENS,
            "eos_token_id": 2 if legacy else vocabulary[END],
        },
        "vision_config": stack
        | {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "image_size": SIDE, "patch_size": PATCH},
    }
    (directory / "config.json").write_text(json.dumps(config))
    preprocessing = {
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
        "image_mean": MEAN,
        "image_std": DEVIATION,
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    save_file(_arrays(config, seed), directory / "model.safetensors")
    return directory


def _arrays(config: dict[str, Any], seed: int) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float32]] = {}

    def add(name: str, *shape: int, spread: float = 0.2, around: float = 0.0) -> None:
        arrays[name] = (around + draw.normal(0, spread, shape)).astype(np.float32)

    text, vision = config["text_config"], config["vision_config"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2
    add("text_model.embeddings.token_embedding.weight", text["vocab_size"], TEXT_WIDTH, spread=1)
    add("text_model.embeddings.position_embedding.weight", TOKENS, TEXT_WIDTH)
    add("vision_model.embeddings.class_embedding", WIDTH)
    add("vision_model.embeddings.patch_embedding.weight", WIDTH, 3, PATCH, PATCH, spread=0.1)
    add("vision_model.embeddings.position_embedding.weight", patches + 1, WIDTH)
    norms = ["text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm"]
    for tower, settings in (("text", text), ("vision", vision)):
        width, wide = settings["hidden_size"], settings["intermediate_size"]
        for number in range(settings["num_hidden_layers"]):
            at = f"{tower}_model.encoder.layers.{number}"
            norms += [f"{at}.layer_norm1", f"{at}.layer_norm2"]
            for name in ("q", "k", "v", "out"):
                add(f"{at}.self_attn.{name}_proj.weight", width, width)
                add(f"{at}.self_attn.{name}_proj.bias", width)
            add(f"{at}.mlp.fc1.weight", wide, width)
            add(f"{at}.mlp.fc1.bias", wide)
            add(f"{at}.mlp.fc2.weight", width, wide)
            add(f"{at}.mlp.fc2.bias", width)
    for name in norms:
        width = TEXT_WIDTH if name.startswith("text") else WIDTH
        # A few channels are far larger than the others, as in networks that were trained.
        add(f"{name}.weight", width, around=1.0)
        arrays[f"{name}.weight"][:2] *= 8
        add(f"{name}.bias", width)
    add("text_projection.weight", DIM, TEXT_WIDTH)
    add("visual_projection.weight", DIM, WIDTH)
    arrays["logit_scale"] = np.array(2.6, np.float32)
    return arrays


def words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE vocabulary in CLIP's manner (words end in </w>) with a few merges."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merges = [
        ("s", "h"),
        ("sh", "i"),
        ("shi", "p</w>"),
        ("s", "e"),
        ("se", "a</w>"),
        ("r", "e"),
        ("re", "d</w>"),
    ]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    return {token: number for number, token in enumerate([*tokens, START, END])}, merges


def write_tokenizer(directory: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """A tokenizer.json as transformers writes it for CLIP."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    tokenizer.add_special_tokens([START, END])
    tokenizer.save(str(directory / "tokenizer.json"))


def pictures(count: int, seed: int = 5) -> list[Image.Image]:
    """Pictures of many sizes, smooth and rough."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        width, height = (int(size) for size in draw.integers(20, 120, 2))
        grain = 1 if number % 3 == 0 else 12
        rough = draw.integers(0, 256, (height // grain + 2, width // grain + 2, 3)).astype(np.uint8)
        found.append(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))
    return found
