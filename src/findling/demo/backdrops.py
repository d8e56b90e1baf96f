"""Backdrops: a sky, and a landscape in layers that fade towards it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageDraw

from findling.demo.motifs import RGB, mix

__all__ = ["LANDSCAPES", "SKIES", "Landscape", "Sky", "View"]


@dataclass(frozen=True, slots=True)
class Sky:
    """A sky: its colours above and at the horizon, and what is seen in it."""

    top: RGB
    low: RGB
    light: str
    """What hangs there: sun, moon, clouds, storm or haze."""

    @property
    def dark(self) -> bool:
        """Whether pale letters read better on it than dark ones."""
        return sum(self.top) < 360


SKIES: Final[Mapping[str, Sky]] = MappingProxyType(
    {
        "night": Sky((16, 24, 52), (62, 78, 122), "moon"),
        "stormy": Sky((52, 58, 70), (128, 136, 144), "storm"),
        "blue": Sky((92, 158, 204), (212, 232, 236), "clouds"),
        "pale": Sky((226, 222, 206), (247, 242, 228), "haze"),
        "sunset": Sky((190, 78, 82), (250, 194, 122), "sun"),
        "golden": Sky((232, 176, 86), (252, 232, 180), "sun"),
        "pink": Sky((222, 156, 172), (250, 224, 214), "clouds"),
        "violet": Sky((72, 58, 112), (196, 156, 186), "moon"),
        "green": Sky((66, 116, 112), (192, 216, 192), "haze"),
    }
)


@dataclass(slots=True)
class View:
    """A picture being painted: where, how large (pixels), and the line at which sky meets land."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    horizon: float
    sky: Sky
    rng: random.Random
    clear: float = 0.0
    """What to leave empty at the top, for lettering, in pixels."""

    def tint(self, colour: RGB, distance: float) -> RGB:
        """Return a land colour as it looks from afar (0 near, 1 far), and in this light."""
        lit = mix(colour, (20, 24, 44), 0.42) if self.sky.dark else colour
        return mix(lit, self.sky.low, 0.12 + 0.55 * distance)

    def ridge(self, top: float, height: float, colour: RGB, *, waves: float = 1.5) -> None:
        """Fill everything under a gently rolling line."""
        phase, lean = self.rng.uniform(0, math.tau), self.rng.uniform(0.6, 1.4)
        points = [(0.0, float(self.height)), (-1.0, top)]
        for step in range(49):
            x = step / 48
            swell = math.sin(phase + x * math.tau * waves) + 0.4 * math.sin(
                2.3 * phase + x * math.tau * waves * 2.1 * lean
            )
            points.append((x * self.width, top - swell * height / 2))
        self.draw.polygon([*points, (self.width, self.height)], fill=colour)


def _paint_clouds(view: View, colour: RGB, count: int) -> None:
    for _ in range(count):
        x, y = (
            view.rng.uniform(0, 1) * view.width,
            view.clear + view.rng.uniform(0.08, 0.5) * (view.horizon - view.clear),
        )
        size = view.rng.uniform(0.10, 0.22) * view.width
        for shift, scale in ((-0.7, 0.55), (0.0, 0.9), (0.7, 0.65)):
            radius = size * scale * 0.45
            view.draw.ellipse(
                (x + shift * size * 0.6 - radius, y - radius, x + shift * size * 0.6 + radius, y + radius),
                fill=colour,
            )
        view.draw.rounded_rectangle(
            (x - size * 0.8, y, x + size * 0.85, y + size * 0.38), size * 0.19, fill=colour
        )


