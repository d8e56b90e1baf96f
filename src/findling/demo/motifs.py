"""Motifs: small drawings made of a few shapes (drawings.txt), painted in the shades of one colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from PIL import ImageDraw

__all__ = ["DRAWINGS", "PLACES", "RGB", "Box", "Shape", "Tones", "mix", "paint"]

RGB = tuple[int, int, int]
Box = tuple[float, float, float]
"""Left, top and side of the square that a motif fills, in pixels."""

_STEPS = 8
"""Points between two knots of a smooth curve: enough at a few hundred pixels."""


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour that lies `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of a drawing: the operation, the tone, whether it is mirrored, and its numbers."""

    operation: str
    tone: str
    mirrored: bool
    numbers: tuple[float, ...]

    @classmethod
    def parse(cls, line: str) -> Shape:
        """Read a shape from its line in drawings.txt, where the format is explained."""
        operation, tone, *numbers = line.split()
        return cls(operation[0], tone, operation.endswith("*"), tuple(float(number) for number in numbers))


def _read_blocks() -> list[list[str]]:
    text = Path(__file__).with_name("drawings.txt").read_text(encoding="utf-8")
    return [block.splitlines() for block in text.strip().split("\n\n") if not block.startswith("#")]


_BLOCKS: Final = _read_blocks()
DRAWINGS: Final[Mapping[str, tuple[Shape, ...]]] = MappingProxyType(
    {head.split()[0]: tuple(Shape.parse(line) for line in lines) for head, *lines in _BLOCKS}
)
"""Shapes by motif, in the order in which they are drawn."""
PLACES: Final[Mapping[str, str]] = MappingProxyType(dict(head.split() for head, *_ in _BLOCKS))
"""Where a motif belongs: it floats, flies, stands, or is a thing that is shown."""


@dataclass(frozen=True, slots=True)
class Tones:
    """The shades in which a motif is painted; `rim` runs around the whole of it, or is None."""

    main: RGB
    light: RGB
    dark: RGB
    ink: RGB
    paper: RGB
    rim: RGB | None

    @classmethod
    def of(cls, colour: RGB, *, rim: RGB | None, depth: float = 1.0) -> Tones:
        """Derive all shades from one colour; `depth` says how far apart they are."""
        bright, deep = sum(colour) > 600, sum(colour) < 180
        return cls(
            main=colour,
            light=mix(colour, (255, 250, 240), (0.5 if bright else 0.10 if deep else 0.18) * depth),
            dark=mix(colour, (24, 22, 34), (0.16 if bright else 0.22) * depth),
            ink=(30, 28, 38) if not deep else (92, 90, 104),
            paper=(250, 246, 236) if not bright else (214, 206, 190),
            rim=rim,
        )

    def __getitem__(self, tone: str) -> RGB:
        return {"m": self.main, "l": self.light, "d": self.dark, "k": self.ink, "w": self.paper}[tone]


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return a closed Catmull-Rom curve through the points."""
    curve = []
    count = len(points)
    for place in range(count):
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = (points[(place + step - 1) % count] for step in range(4))
        for step in range(_STEPS):
            t = step / _STEPS
            curve.append(
                (
                    0.5
                    * (
                        2 * bx
                        + t
                        * (cx - ax + t * (2 * ax - 5 * bx + 4 * cx - dx + t * (3 * bx - 3 * cx + dx - ax)))
                    ),
                    0.5
                    * (
                        2 * by
                        + t
                        * (cy - ay + t * (2 * ay - 5 * by + 4 * cy - dy + t * (3 * by - 3 * cy + dy - ay)))
                    ),
                )
            )
    return curve


def _mirror(shape: Shape) -> Shape:
    numbers = list(shape.numbers)
    match shape.operation:
        case "P" | "S":
            numbers[0::2] = [1 - x for x in numbers[0::2]]
        case "L":
            numbers[1::2] = [1 - x for x in numbers[1::2]]
        case "E":
            numbers[0] = 1 - numbers[0]
        case "A":
            numbers[1] = 1 - numbers[1]
            numbers[5:] = [180 - numbers[6], 180 - numbers[5]]
        case _:
            numbers[0] = 1 - numbers[0]
            numbers[4:] = [180 - numbers[5], 180 - numbers[4]]
    return Shape(shape.operation, shape.tone, False, tuple(numbers))


def _stroke(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], width: float, colour: RGB
) -> None:
    draw.line(points, fill=colour, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=colour)


def _paint_shape(draw: ImageDraw.ImageDraw, shape: Shape, box: Box, colour: RGB, grow: float) -> None:
    """Paint one shape; `grow` pixels are added all around it."""
    left, top, side = box
    numbers = shape.numbers
    if shape.operation in "PSL":
        line = shape.operation == "L"
        flat = numbers[1:] if line else numbers
        points = [(left + x * side, top + y * side) for x, y in zip(flat[0::2], flat[1::2], strict=True)]
        if line:
            _stroke(draw, points, numbers[0] * side + 2 * grow, colour)
            return
        if shape.operation == "S":
            points = _smooth(points)
        draw.polygon(points, fill=colour)
        if grow:
            _stroke(draw, [*points, points[0]], 2 * grow, colour)
        return
    width, (cx, cy, rx, ry, *turn) = (numbers[0], numbers[1:]) if shape.operation == "A" else (0.0, numbers)
    out = grow + width * side / 2
    bounds = (
        left + (cx - rx) * side - out,
        top + (cy - ry) * side - out,
        left + (cx + rx) * side + out,
        top + (cy + ry) * side + out,
    )
    if shape.operation == "A":
        draw.arc(bounds, turn[0], turn[1], fill=colour, width=max(1, round(2 * out)))
    elif shape.operation == "C":
        draw.pieslice(bounds, turn[0], turn[1], fill=colour)
    elif rx > 0:
        draw.ellipse(bounds, fill=colour)


def paint(draw: ImageDraw.ImageDraw, motif: str, box: Box, tones: Tones, *, flipped: bool = False) -> None:
    """Paint a motif into a square; raises KeyError for one that has no drawing.

    `flipped` turns it to look the other way. The rim is painted under the whole motif first, a
    seventieth of the side wide, so that the motif stands out from any ground.
    """
    drawn: list[Shape] = []
    for shape in DRAWINGS[motif]:
        drawn.append(_mirror(shape) if flipped else shape)
        if shape.mirrored:
            drawn.append(shape if flipped else _mirror(shape))
    if tones.rim is not None:
        for shape in drawn:
            _paint_shape(draw, shape, box, tones.rim, box[2] / 70)
    for shape in drawn:
        _paint_shape(draw, shape, box, tones[shape.tone], 0.0)
