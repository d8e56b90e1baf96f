"""Lettering: a text set in lines that fit a box, in the one font that Pillow brings along."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PIL import ImageDraw, ImageFont

from findling.demo.motifs import RGB

__all__ = ["Setting", "legible", "letter", "set_text"]

_CYRILLIC: Final = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
        "a b v g d e e zh z i i k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya".replace("_", "").split(
            " "
        ),
        strict=True,
    )
)
_LETTERS: Final = {
    "ß": "ss",
    "œ": "oe",
    "æ": "ae",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "þ": "th",
    "ð": "d",
    "ı": "i",
}
_MARKS: Final = {"–": "-", "—": "-", "‘": "’", "'": "’", "“": '"', "”": '"', "…": "..."}


def legible(text: str) -> str:
    """Spell a text in the letters that the font has: no accents, Cyrillic in Latin letters.

    What it cannot spell, such as Japanese, is left out; the result may be empty.
    """
    spelled = []
    for character in text:
        low = character.lower()
        plain = _CYRILLIC.get(low) or _LETTERS.get(low)
        if plain is not None:
            spelled.append(plain.capitalize() if character != low else plain)
            continue
        spelled.append(_MARKS.get(character) or unicodedata.normalize("NFKD", character))
    joined = "".join(spelled)
    return " ".join("".join(c for c in joined if " " <= c <= "~" or c == "’").split())


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow has no FreeType: install one that was built with it")
    return font


@dataclass(frozen=True, slots=True)
class Setting:
    """A text broken into lines at a size; `spacing` and `weight` are pixels between and around letters."""

    lines: tuple[str, ...]
    size: int
    spacing: float
    weight: int

    @property
    def leading(self) -> float:
        """Pixels from one line to the next."""
        return self.size * 1.16

    @property
    def height(self) -> float:
        """Pixels from the top of the first line to the foot of the last."""
        return self.leading * (len(self.lines) - 1) + self.size * 0.86

    def width_of(self, line: str) -> float:
        """Return the width of a line in pixels."""
        return _font(self.size).getlength(line) + self.spacing * max(0, len(line) - 1) + 2 * self.weight


def _wrap(words: Sequence[str], width: float, trial: Setting) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and trial.width_of(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def set_text(
    text: str,
    width: float,
    height: float,
    largest: int,
    *,
    tracking: float = 0.0,
    bold: bool = False,
    smallest: int = 18,
) -> Setting:
    """Set a text as large as it fits into a box of pixels, shortened if even the smallest size does not.

    `tracking` is the space between letters as a share of the size.
    """
    words = text.split()
    size = largest
    while True:
        trial = Setting(
            (), size, (tracking + (0.035 if bold else 0.0)) * size, round(size / 34) if bold else 0
        )
        lines = _wrap(words, width, trial)
        setting = Setting(tuple(lines), size, trial.spacing, trial.weight)
        if setting.height <= height and all(setting.width_of(line) <= width for line in lines):
            return _balanced(words, width, setting)
        if size <= smallest:
            break
        size = max(smallest, size - max(1, size // 14))
    kept = [line for place, line in enumerate(lines) if place == 0 or (place + 1) * setting.leading <= height]
    return Setting((*kept[:-1], kept[-1][:40]), size, trial.spacing, trial.weight)


def _balanced(words: Sequence[str], width: float, setting: Setting) -> Setting:
    """Narrow the box while the number of lines stays the same, so that the lines are of like length."""
    best = setting.lines
    for step in range(1, 12):
        lines = _wrap(words, width * (1 - 0.05 * step), setting)
        if len(lines) > len(setting.lines) or any(setting.width_of(line) > width for line in lines):
            break
        best = tuple(lines)
    return Setting(best, setting.size, setting.spacing, setting.weight)


def letter(
    draw: ImageDraw.ImageDraw,
    setting: Setting,
    middle: float,
    top: float,
    colour: RGB,
    *,
    left: float | None = None,
) -> None:
    """Letter a set text with its first line at `top`, around `middle` or from `left`."""
    font = _font(setting.size)
    y = top - setting.size * 0.14
    for line in setting.lines:
        x = (middle - setting.width_of(line) / 2 if left is None else left) + setting.weight
        if setting.spacing:
            for character in line:
                draw.text(
                    (x, y), character, fill=colour, font=font, stroke_width=setting.weight, stroke_fill=colour
                )
                x += font.getlength(character) + setting.spacing
        else:
            draw.text((x, y), line, fill=colour, font=font, stroke_width=setting.weight, stroke_fill=colour)
        y += setting.leading