def paint_sky(view: View, image: Image.Image) -> None:
    """Fill the picture with the sky and hang in it what belongs there."""
    sky, rng, draw = view.sky, view.rng, view.draw
    depth = max(1, round(view.horizon))
    ramp = Image.linear_gradient("L").resize((view.width, depth))
    image.paste(sky.low, (0, 0, view.width, view.height))
    image.paste(
        Image.composite(Image.new("RGB", ramp.size, sky.low), Image.new("RGB", ramp.size, sky.top), ramp),
        (0, 0),
    )
    unit = min(view.width, view.height)
    x = rng.uniform(0.15, 0.85) * view.width
    y = view.clear + rng.uniform(0.2, 0.6) * (view.horizon - view.clear)
    if sky.light == "moon":
        for _ in range(46):
            at = rng.uniform(0, 1) * view.width, rng.uniform(0, 0.9) * view.horizon
            size = (0.002 if at[1] < view.clear else rng.choice((0.002, 0.003, 0.005))) * unit
            draw.ellipse(
                (at[0] - size, at[1] - size, at[0] + size, at[1] + size),
                fill=mix(sky.top, (255, 250, 226), 0.8),
            )
        size = rng.uniform(0.06, 0.1) * unit
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(244, 238, 214))
        if rng.random() < 0.6:
            bite = size * 0.45
            draw.ellipse(
                (x - size + bite, y - size - bite / 3, x + size + bite, y + size - bite / 3),
                fill=mix(sky.top, sky.low, y / depth),
            )
    elif sky.light == "sun":
        size = rng.uniform(0.14, 0.24) * unit
        y = view.horizon - size * rng.uniform(0.1, 1.6)
        glow = mix(sky.low, (255, 246, 214), 0.55)
        draw.ellipse(
            (x - size * 1.5, y - size * 1.5, x + size * 1.5, y + size * 1.5), fill=mix(sky.low, glow, 0.3)
        )
        draw.ellipse((x - size, y - size, x + size, y + size), fill=glow)
    elif sky.light == "clouds":
        _paint_clouds(view, mix(sky.low, (255, 255, 255), 0.7), rng.randint(2, 4))
    elif sky.light == "storm":
        for band in range(5):
            view_y = band / 5 * view.horizon * 0.7
            points = [(0.0, view_y)]
            phase = rng.uniform(0, math.tau)
            points += [
                (i / 24 * view.width, view_y + 0.05 * unit * (1 + math.sin(phase + i * 0.55)))
                for i in range(25)
            ]
            back = [(px, py + 0.045 * unit) for px, py in reversed(points[1:])]
            draw.polygon(points[1:] + back, fill=mix(mix(sky.top, sky.low, band / 5), (30, 34, 44), 0.22))
    else:
        size = rng.uniform(0.10, 0.18) * unit
        draw.ellipse((x - size, y - size, x + size, y + size), fill=mix(sky.low, (255, 255, 250), 0.6))


@dataclass(frozen=True, slots=True)
class Landscape:
    """A landscape: its colour, how it is painted behind and before the motif, and how it is told."""

    colour: RGB
    back: Callable[[View, RGB], None]
    front: Callable[[View, RGB, float], None]
    """Takes the height, in pixels, at which the foreground begins."""
    stand: str
    """Where something stands: "in a forest"."""
    over: str
    """What something hangs over: "a forest"."""


def _rolling(view: View, colour: RGB) -> None:
    for layer, distance in enumerate((0.85, 0.5, 0.2)):
        view.ridge(
            view.horizon + (0.05 * layer - 0.02) * view.height,
            0.09 * view.height,
            view.tint(colour, distance),
        )


def _mound(view: View, colour: RGB, top: float) -> None:
    view.ridge(top, 0.03 * view.height, view.tint(mix(colour, (40, 44, 40), 0.18), 0.0), waves=0.7)


