"""Writes BERT-family weights as a CTranslate2 model.

Neither torch nor transformers is needed: the specification's arrays are filled from the safetensors. The
mapping of names follows the layouts of BERT, RoBERTa, XLM-RoBERTa and DistilBERT in the transformers library.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.encoders import hub
from findling.encoders.presets import CONFIG, TOKENIZER, WEIGHTS
from findling.encoders.processor import has_byte_products
from findling.errors import EncoderError

LAYOUT = "2"  # of what is kept: another layout is another model
_SEVEN_BITS = 64
_ACTIVATIONS = {
    "gelu": "GELU",
    "gelu_python": "GELU",
    "gelu_new": "GELUTanh",
    "gelu_fast": "GELUTanh",
    "gelu_pytorch_tanh": "GELUTanh",
    "relu": "RELU",
    "silu": "SWISH",
    "swish": "SWISH",
}


class Architecture(msgspec.Struct, frozen=True):
    """The figures of a config.json that decide the computation."""

    kind: str
    layers: int
    heads: int
    dim: int
    activation: str
    epsilon: float
    positions: int
    first_position: int

    @classmethod
    def read(cls, config: dict[str, Any], where: Path) -> Architecture:
        """From a parsed config.json; raises EncoderError where the family is not one of those known."""
        kind = str(config.get("model_type", "bert"))
        if kind not in {"bert", "roberta", "xlm-roberta", "camembert", "distilbert"}:
            raise EncoderError(
                f"{where} describes a {kind!r} model",
                todo="known are bert, roberta, xlm-roberta, camembert, distilbert and model2vec",
            )
        if (positions := config.get("position_embedding_type", "absolute")) != "absolute":
            raise EncoderError(f"{where}: positions of kind {positions!r} are not known, only 'absolute'")
        distilled = kind == "distilbert"
        try:
            # RoBERTa numbers positions from the padding token's id plus one.
            first = 0 if kind in {"bert", "distilbert"} else int(config.get("pad_token_id", 1)) + 1
            activation = str(config["activation" if distilled else "hidden_act"])
            return cls(
                kind=kind,
                layers=int(config["n_layers" if distilled else "num_hidden_layers"]),
                heads=int(config["n_heads" if distilled else "num_attention_heads"]),
                dim=int(config["dim" if distilled else "hidden_size"]),
                activation=_ACTIVATIONS[activation],
                epsilon=1e-12 if distilled else float(config.get("layer_norm_eps", 1e-12)),
                positions=int(config["max_position_embeddings"]) - first,
                first_position=first,
            )
        except KeyError as error:
            raise EncoderError(f"{where} lacks {error}, or has a value there that is not known") from error


def facts(sha256: dict[str, str], precision: str) -> list[str]:
    """All that decides what a model is converted to."""
    numbers = f"{precision} narrow" if _narrow(precision) else precision
    return [LAYOUT, numbers, *(sha256[name] for name in (CONFIG, TOKENIZER, WEIGHTS))]


def convert(files: hub.Files, precision: str, out: Path) -> None:
    """Write the CTranslate2 form of a model, and its tokenizer, into an empty directory."""
    from ctranslate2 import specs
    from ctranslate2.specs import common_spec, transformer_spec

    shape = Architecture.read(hub.read_json(files.paths[CONFIG]), files.paths[CONFIG])
    weights = _Weights(hub.read_arrays(files.paths[WEIGHTS]), files.paths[WEIGHTS])
    typed = shape.kind != "distilbert"
    encoder = transformer_spec.TransformerEncoderSpec(
        shape.layers,
        shape.heads,
        pre_norm=False,
        activation=getattr(common_spec.Activation, shape.activation),
        layernorm_embedding=True,
        num_source_embeddings=2 if typed else 1,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD if typed else common_spec.EmbeddingsMerge.CONCAT,
    )
    encoder.scale_embeddings = False
    spec = specs.TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = shape.epsilon
    _fill(encoder, weights, shape)
    # CTranslate2 wants a vocabulary; we give it token ids, so that any words will do.
    spec.register_vocabulary([str(number) for number in range(spec.get_vocabulary_size())])
    spec.validate()
    floats = [(linear, linear.weight.numpy().copy()) for linear in _linears(encoder)]
    spec.optimize(quantization=precision)
    if _narrow(precision):
        for linear, weight in floats:
            linear.weight, linear.weight_scale = _in_seven_bits(weight)
        spec.validate()
    spec.save(str(out))
    shutil.copyfile(files.paths[TOKENIZER], out / TOKENIZER)


def _narrow(precision: str) -> bool:
    """Whether weights take seven bits: where pairs of products of eight could overflow."""
    return precision == "int8" and not has_byte_products()


def _in_seven_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers of at most 64, so that 255 x 64 x 2 fits 16 bits, and by row what they were multiplied by."""
    largest = np.abs(matrix).max(axis=1)
    scale = (_SEVEN_BITS / np.where(largest > 0, largest, _SEVEN_BITS)).astype(np.float32)
    return np.rint(matrix * scale[:, None]).astype(np.int8), scale


