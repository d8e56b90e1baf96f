"""What CLIP's activations range over: pictures and texts made up for it, and the ranges that they show.

The pictures are drawn by rule from fixed seeds, so that a model is converted in the same way everywhere.
They span what pictures have: flat colour, gradients, edges, stripes, shapes, and noise with the spectra of
photographs (power falling with frequency; Field, 1987, "Relations between the statistics of natural images").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

TEXTS = (
    "a photo of a dog",
    "a black and white photograph of an old woman reading a letter by the window",
    "red ship on a dark sea",
    "book cover",
    "The Adventures of Sherlock Holmes, Arthur Conan Doyle, London 1892",
    "a painting of mountains at sunset in the style of the old masters",
    "two children playing football in the street after the rain",
    "an aerial view of a city at night with bright lights along the river",
    "map of the world",
    "a close-up of a yellow flower with a bee",
    "minimalist geometric poster, blue triangles on white, bold sans-serif title",
    "skull, rose and dagger",
    "a cat",
    "",
    "a plate of spaghetti with tomatoes, basil and grated cheese on a wooden table",
    "diagram of a steam engine from an 1880 encyclopaedia, labelled A to F",
    "12345 67890",
    "Ein Schiff im Sturm, der Leuchtturm weist den Weg",
    "une femme en robe rouge dans un champ de blé",
    "!!! ??? ... ;-)",
    "an astronaut riding a horse on the moon, digital art",
    "portrait of a man with a beard and round glasses",
    "a dragon flying over a castle in the mountains, fantasy novel cover, gold lettering",
    "the quick brown fox jumps over the lazy dog",
)


def pictures(side: int) -> Iterator[Pixels]:
    """Seventy pictures (side, side, 3) uint8, always the same for a side."""
    random = np.random.default_rng(20210226)
    y, x = np.mgrid[0:side, 0:side] / max(1, side - 1)
    for level in (0, 255, 128):
        yield np.full((side, side, 3), level, np.uint8)
    for _ in range(5):  # two colours, mixed along a slanted line
        first, second = random.uniform(0, 255, (2, 3))
        angle = random.uniform(0, 2 * np.pi)
        share = 0.5 + 0.5 * np.clip(2 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)), -1, 1)
        yield _bytes(first + (second - first) * share[..., None])
    for _ in range(4):  # stripes of any width
        first, second = random.uniform(0, 255, (2, 3))
        angle, pitch = random.uniform(0, np.pi), random.uniform(2, 60)
        wave = np.sin(np.pi * side / pitch * (x * np.cos(angle) + y * np.sin(angle))) > 0
        yield _bytes(np.where(wave[..., None], first, second))
    for number in range(12):  # shapes before a ground, some with grain
        picture = np.broadcast_to(random.uniform(0, 255, 3), (side, side, 3)).copy()
        for _ in range(random.integers(2, 12)):
            left, top = random.uniform(-0.2, 1, 2)
            width, height = random.uniform(0.05, 0.8, 2)
            across, down = (x - left) / width, (y - top) / height
            if random.random() < 0.5:
                inside = (across > 0) & (across < 1) & (down > 0) & (down < 1)
            else:
                inside = (across - 0.5) ** 2 + (down - 0.5) ** 2 < 0.25
            picture[inside] = random.uniform(0, 255, 3)
        grain = random.normal(0, 12, picture.shape) if number % 3 == 0 else 0.0
        yield _bytes(picture + grain)
    for _ in range(30):  # posters: shapes and lines of all widths over two colours
        yield _poster(random, side)
    for number in range(16):  # clouds: noise whose amplitude falls with frequency
        steepness = (0.0, 0.6, 0.9, 1.1, 1.3, 1.6)[number % 6]
        yield _clouds(random, side, steepness, random.uniform(15, 80), random.uniform(40, 215, 3))


def batches(side: int, size: int = 8) -> Iterator[Pixels]:
    """All pictures in batches (n, side, side, 3)."""
    found = list(pictures(side))
    for start in range(0, len(found), size):
        yield np.stack(found[start : start + size])


def _bytes(picture: NDArray[np.float64]) -> Pixels:
    clipped: Pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return clipped


def _poster(random: np.random.Generator, side: int) -> Pixels:
    from PIL import Image, ImageDraw

    first, second = random.uniform(0, 255, (2, 3))
    share = np.linspace(0, 1, side)[:, None, None]
    image = Image.fromarray(_bytes(np.broadcast_to(first + (second - first) * share, (side, side, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(random.integers(1, 25)):
        red, green, blue = (int(level) for level in random.integers(0, 256, 3))
        points = [float(place) * side for place in random.uniform(-0.1, 1.1, 6)]
        left, right, top, bottom = *sorted(points[0:2]), *sorted(points[2:4])
        match random.integers(0, 4):
            case 0:
                draw.polygon(points, fill=(red, green, blue))
            case 1:
                draw.ellipse((left, top, right, bottom), fill=(red, green, blue))
            case 2:
                draw.rectangle((left, top, right, (top + bottom) / 2), fill=(red, green, blue))
            case _:
                width = max(1, int(side * random.choice((0.01, 0.02, 0.05, 0.1))))
                draw.line(points, fill=(red, green, blue), width=width)
    return np.asarray(image)


def _clouds(
    random: np.random.Generator, side: int, steepness: float, contrast: float, middle: NDArray[np.float64]
) -> Pixels:
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequencies[0, 0] = 1
    spectrum = np.fft.rfft2(random.normal(size=(3, side, side))) / frequencies**steepness
    field = np.fft.irfft2(spectrum, (side, side)).transpose(1, 2, 0)
    shared = field.mean(axis=2, keepdims=True) * 1.5 + field * 0.5  # photographs' channels go together
    shared = (shared - shared.mean()) / max(1e-9, float(shared.std()))
    return _bytes(middle + contrast * shared)
