"""How pictures are prepared for CLIP, and how far a JPEG opened at a reduced scale may differ."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from findling.demo.covers import draw_cover
from findling.encoders.base import open_encoder
from findling.encoders.clip_calibration import pictures
from findling.encoders.clip_pictures import DRAFT, Preprocessing
from findling.errors import EncoderError
from findling.pictures import open_picture

OPENAI: dict[str, Any] = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": {"shortest_edge": 224},
}


def prepare(config: dict[str, Any], side: int = 224) -> Preprocessing:
    return Preprocessing.read(config, side, Path("preprocessor_config.json"))


def step_by_step(image: Image.Image, side: int = 224) -> Any:
    """Resize to the shortest edge, then cut out the middle, as the original code does."""
    width, height = image.size
    shortest = min(width, height)
    size = int(side * width / shortest), int(side * height / shortest)
    resized = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(resized.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize("size", [(240, 360), (361, 240), (224, 224), (30, 17), (1000, 301), (224, 500)])
def test_pictures_are_resized_and_cut_to_the_middle(size: tuple[int, int]) -> None:
    draw = np.random.default_rng(1)
    image = Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    assert np.array_equal(prepare(OPENAI)(image), step_by_step(image))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (40, 4000), (1, 1)])
def test_pictures_of_any_shape_take_little_memory(size: tuple[int, int]) -> None:
    assert prepare(OPENAI)(Image.new("RGB", size, (10, 200, 30))).tolist() == [[[10, 200, 30]] * 224] * 224


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_pictures_of_any_mode_are_taken(mode: str) -> None:
    pixels = prepare(OPENAI)(Image.new("RGB", (50, 40), (120, 30, 200)).convert(mode))
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8


def test_older_files_write_sizes_as_numbers() -> None:
    old = prepare({**OPENAI, "size": 224, "crop_size": 224})
    assert old == prepare(OPENAI)


def test_a_height_and_a_width_mean_exactly_that() -> None:
    config = {**OPENAI, "size": {"height": 64, "width": 64}, "do_center_crop": False}
    image = draw_cover("The Red Ship")
    wanted = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))
    assert np.array_equal(prepare(config, 64)(image), wanted)


def test_scale_and_offset_say_what_the_network_was_trained_on() -> None:
    factor, offset = prepare(OPENAI).scale
    for channel in range(3):
        wanted = (200 / 255 - OPENAI["image_mean"][channel]) / OPENAI["image_std"][channel]
        assert 200 * factor[channel] + offset[channel] == pytest.approx(wanted)
    assert prepare({**OPENAI, "do_normalize": False}).scale == ([1 / 255] * 3, [0.0] * 3)
    assert prepare({**OPENAI, "do_normalize": False, "do_rescale": False}).scale == ([1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_resize": False}, "nothing of how to resize"),
        ({"size": None}, "nothing of how to resize"),
        ({"crop_size": 336}, "the network takes 224x224"),
        ({"size": {"shortest_edge": 200}}, "smaller than the part"),
        ({"size": {"shortest_edge": "long"}}, "Expected `int`"),
    ],
)
def test_settings_that_cannot_be_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        prepare({**OPENAI, **change})


def jpeg(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def large(side: int) -> list[Image.Image]:
    """Coloured noise with lines, and covers, of so many pixels across."""
    clouds = [Image.fromarray(picture) for picture in list(pictures(side))[-16:]]
    titles = "The Red Ship", "Owl", "A Castle at Night"
    return clouds + [draw_cover(title).resize((side, side * 3 // 2)) for title in titles]


def test_a_reduced_jpeg_hardly_differs_from_a_whole_one() -> None:
    side = 64
    ready = prepare({**OPENAI, "size": side, "crop_size": side}, side)
    assert ready.jpeg_side == DRAFT * side
    differences = []
    for image in large(16 * side):
        content = jpeg(image, quality=90, subsampling=0)
        whole, reduced = open_picture(content), open_picture(content, ready.jpeg_side)
        assert DRAFT * side <= min(reduced.size) < min(whole.size)
        differences.append(np.abs(ready(reduced).astype(int) - ready(whole).astype(int)))
    assert max(each.mean() for each in differences) < 1
    # Noise of a pixel's width is the worst there is; one byte in a hundred is off by more than a grey level.
    assert np.quantile(np.stack(differences), 0.99) <= 2
    assert np.quantile(np.stack(differences), 0.95) <= 1


def test_its_vector_is_as_good() -> None:
    """One grey level more or less of noise, which nobody sees, costs the same model as much of the cosine."""
    encoder = open_encoder("tiny-clip", {"precision": "float32"})
    contents = [jpeg(image) for image in large(1024)]
    reduced = [open_picture(content, encoder.spec.jpeg_side) for content in contents]
    assert {image.width for image in reduced} == {256}
    whole = encoder.embed_images([open_picture(content) for content in contents])
    assert (encoder.embed_images(reduced) * whole).sum(axis=1).min() > 0.999