def _linears(encoder: Any) -> Iterator[Any]:
    for layer in encoder.layer:
        yield from layer.self_attention.linear
        yield layer.ffn.linear_0
        yield layer.ffn.linear_1


class _Weights:
    """The arrays of a safetensors file by name, whatever prefix the names have; float32."""

    def __init__(self, arrays: dict[str, NDArray[Any]], path: Path) -> None:
        self.path = path
        self.arrays = arrays
        found = [name for name in arrays if name.endswith("embeddings.word_embeddings.weight")]
        if len(found) != 1:
            raise EncoderError(f"{path} holds no weights of a BERT-family encoder")
        self.prefix = found[0].removesuffix("embeddings.word_embeddings.weight")

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        # Checkpoints that came from TensorFlow call a layer norm's weight and bias gamma and beta.
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for known in (self.prefix + name, self.prefix + old):
            if known in self.arrays:
                return np.ascontiguousarray(self.arrays[known], dtype=np.float32)
        raise EncoderError(f"{self.path} lacks the weights {self.prefix + name!r}")


def _fill(encoder: Any, weights: _Weights, shape: Architecture) -> None:
    encoder.embeddings[0].weight = weights["embeddings.word_embeddings.weight"]
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"][
        shape.first_position :
    ]
    _norm(encoder.layernorm_embedding, weights, "embeddings.LayerNorm")
    if shape.kind == "distilbert":
        names = {
            "layer": "transformer.layer",
            "query": "attention.q_lin",
            "key": "attention.k_lin",
            "value": "attention.v_lin",
            "out": "attention.out_lin",
            "norm": "sa_layer_norm",
            "up": "ffn.lin1",
            "down": "ffn.lin2",
            "last": "output_layer_norm",
        }
    else:
        encoder.embeddings[1].weight = weights["embeddings.token_type_embeddings.weight"]
        names = {
            "layer": "encoder.layer",
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "out": "attention.output.dense",
            "norm": "attention.output.LayerNorm",
            "up": "intermediate.dense",
            "down": "output.dense",
            "last": "output.LayerNorm",
        }
    for number, layer in enumerate(encoder.layer):
        at = f"{names['layer']}.{number}."
        attention, feed = layer.self_attention, layer.ffn
        for part in ("weight", "bias"):
            fused = [weights[f"{at}{names[name]}.{part}"] for name in ("query", "key", "value")]
            setattr(attention.linear[0], part, np.concatenate(fused))
            setattr(attention.linear[1], part, weights[f"{at}{names['out']}.{part}"])
            setattr(feed.linear_0, part, weights[f"{at}{names['up']}.{part}"])
            setattr(feed.linear_1, part, weights[f"{at}{names['down']}.{part}"])
        _norm(attention.layer_norm, weights, at + names["norm"])
        _norm(feed.layer_norm, weights, at + names["last"])


def _norm(spec: Any, weights: _Weights, name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]
