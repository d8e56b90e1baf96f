"""CLIP held to the transformers library: both towers, the pictures' preparation, and once at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encoders.clip_reference import pictures, small_clip, words, write_tokenizer
from findling.encoders.base import open_encoder
from findling.encoders.clip_pictures import Preprocessing

pytestmark = [pytest.mark.slow, pytest.mark.needs("torch", "transformers")]

TEXTS = ["a red ship on a dark sea", "sea", "", "red SHIP", "ship " * 90, "l'été"]


def random_clip(directory: Path, **shape: Any) -> tuple[Any, int]:
    """A CLIPModel with random weights saved in the hub's layout, and its end token."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(11)
    vocabulary, merges = words()
    end = len(vocabulary) - 1
    text = {"eos_token_id": end, "bos_token_id": end - 1, "pad_token_id": end, **shape.pop("text", {})}
    config = CLIPConfig(text_config=text, **shape)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases are zero and scales one until a model is trained
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    side = config.vision_config.image_size
    CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    ).save_pretrained(directory)
    write_tokenizer(directory, vocabulary, merges)
    return model, end


def compare(directory: Path, model: Any, images: list[Image.Image]) -> None:
    """Pictures and texts to 1e-4 in floats, as transformers pads and masks them."""
    import torch
    from tokenizers import Tokenizer
    from transformers import CLIPImageProcessor

    encoder = open_encoder(str(directory), {"precision": "float32"}, directory / "cache")
    ready = CLIPImageProcessor.from_pretrained(directory)(images, return_tensors="pt")["pixel_values"]
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    longest = model.config.text_config.max_position_embeddings
    end = model.config.text_config.eos_token_id
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=len(words()[0]) - 1 if end == 2 else end, length=longest)
    encoded = tokenizer.encode_batch(TEXTS)
    with torch.inference_mode():
        seen = features(model.get_image_features(pixel_values=ready))
        read = features(
            model.get_text_features(
                input_ids=torch.tensor([each.ids for each in encoded]),
                attention_mask=torch.tensor([each.attention_mask for each in encoded]),
            )
        )
    assert np.abs(encoder.embed_images(images) - seen).max() < 1e-4
    assert np.abs(encoder.embed_texts(TEXTS) - read).max() < 1e-4


def features(output: Any) -> Any:
    import torch

    vectors = getattr(output, "pooler_output", output)
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


SMALL = {
    "vision_config": {
        "hidden_size": 96,
        "intermediate_size": 200,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "image_size": 64,
        "patch_size": 16,
    },
    "projection_dim": 48,
}
SMALL_TEXT = {
    "vocab_size": len(words()[0]),
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "gelu_pytorch_tanh"])
def test_a_small_clip_equals_transformers(tmp_path: Path, activation: str) -> None:
    vision = SMALL["vision_config"] | {"hidden_act": activation}
    text = SMALL_TEXT | {"hidden_act": activation}
    model, _ = random_clip(tmp_path / "model", **SMALL | {"vision_config": vision, "text": text})
    compare(tmp_path / "model", model, pictures(13))


def test_the_wrong_end_token_pools_as_in_transformers(tmp_path: Path) -> None:
    model, _ = random_clip(tmp_path / "model", **SMALL, text=SMALL_TEXT | {"eos_token_id": 2})
    compare(tmp_path / "model", model, pictures(3))


def test_clip_at_full_size_equals_transformers(tmp_path: Path) -> None:
    model, _ = random_clip(tmp_path / "model")  # the defaults are those of ViT-B/32
    assert model.config.vision_config.hidden_size == 768
    images = [image.resize((240, 360)) for image in pictures(5)]
    compare(tmp_path / "model", model, images)
    exact = open_encoder(str(tmp_path / "model"), {"precision": "float32"}, tmp_path / "model" / "cache")
    rounded = open_encoder(str(tmp_path / "model"), {}, tmp_path / "model" / "cache")
    cosines = (exact.embed_images(images) * rounded.embed_images(images)).sum(axis=1)
    assert cosines.min() > 0.999
    for encoder in (exact, rounded):
        alone = np.concatenate([encoder.embed_images([image]) for image in images])
        assert np.array_equal(encoder.embed_images(images), alone)
        alone = np.concatenate([encoder.embed_texts([text]) for text in TEXTS * 2])
        assert np.array_equal(encoder.embed_texts(TEXTS * 2), alone)


@pytest.mark.parametrize("size", [(240, 360), (333, 517), (1000, 301), (31, 400), (225, 224), (50, 50)])
def test_pictures_are_prepared_as_in_transformers(size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessor

    config = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    theirs = CLIPImageProcessor(**config, do_rescale=False, do_normalize=False)
    draw = np.random.default_rng(2)
    image = Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    wanted = np.asarray(theirs(image)["pixel_values"][0]).transpose(1, 2, 0).astype(int)
    ours = Preprocessing.read(config, 224, Path("preprocessor_config.json"))(image).astype(int)
    assert np.abs(ours - wanted).max() <= 1


def test_the_older_word_files_make_the_tokenizer_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    directory = small_clip(tmp_path / "old", old=True)
    theirs = CLIPTokenizer.from_pretrained(directory)
    from findling.encoders import clip_files
    from findling.encoders.texts import Tokenizer

    clip_files.save_tokenizer(clip_files.find(None, str(directory), None), tmp_path / "tokenizer.json")
    ours = Tokenizer(tmp_path / "tokenizer.json", 77, special=True)
    texts = [*TEXTS[:4], "Hello,  World! 42 it's", "l'été — 東京", "\tA\n\nb"]
    assert ours(texts) == [theirs(text)["input_ids"] for text in texts]
