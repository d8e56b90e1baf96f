"""Builds CLIP's two towers as ONNX graphs from the arrays of a checkpoint.

The computation is that of CLIPModel in the transformers library (Radford et al., 2021, arXiv:2103.00020).
Three things are arranged otherwise, with equal results: pixels enter as bytes, and their scaling is part of
the first matrix; texts end at the token where they are pooled, since it sees only what is before it; and as
only one token of the last block is used, that block computes two (not one: libraries multiply a single row in
another order of additions than many, and a vector may not depend on its batch-mates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from findling.encoders.clip_config import ACTIVATIONS, Shape, Stack
from findling.encoders.onnx_file import Graph
from findling.errors import EncoderError

Array = NDArray[np.float32]

SITES = ("attention", "mixed", "network", "widened")
"""What the matrices of a block multiply: what attention reads, what it returns, what the two layers read."""

_TYPED = "com.microsoft:"


class Arithmetic(Protocol):
    """How a matrix is multiplied: in floats, watched, or in integers."""

    def linear(self, graph: Graph, value: str, site: str, matrix: Array, bias: Array | None) -> str:
        """The name of (..., out) float32: value (..., in) times matrix (in, out), plus the bias (out,)."""
        ...

    def pixels(self, graph: Graph, value: str, matrix: Array, bias: Array) -> str:
        """The same for a value (..., in) of uint8 that counts as numbers from 0 to 255."""
        ...


class Weights:
    """A checkpoint's arrays by name, in float32."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
        self._arrays = arrays
        self._path = path

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise EncoderError(f"{self._path} lacks the weights {name!r}")
        return np.ascontiguousarray(self._arrays[name], dtype=np.float32)

    def matrix(self, name: str) -> Array:
        """(in, out): a linear layer's weight as it is multiplied from the right."""
        return np.ascontiguousarray(self[name].T)


class Block:
    """The arrays of one block, which may be rescaled before it is built."""

    def __init__(self, weights: Weights, at: str) -> None:
        self.norms = [
            (weights[f"{at}.layer_norm{number}.weight"], weights[f"{at}.layer_norm{number}.bias"])
            for number in (1, 2)
        ]
        self.matrices: dict[str, Array] = {}
        self.biases: dict[str, Array] = {}
        for name, place in _LAYERS.items():
            self.matrices[name] = weights.matrix(f"{at}.{place}.weight")
            self.biases[name] = weights[f"{at}.{place}.bias"]
        self.widened_scale: Array | None = None


_LAYERS = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "mixed": "self_attn.out_proj",
    "network": "mlp.fc1",
    "widened": "mlp.fc2",
}


def blocks(weights: Weights, tower: str, shape: Stack) -> list[Block]:
    """All blocks of `text_model` or `vision_model`."""
    return [Block(weights, f"{tower}.encoder.layers.{n}") for n in range(shape.num_hidden_layers)]


def vision_tower(
    path: Path,
    weights: Weights,
    shape: Shape,
    pixel_scale: tuple[Sequence[float], Sequence[float]],
    layers: Sequence[Block],
    arithmetic: Arithmetic,
) -> None:
    """Writes pixels (n, side, side, 3) uint8 -> vectors (n, dim) float32, not yet scaled to length 1.

    `pixel_scale` is (factor, offset) by channel: what the network was trained on is pixel * factor + offset.
    """
    vision = shape.vision
    grid, patch, width = vision.grid, vision.patch_size, vision.hidden_size
    factor, offset = (np.asarray(each, np.float64) for each in pixel_scale)
    kernel = weights["vision_model.embeddings.patch_embedding.weight"].astype(np.float64)
    matrix = (kernel * factor[None, :, None, None]).transpose(2, 3, 1, 0).reshape(-1, width)
    bias = (kernel * offset[None, :, None, None]).sum(axis=(1, 2, 3))
    positions = weights["vision_model.embeddings.position_embedding.weight"]
    if positions.shape != (grid * grid + 1, width):
        raise EncoderError(f"the checkpoint has {len(positions)} positions for {grid * grid} patches")
    with Graph(path) as graph:
        side = grid * patch
        pixels = graph.input("pixels", "uint8", ("n", side, side, 3))
        split = graph.node("Reshape", [pixels, _shape(graph, 0, grid, patch, grid, patch * 3)])
        turned = graph.node("Transpose", [split], perm=(0, 1, 3, 2, 4))
        patches = graph.node("Reshape", [turned, _shape(graph, 0, grid * grid, patch * patch * 3)])
        seen = arithmetic.pixels(graph, patches, matrix.astype(np.float32), bias.astype(np.float32))
        seen = graph.node("Add", [seen, graph.weight(positions[1:])])
        count = graph.node("Slice", [graph.node("Shape", [pixels]), _shape(graph, 0), _shape(graph, 1)])
        sizes = graph.node("Concat", [count, _shape(graph, 1, width)], axis=0)
        first = weights["vision_model.embeddings.class_embedding"] + positions[0]
        first_token = graph.node("Expand", [graph.weight(first.reshape(1, 1, width)), sizes])
        tokens = graph.node("Concat", [first_token, seen], axis=1)
        tokens = _norm(graph, tokens, weights, "vision_model.pre_layrnorm", vision)
        used = (_shape(graph, 0), _shape(graph, 2))
        last = _stack(graph, tokens, layers, vision, arithmetic, used, causal=False)
        states = _norm(graph, last, weights, "vision_model.post_layernorm", vision)
        _project(graph, states, weights.matrix("visual_projection.weight"), 0, shape.dim)


