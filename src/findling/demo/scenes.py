"""Scenes: one motif in one colour before a backdrop, with the caption that says exactly that.

A scene is a value: the same scene gives the same picture, and its caption names what is in it. So scenes
serve as covers for the demo and as pairs of picture and text for whoever trains or tests a model.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageChops, ImageDraw

from findling.demo.backdrops import LANDSCAPES, SKIES, View, paint_sky
from findling.demo.motifs import DRAWINGS, PLACES, RGB, Tones, mix, paint

__all__ = ["BACKGROUNDS", "COLOURS", "MOTIFS", "SKY_NAMES", "STYLES", "Scene", "draw_scene", "paint_scene"]

COLOURS: Final[Mapping[str, RGB]] = MappingProxyType(
    {
        "red": (198, 46, 42),
        "orange": (232, 124, 36),
        "yellow": (242, 200, 62),
        "green": (58, 134, 80),
        "blue": (42, 98, 182),
        "purple": (122, 66, 156),
        "pink": (236, 132, 164),
        "brown": (120, 78, 50),
        "black": (36, 36, 42),
        "white": (246, 242, 232),
    }
)
MOTIFS: Final = tuple(DRAWINGS)
BACKGROUNDS: Final = tuple(LANDSCAPES)
SKY_NAMES: Final = tuple(SKIES)
STYLES: Final = ("flat", "cut-out", "outlined", "grainy")

_SCALE = 3
_PAPER: RGB = (250, 246, 236)
_INK: RGB = (28, 26, 36)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn; raises ValueError for a word that is not in the lists of this module."""

    motif: str
    colour: str
    background: str
    sky: str
    style: str = "cut-out"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, words in (
            ("motif", MOTIFS),
            ("colour", tuple(COLOURS)),
            ("background", BACKGROUNDS),
            ("sky", SKY_NAMES),
            ("style", STYLES),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} {getattr(self, name)!r} is not drawn; one of: {', '.join(words)}")

    @property
    def caption(self) -> str:
        """One phrase for the picture, such as "a red ship on the sea under a stormy sky"."""
        land = LANDSCAPES[self.background]
        kind = PLACES[self.motif]
        if kind == "floats" and self.background == "sea":
            place = f"on {land.over}"
        elif kind in ("floats", "stands"):
            place = land.stand
        else:
            place = f"over {land.over}"
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.motif} {place} under a {self.sky} sky"


def _brightness(colour: RGB) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


@lru_cache(maxsize=8)
def _grain(size: tuple[int, int]) -> Image.Image:
    noise = random.Random(1).randbytes(size[0] * size[1])  # noqa: S311 - a texture, not a secret
    return Image.frombytes("L", size, noise).point(lambda value: 120 + value // 16).convert("RGB")


def _tones(scene: Scene, behind: RGB) -> Tones:
    colour = COLOURS[scene.colour]
    near = sum(abs(a - b) for a, b in zip(colour, behind, strict=True)) < 210
    rim = None
    if scene.style == "outlined":
        rim = _INK if _brightness(colour) > 70 else _PAPER
    elif scene.style == "cut-out" or near:
        rim = _PAPER if _brightness(colour) < 190 else _INK
    return Tones.of(colour, rim=rim)


def paint_scene(
    scene: Scene,
    size: tuple[int, int],
    *,
    horizon: float = 0.66,
    reach: float = 0.62,
    clear: float = 0.0,
    with_motif: bool = True,
) -> Image.Image:
    """Paint a scene with hard edges at the full size; `draw_scene` is the smooth one.

    `horizon` is where the land begins, as a share of the height; `reach` is the motif's side as a share
    of the shorter side of the picture; `clear` is the share of the height that is left free at the top.
    Without its motif a scene is its backdrop alone.
    """
    width, height = size
    rng = random.Random(f"{scene.seed}/{scene.background}/{scene.sky}")  # noqa: S311 - drawing, not secrets
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    sky, land = SKIES[scene.sky], LANDSCAPES[scene.background]
    view = View(draw, width, height, horizon * height, sky, rng, clear * height)
    paint_sky(view, image)
    land.back(view, land.colour)

    side = reach * min(width, height)
    kind = PLACES[scene.motif]
    if clear:
        room = view.horizon - view.clear
        side = (
            min(side, room, (0.875 * height - view.horizon) / 0.36)
            if kind == "shown"
            else min(side, room / 0.94)
        )
    left = (width - side) / 2 + rng.uniform(-0.05, 0.05) * width
    ground = view.horizon + 0.13 * height
    tones = _tones(scene, mix(sky.top, sky.low, 0.6))
    flipped = rng.random() < 0.5
    if kind == "floats":
        top = ground - 0.80 * side
        if scene.background != "sea":
            land.front(view, land.colour, ground - 0.06 * height)
            pond = view.tint((64, 122, 156), 0.1)
            draw.ellipse(
                (left - 0.16 * side, ground - 0.09 * side, left + 1.16 * side, ground + 0.14 * side),
                fill=pond,
            )
        if with_motif:
            paint(draw, scene.motif, (left, top, side), tones, flipped=flipped)
        if scene.background == "sea":
            land.front(view, land.colour, ground + 0.02 * side)
        return image
    if kind == "stands":
        top = ground - side + 0.02 * height
        if scene.background == "sea":
            land.front(view, land.colour, ground + 0.015 * height)
            rock = view.tint((112, 106, 100), 0.0)
            draw.pieslice(
                (left - 0.12 * side, ground - 0.10 * side, left + 1.12 * side, ground + 0.26 * side),
                180,
                360,
                fill=rock,
            )
            top -= 0.05 * height
        else:
            land.front(view, land.colour, ground - 0.035 * height)
    else:
        land.front(view, land.colour, ground)
        top = view.horizon - side * (0.92 if kind == "flies" else 0.80)
        if kind == "shown":
            middle, radius = (left + side / 2, top + side / 2), 0.66 * side
            disc = (
                mix(sky.low, _PAPER, 0.7)
                if _brightness(COLOURS[scene.colour]) < 150
                else mix(sky.top, (34, 50, 90), 0.72)
            )
            draw.ellipse(
                (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius), fill=disc
            )
            tones = _tones(scene, disc)
    if with_motif:
        paint(draw, scene.motif, (left, top, side), tones, flipped=flipped)
    return image


def finish(image: Image.Image, style: str) -> Image.Image:
    """Reduce a painting to its smooth size, and give it the grain of its style."""
    smooth = image.reduce(_SCALE)
    return ImageChops.overlay(smooth, _grain(smooth.size)) if style == "grainy" else smooth


def draw_scene(scene: Scene, size: tuple[int, int] = (224, 224), *, with_motif: bool = True) -> Image.Image:
    """Draw a scene as an RGB picture of the given size (width, height) in pixels; always the same one."""
    large = size[0] * _SCALE, size[1] * _SCALE
    return finish(paint_scene(scene, large, with_motif=with_motif), scene.style)
