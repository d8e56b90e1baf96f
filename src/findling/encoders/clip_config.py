"""What a CLIP checkpoint's config.json says that decides its computation.

Names and defaults are those of CLIPTextConfig and CLIPVisionConfig in the transformers library, which leaves
out of a saved config.json what equals its default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from findling.errors import EncoderError

ACTIVATIONS = {
    "quick_gelu": "QuickGelu",
    "gelu": "Gelu",
    "gelu_python": "Gelu",
    "gelu_new": "FastGelu",
    "gelu_fast": "FastGelu",
    "gelu_pytorch_tanh": "FastGelu",
}
"""Operators of ONNX Runtime by the names that transformers gives to activations."""

LEGACY_END = 2
"""The wrong eos_token_id of OpenAI's own files; transformers then pools at the greatest token id."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What both towers have: equal blocks of attention and a two-layer network."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class TextShape(Stack, frozen=True, kw_only=True):
    """The texts' tower."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407


class VisionShape(Stack, frozen=True, kw_only=True):
    """The pictures' tower."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32
    num_channels: int = 3

    @property
    def grid(self) -> int:
        """Patches along each side of a picture."""
        return self.image_size // self.patch_size


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Both towers, and the length of the vectors that they share."""

    text: TextShape
    vision: VisionShape
    dim: int

    @classmethod
    def read(cls, config: dict[str, Any], where: Path) -> Shape:
        """From a parsed config.json; raises EncoderError naming the file and what is not known."""
        if (kind := config.get("model_type")) != "clip":
            raise EncoderError(f"{where} describes a {kind!r} model, not one of the CLIP family")
        try:
            shape = cls(
                text=msgspec.convert(_part(config, "text_config"), TextShape),
                vision=msgspec.convert(_part(config, "vision_config"), VisionShape),
                dim=msgspec.convert(config.get("projection_dim", 512), int),
            )
        except msgspec.ValidationError as error:
            raise EncoderError(f"{where}: {error}") from None
        for tower in (shape.text, shape.vision):
            if tower.hidden_act not in ACTIVATIONS:
                raise EncoderError(
                    f"{where} names the activation {tower.hidden_act!r}",
                    todo=f"known are {', '.join(ACTIVATIONS)}",
                )
            if tower.hidden_size % tower.num_attention_heads:
                raise EncoderError(f"{where}: the heads do not share the width evenly")
        if shape.vision.num_channels != 3:
            raise EncoderError(f"{where}: pictures of {shape.vision.num_channels} channels are not known")
        return shape


def _part(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A tower's settings; what older files repeat under `..._dict` goes before, as in transformers."""
    return {**(config.get(name) or {}), **(config.get(f"{name}_dict") or {})}