def text_tower(
    path: Path, weights: Weights, shape: Shape, layers: Sequence[Block], arithmetic: Arithmetic
) -> None:
    """Writes ids (n, length) int32 -> vectors (n, dim) float32 of the last token; length is 2 or more."""
    text = shape.text
    with Graph(path) as graph:
        ids = graph.input("ids", "int32", ("n", "length"))
        words = graph.node(
            "Gather", [graph.weight(weights["text_model.embeddings.token_embedding.weight"]), ids]
        )
        length = graph.node("Slice", [graph.node("Shape", [ids]), _shape(graph, 1), _shape(graph, 2)])
        places = graph.weight(
            weights["text_model.embeddings.position_embedding.weight"][: text.max_position_embeddings]
        )
        tokens = graph.node(
            "Add", [words, graph.node("Slice", [places, _shape(graph, 0), length, _shape(graph, 0)])]
        )
        used = (_shape(graph, -2), _shape(graph, np.iinfo(np.int64).max))
        last = _stack(graph, tokens, layers, text, arithmetic, used, causal=True)
        states = _norm(graph, last, weights, "text_model.final_layer_norm", text)
        _project(graph, states, weights.matrix("text_projection.weight"), 1, shape.dim)


def _stack(
    graph: Graph,
    tokens: str,
    layers: Sequence[Block],
    shape: Stack,
    arithmetic: Arithmetic,
    used: tuple[str, str],
    *,
    causal: bool,
) -> str:
    """The blocks; of the last one only the tokens from `used[0]` to before `used[1]`. Returns their sums."""
    first = layers[0].norms[0]
    reads = _normalised(graph, tokens, first, shape)
    for number, block in enumerate(layers):
        last = number == len(layers) - 1

        def linear(value: str, name: str, site: str, block: Block = block, number: int = number) -> str:
            return arithmetic.linear(
                graph, value, f"{number}.{site}", block.matrices[name], block.biases[name]
            )

        asks = reads
        if last:
            asks, tokens = (graph.node("Slice", [each, *used, _shape(graph, 1)]) for each in (reads, tokens))
        query = linear(asks, "query", "attention")
        key, value = (linear(reads, name, "attention") for name in ("key", "value"))
        options = {"unidirectional": 1} if causal and not last else {}
        mixed = graph.node(
            f"{_TYPED}MultiHeadAttention",
            [query, key, value],
            num_heads=shape.num_attention_heads,
            **options,
        )
        reads, tokens = _added(graph, linear(mixed, "mixed", "mixed"), tokens, block.norms[1], shape)
        wide = graph.node(f"{_TYPED}{ACTIVATIONS[shape.hidden_act]}", [linear(reads, "network", "network")])
        if block.widened_scale is not None:
            wide = graph.node("Mul", [wide, graph.weight(block.widened_scale)])
        narrow = linear(wide, "widened", "widened")
        if last:
            return graph.node("Add", [narrow, tokens])
        reads, tokens = _added(graph, narrow, tokens, layers[number + 1].norms[0], shape)
    raise EncoderError("the checkpoint has no layers")


def _shape(graph: Graph, *sizes: int) -> str:
    return graph.weight(np.array(sizes, np.int64))


def _norm(graph: Graph, value: str, weights: Weights, name: str, shape: Stack) -> str:
    return _normalised(graph, value, (weights[f"{name}.weight"], weights[f"{name}.bias"]), shape)


def _normalised(graph: Graph, value: str, norm: tuple[Array, Array], shape: Stack) -> str:
    scale, bias = (graph.weight(each) for each in norm)
    return graph.node("LayerNormalization", [value, scale, bias], axis=-1, epsilon=shape.layer_norm_eps)


def _added(graph: Graph, new: str, old: str, norm: tuple[Array, Array], shape: Stack) -> tuple[str, str]:
    """The sum of two values normalised, and the sum."""
    total = graph.node("Add", [new, old])
    return _normalised(graph, total, norm, shape), total


def _project(graph: Graph, states: str, matrix: Array, token: int, dim: int) -> None:
    """(n, 2, width) -> the output (n, dim) of one of the two tokens."""
    both = graph.node("MatMul", [states, graph.weight(matrix)])
    one = graph.node("Gather", [both, graph.weight(np.array(token, np.int64))], axis=1)
    graph.output("vectors", one, "float32", ("n", dim))
