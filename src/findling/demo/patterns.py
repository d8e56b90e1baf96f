"""Patterns that fill a cloth: dots, stripes, diamonds, scales, crosses, waves."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

from PIL import ImageDraw

from findling.demo.motifs import RGB

__all__ = ["PATTERNS", "Pattern"]

Pattern = Callable[[ImageDraw.ImageDraw, int, int, RGB, random.Random], None]
"""Takes the drawing, its width and height in pixels, the colour, and the source of variety."""


def _lattice(width: int, height: int, step: float) -> Iterator[tuple[float, float]]:
    """Yield the points of a lattice in which every second row is shifted."""
    for row in range(int(height / step * 2) + 3):
        shift = step / 2 if row % 2 else 0.0
        for column in range(-1, int(width / step) + 2):
            yield column * step + shift, row * step / 2


def _dots(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step = width / rng.choice((9, 12, 15))
    radius = step * rng.uniform(0.12, 0.2)
    for x, y in _lattice(width, height, step):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _diamonds(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step = width / rng.choice((7, 10, 13))
    half = step * rng.uniform(0.2, 0.3)
    for x, y in _lattice(width, height, step):
        draw.polygon([(x, y - half), (x + half * 0.7, y), (x, y + half), (x - half * 0.7, y)], fill=colour)


def _crosses(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step = width / rng.choice((8, 11, 14))
    arm, thick = step * 0.2, max(2, round(step * 0.07))
    for x, y in _lattice(width, height, step):
        draw.line((x - arm, y, x + arm, y), fill=colour, width=thick)
        draw.line((x, y - arm, x, y + arm), fill=colour, width=thick)


def _scales(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step = width / rng.choice((6, 8, 10))
    for x, y in _lattice(width, height, step):
        draw.arc(
            (x - step / 2, y - step / 2, x + step / 2, y + step / 2),
            0,
            180,
            fill=colour,
            width=max(2, width // 160),
        )


def _stripes(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step, lean = width / rng.choice((10, 14, 18)), rng.choice((0.0, 1.0, -1.0))
    for place in range(-int(height / step) - 2, int((width + height) / step) + 2):
        x = place * step
        draw.line((x, 0, x + lean * height, height), fill=colour, width=max(2, round(step * 0.24)))


def _ripples(draw: ImageDraw.ImageDraw, width: int, height: int, colour: RGB, rng: random.Random) -> None:
    step, swell = width / rng.choice((10, 13)), width / rng.choice((50, 70))
    for row in range(int(height / step) + 2):
        points = [
            (i / 60 * width, row * step + swell * math.sin(i / 60 * math.tau * 6 + row)) for i in range(61)
        ]
        draw.line(points, fill=colour, width=max(2, width // 150), joint="curve")


PATTERNS: Final[tuple[Pattern, ...]] = (_dots, _diamonds, _crosses, _scales, _stripes, _ripples)