def _sea_back(view: View, colour: RGB) -> None:
    view.draw.rectangle((0, view.horizon, view.width, view.height), fill=view.tint(colour, 0.55))
    for _ in range(26):
        y = view.rng.uniform(view.horizon, view.horizon + 0.18 * view.height)
        x, length = view.rng.uniform(0, view.width), view.rng.uniform(0.04, 0.16) * view.width
        view.draw.line((x, y, x + length, y), fill=view.tint(colour, 0.85), width=max(1, view.height // 260))


def _waves(view: View, colour: RGB, top: float) -> None:
    for row in range(4):
        y, radius = top + row * 0.075 * view.height, view.width / 11
        shift = (row % 2) * radius + view.rng.uniform(0, radius)
        if y >= view.height:
            break
        tone = view.tint(colour, 0.36 - 0.12 * row)
        view.draw.rectangle((0, y, view.width, view.height), fill=tone)
        crest = view.tint(mix(colour, (255, 255, 255), 0.45), 0.1)
        for step in range(-1, 8):
            x = step * 2 * radius - shift + radius
            box = (x - radius, y - radius * 0.5, x + radius, y + radius * 0.5)
            view.draw.pieslice(box, 180, 360, fill=tone)
            view.draw.arc(box, 180, 360, fill=crest, width=max(1, view.height // 240))


def _peaks(view: View, colour: RGB) -> None:
    for layer, distance in enumerate((0.8, 0.45)):
        base = view.horizon + (0.02 + 0.06 * layer) * view.height
        x = -view.rng.uniform(0.05, 0.2) * view.width
        while x < view.width:
            wide = view.rng.uniform(0.32, 0.5) * view.width
            tall = view.rng.uniform(0.14, 0.26) * view.height * (1 - 0.25 * layer)
            tip = (x + wide * view.rng.uniform(0.4, 0.6), base - tall)
            view.draw.polygon([(x, base + 2), tip, (x + wide, base + 2)], fill=view.tint(colour, distance))
            left, right = (
                (tip[0] + (x - tip[0]) * 0.3, tip[1] + tall * 0.3),
                (tip[0] + (x + wide - tip[0]) * 0.3, tip[1] + tall * 0.3),
            )
            notch = (tip[0], tip[1] + tall * 0.2)
            view.draw.polygon([tip, left, notch, right], fill=view.tint((244, 246, 250), distance * 0.6))
            x += wide * 0.62
        view.draw.rectangle((0, base, view.width, view.height), fill=view.tint(colour, distance))


def _pines(view: View, colour: RGB) -> None:
    for layer, distance in enumerate((0.8, 0.5, 0.24)):
        base = view.horizon + (0.02 + 0.055 * layer) * view.height
        tone, x = view.tint(colour, distance), -0.05 * view.width
        while x < 1.05 * view.width:
            tall, wide = view.rng.uniform(0.10, 0.2) * view.height, view.rng.uniform(0.07, 0.11) * view.width
            for part in range(3):
                top = base - tall * (1 - 0.26 * part)
                half = wide * (0.32 + 0.2 * part)
                view.draw.polygon(
                    [(x, top), (x - half, top + tall * 0.46), (x + half, top + tall * 0.46)], fill=tone
                )
            x += wide * view.rng.uniform(0.7, 1.1)
        view.draw.rectangle((0, base, view.width, view.height), fill=tone)


def _roofs(view: View, colour: RGB) -> None:
    for layer, distance in enumerate((0.75, 0.35)):
        base = view.horizon + (0.03 + 0.05 * layer) * view.height
        tone, x = view.tint(colour, distance), -0.02 * view.width
        while x < view.width:
            wide, tall = (
                view.rng.uniform(0.07, 0.15) * view.width,
                view.rng.uniform(0.07, 0.24) * view.height * (1 - 0.3 * layer),
            )
            view.draw.rectangle((x, base - tall, x + wide, base), fill=tone)
            roof = view.rng.random()
            if roof < 0.4:
                view.draw.polygon(
                    [
                        (x - 2, base - tall),
                        (x + wide / 2, base - tall - wide * 0.6),
                        (x + wide + 2, base - tall),
                    ],
                    fill=tone,
                )
            elif roof < 0.55:
                view.draw.rectangle(
                    (x + wide * 0.45, base - tall * 1.3, x + wide * 0.55, base - tall), fill=tone
                )
            pane, glow = wide / 7, mix(tone, (252, 222, 140), 0.75 if view.sky.dark else 0.3)
            for row in range(int(tall / (pane * 2.6))):
                for column in range(3):
                    if view.rng.random() < 0.45:
                        at = x + pane * (1 + 2 * column), base - tall + pane * (1.2 + 2.6 * row)
                        view.draw.rectangle((at[0], at[1], at[0] + pane, at[1] + pane * 1.4), fill=glow)
            x += wide * 1.02
        view.draw.rectangle((0, base, view.width, view.height), fill=tone)


def _paving(view: View, colour: RGB, top: float) -> None:
    tone = view.tint(mix(colour, (30, 30, 40), 0.2), 0.0)
    view.draw.rectangle((0, top, view.width, view.height), fill=tone)
    for row in range(1, 6):
        y = top + (view.height - top) * (row / 6) ** 1.4
        view.draw.line(
            (0, y, view.width, y), fill=mix(tone, view.sky.low, 0.16), width=max(1, view.height // 300)
        )


def _drifts(view: View, colour: RGB, top: float) -> None:
    view.ridge(top, 0.05 * view.height, view.tint(colour, 0.0), waves=0.8)
    flake = view.tint((255, 255, 255), 0.0)
    for _ in range(70):
        x, y, size = (
            view.rng.uniform(0, view.width),
            view.rng.uniform(0, view.height),
            view.rng.uniform(0.002, 0.006) * view.height,
        )
        view.draw.ellipse((x - size, y - size, x + size, y + size), fill=flake)


def _furrows(view: View, colour: RGB, top: float) -> None:
    view.draw.rectangle((0, top, view.width, view.height), fill=view.tint(colour, 0.05))
    vanish = (view.width * view.rng.uniform(0.3, 0.7), top - 0.12 * view.height)
    dark = view.tint(mix(colour, (70, 80, 40), 0.45), 0.0)
    for step in range(-12, 25):
        x = step / 12 * view.width
        share = (top - vanish[1]) / (view.height - vanish[1])
        start = (vanish[0] + (x - vanish[0]) * share, top)
        view.draw.polygon([start, (x, view.height), (x + view.width / 26, view.height)], fill=dark)


LANDSCAPES: Final[Mapping[str, Landscape]] = MappingProxyType(
    {
        "sea": Landscape((40, 92, 128), _sea_back, _waves, "by the sea", "the sea"),
        "hills": Landscape((96, 134, 84), _rolling, _mound, "in green hills", "green hills"),
        "mountains": Landscape((96, 106, 128), _peaks, _mound, "in the mountains", "the mountains"),
        "forest": Landscape((40, 84, 68), _pines, _mound, "in a forest", "a forest"),
        "city": Landscape((84, 80, 98), _roofs, _paving, "in a city", "a city"),
        "desert": Landscape((216, 172, 112), _rolling, _mound, "in a desert", "a desert"),
        "snow": Landscape((226, 234, 242), _rolling, _drifts, "in the snow", "the snow"),
        "fields": Landscape((194, 168, 84), _rolling, _furrows, "in the fields", "the fields"),
        "heath": Landscape((124, 92, 112), _rolling, _mound, "on a heath", "a heath"),
    }
)
