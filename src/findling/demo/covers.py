"""Covers: a scene, a frame and the lettering of a book, drawn from its record alone.

`draw_cover` is one cover; `write_covers` fills a drawer with a picture for every cover id of a dump.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from findling.demo.backdrops import SKIES
from findling.demo.lettering import Setting, legible, letter, set_text
from findling.demo.motifs import RGB, mix
from findling.demo.patterns import PATTERNS
from findling.demo.scenes import COLOURS, Scene, finish, paint_scene
from findling.demo.vocabulary import scene_for, seed_of

__all__ = ["draw_cover", "write_covers"]

SIZE: Final = (240, 360)
_SCALE = 3
_PAPER: RGB = (248, 243, 230)
_INK: RGB = (32, 30, 40)
_CLOTHS: Final[tuple[RGB, ...]] = (
    (28, 42, 74),
    (34, 70, 62),
    (112, 34, 42),
    (46, 46, 54),
    (240, 231, 210),
    (70, 100, 124),
    (196, 146, 62),
    (202, 168, 160),
    (36, 96, 104),
    (84, 52, 88),
    (222, 205, 172),
    (92, 98, 58),
    (178, 86, 60),
    (206, 216, 214),
)


@dataclass(slots=True)
class _Sheet:
    """A cover being drawn: its picture, its words and its two colours."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    scene: Scene
    title: str
    author: str
    cloth: RGB
    rng: random.Random

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def ink(self) -> RGB:
        """The lettering's colour on the cloth."""
        return _PAPER if sum(self.cloth) < 420 else _INK

    @property
    def accent(self) -> RGB:
        """A quiet second colour on the cloth."""
        colour = COLOURS[self.scene.colour]
        near = sum(abs(a - b) for a, b in zip(colour, self.cloth, strict=True)) < 160
        return mix(self.cloth, self.ink, 0.4) if near else mix(colour, self.cloth, 0.15)

    def cover_with_cloth(self) -> None:
        self.draw.rectangle((0, 0, self.width, self.height), fill=self.cloth)

    def picture(
        self, width: float, height: float, horizon: float = 0.66, reach: float = 0.62, clear: float = 0.0
    ) -> Image.Image:
        size = round(width), round(height)
        return paint_scene(self.scene, size, horizon=horizon, reach=reach, clear=clear)

    def set_title(self, width: float, height: float, largest: float = 0.13) -> Setting:
        upper = len(self.title) < 26 and self.rng.random() < 0.6
        return set_text(
            self.title.upper() if upper else self.title,
            width * self.width,
            height * self.height,
            round(largest * self.width),
            tracking=0.06 if upper else 0.0,
            bold=self.rng.random() < 0.55,
        )

    def set_author(self, width: float = 0.8, largest: float = 0.062) -> Setting:
        upper = self.rng.random() < 0.6
        return set_text(
            self.author.upper() if upper else self.author,
            width * self.width,
            0.09 * self.height,
            round(largest * self.width),
            tracking=0.08 if upper else 0.02,
        )

    def write(self, setting: Setting, top: float, colour: RGB) -> float:
        """Letter a setting, centred, at `top` (pixels); return its foot."""
        if setting.lines:
            letter(self.draw, setting, self.width / 2, top, colour)
        return top + setting.height


def _full(sheet: _Sheet) -> None:
    """The scene fills the cover; the title stands in its sky, the author on its ground."""
    title, author = sheet.set_title(0.84, 0.25), sheet.set_author()
    clear = 0.09 + title.height / sheet.height
    sheet.image.paste(sheet.picture(sheet.width, sheet.height, horizon=0.71, reach=0.74, clear=clear))
    sheet.write(title, 0.055 * sheet.height, _PAPER if SKIES[sheet.scene.sky].dark else _INK)
    top = 0.955 * sheet.height - author.height
    ground = sheet.image.crop((0, round(top), sheet.width, sheet.height)).resize((1, 1), Image.Resampling.BOX)
    shade = ground.getpixel((0, 0))
    dark = isinstance(shade, tuple) and sum(shade) < 400
    sheet.write(author, top, _PAPER if dark else _INK)


def _label(sheet: _Sheet) -> None:
    """The scene fills the cover; the words stand on a pasted label."""
    title, author = sheet.set_title(0.66, 0.19, 0.11), sheet.set_author(0.66)
    height = title.height + author.height + 0.085 * sheet.height
    box = (0.11 * sheet.width, 0.05 * sheet.height, 0.89 * sheet.width, 0.05 * sheet.height + height)
    clear = box[3] / sheet.height + 0.02
    sheet.image.paste(sheet.picture(sheet.width, sheet.height, horizon=0.72, reach=0.72, clear=clear))
    sheet.draw.rectangle(box, fill=sheet.cloth)
    inset = 0.014 * sheet.width
    sheet.draw.rectangle(
        (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset),
        outline=sheet.accent,
        width=sheet.width // 180,
    )
    foot = sheet.write(title, box[1] + 0.03 * sheet.height, sheet.ink)
    sheet.write(author, foot + 0.025 * sheet.height, sheet.ink)


def _print(sheet: _Sheet) -> None:
    """A tall framed picture with a red seal, for a title that the font cannot spell."""
    sheet.draw.rectangle((0, 0, sheet.width, sheet.height), fill=_PAPER)
    pad = 0.09 * sheet.width
    sheet.image.paste(
        sheet.picture(sheet.width - 2 * pad, 0.80 * sheet.height, reach=0.8), (round(pad), round(pad))
    )
    side, left, top = 0.1 * sheet.width, 0.81 * sheet.width, 0.885 * sheet.height
    sheet.draw.rounded_rectangle((left, top, left + side, top + side), side / 6, fill=COLOURS["red"])
    for share in (0.3, 0.5, 0.7):
        sheet.draw.line(
            (left + side * 0.2, top + side * share, left + side * 0.8, top + side * share),
            fill=_PAPER,
            width=sheet.width // 120,
        )
    sheet.draw.line(
        (left + side * 0.5, top + side * 0.18, left + side * 0.5, top + side * 0.82),
        fill=_PAPER,
        width=sheet.width // 120,
    )
    author = sheet.set_author(0.62)
    if author.lines:
        letter(sheet.draw, author, 0.0, 0.90 * sheet.height, _INK, left=pad)


def _band(sheet: _Sheet) -> None:
    """The scene above, the words on a band of cloth below."""
    edge = round(sheet.rng.choice((0.62, 0.66, 0.7)) * sheet.height)
    sheet.cover_with_cloth()
    sheet.image.paste(sheet.picture(sheet.width, edge, horizon=0.68, reach=0.74, clear=0.02), (0, 0))
    sheet.draw.rectangle((0, edge, sheet.width, edge + 0.012 * sheet.height), fill=sheet.accent)
    room = 1 - edge / sheet.height
    title, author = sheet.set_title(0.84, room - 0.15), sheet.set_author()
    gap = (sheet.height - edge - title.height - author.height) / 2.7
    foot = sheet.write(title, edge + gap, sheet.ink)
    sheet.write(author, foot + gap * 0.55, sheet.ink)


def _panel(sheet: _Sheet) -> None:
    """A framed picture on cloth."""
    sheet.cover_with_cloth()
    wide, tall = 0.76 * sheet.width, 0.52 * sheet.height
    left, top = (sheet.width - wide) / 2, 0.345 * sheet.height
    sheet.image.paste(sheet.picture(wide, tall, reach=0.8), (round(left), round(top)))
    pad = 0.022 * sheet.width
    sheet.draw.rectangle(
        (left - pad, top - pad, left + wide + pad, top + tall + pad),
        outline=sheet.accent,
        width=max(2, sheet.width // 100),
    )
    title, author = sheet.set_title(0.8, 0.22), sheet.set_author()
    sheet.write(title, (0.345 * sheet.height - pad - title.height) / 2, sheet.ink)
    sheet.write(author, 0.935 * sheet.height - author.height / 2, sheet.ink)


def _cut(
    sheet: _Sheet, shape: Callable[[ImageDraw.ImageDraw, tuple[float, ...]], None], box: tuple[float, ...]
) -> None:
    """Paste the scene into a window of any shape."""
    left, top, right, bottom = box
    picture = sheet.picture(right - left, bottom - top, reach=0.78 if bottom - top > right - left else 0.62)
    window = Image.new("L", picture.size, 0)
    shape(ImageDraw.Draw(window), (0, 0, picture.width - 1, picture.height - 1))
    sheet.image.paste(picture, (round(left), round(top)), window)


def _arched(draw: ImageDraw.ImageDraw, box: tuple[float, ...], **how: Any) -> None:
    left, _, right, _ = box
    draw.rounded_rectangle(
        box, (right - left) / 2, corners=(True, True, False, False), **({"fill": 255} | how)
    )


def _arch(sheet: _Sheet) -> None:
    """A window with a round top, the words beneath."""
    sheet.cover_with_cloth()
    box = (0.15 * sheet.width, 0.06 * sheet.height, 0.85 * sheet.width, 0.66 * sheet.height)
    pad = 0.025 * sheet.width
    _arched(sheet.draw, (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad), fill=sheet.accent)
    _cut(sheet, _arched, box)
    title, author = sheet.set_title(0.84, 0.17, 0.12), sheet.set_author()
    gap = (0.32 * sheet.height - title.height - author.height) / 2.8
    foot = sheet.write(title, 0.68 * sheet.height + gap, sheet.ink)
    sheet.write(author, foot + gap * 0.6, sheet.ink)


def _medallion(sheet: _Sheet) -> None:
    """A round picture on a patterned cloth."""
    sheet.cover_with_cloth()
    faint = mix(sheet.cloth, sheet.ink, 0.09)
    sheet.rng.choice(PATTERNS)(sheet.draw, sheet.width, sheet.height, faint, sheet.rng)
    radius, middle = 0.36 * sheet.width, 0.60 * sheet.height
    box = (sheet.width / 2 - radius, middle - radius, sheet.width / 2 + radius, middle + radius)
    for pad, colour in ((0.05, sheet.cloth), (0.038, sheet.accent), (0.022, sheet.cloth)):
        out = pad * sheet.width
        sheet.draw.ellipse((box[0] - out, box[1] - out, box[2] + out, box[3] + out), fill=colour)
    _cut(sheet, lambda draw, bounds: draw.ellipse(bounds, fill=255), box)
    title, author = sheet.set_title(0.8, 0.2), sheet.set_author()
    sheet.draw.rectangle((0, 0, sheet.width, 0.09 * sheet.height + title.height), fill=sheet.cloth)
    sheet.write(title, 0.06 * sheet.height, sheet.ink)
    foot = 0.925 * sheet.height - author.height / 2
    sheet.draw.rectangle((0, foot - 0.03 * sheet.height, sheet.width, sheet.height), fill=sheet.cloth)
    sheet.write(author, foot, sheet.ink)


def _bordered(sheet: _Sheet) -> None:
    """A patterned border around the picture, the words on a strip across it."""
    sheet.cover_with_cloth()
    sheet.rng.choice(PATTERNS)(sheet.draw, sheet.width, sheet.height, sheet.accent, sheet.rng)
    pad = 0.07 * sheet.width
    box = (pad, pad, sheet.width - pad, sheet.height - pad)
    sheet.draw.rectangle(box, fill=sheet.cloth)
    inset = pad * 1.3
    tall = round(0.6 * sheet.height - inset)
    at = round(sheet.height - inset - tall)
    sheet.image.paste(sheet.picture(sheet.width - 2 * inset, tall, reach=0.78), (round(inset), at))
    title, author = sheet.set_title(0.72, 0.18, 0.12), sheet.set_author(0.72)
    room = at - pad
    gap = (room - title.height - author.height) / 2.7
    foot = sheet.write(title, pad + gap, sheet.ink)
    sheet.write(author, foot + gap * 0.6, sheet.ink)


_LAYOUTS: Final = (_full, _full, _label, _band, _panel, _arch, _medallion, _bordered)


def draw_cover(
    title: str,
    authors: Sequence[str] = (),
    subjects: Sequence[str] = (),
    description: str = "",
    seed: int = 0,
) -> Image.Image:
    """Draw a book's cover, 240 by 360 pixels, RGB; the same words and seed give the same cover."""
    scene = scene_for(title, subjects, description, seed)
    rng = random.Random(seed_of("cover", title, *authors, seed))  # noqa: S311 - drawing, not secrets
    image = Image.new("RGB", (SIZE[0] * _SCALE, SIZE[1] * _SCALE), _PAPER)
    colour = COLOURS[scene.colour]
    cloths = [cloth for cloth in _CLOTHS if sum(abs(a - b) for a, b in zip(cloth, colour, strict=True)) > 130]
    spelled = textwrap.shorten(legible(title), 120, placeholder=" ...")
    author = legible(" & ".join(authors) if len(authors) < 3 else f"{authors[0]} and others")
    sheet = _Sheet(image, ImageDraw.Draw(image), scene, spelled, author, rng.choice(cloths), rng)
    layout = rng.choice(_LAYOUTS)
    (layout if sheet.title else _print)(sheet)
    return finish(image, scene.style)


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    """Read the records of a dump, plain or gzipped, leaving out lines that hold none."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            columns = line.split("\t", 4)
            if len(columns) != 5:
                continue
            try:
                record = json.loads(columns[4])
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def _text(found: object) -> str:
    value = found.get("value") if isinstance(found, dict) else found
    return value if isinstance(value, str) else ""


def _strings(found: object) -> list[str]:
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _cover_id(record: Mapping[str, Any]) -> int | None:
    covers = record.get("covers")
    numbers = covers if isinstance(covers, list) else []
    return next((number for number in numbers if type(number) is int and number > 0), None)


def write_covers(editions: Path, out: Path, *, authors: Path | None = None) -> int:
    """Write `<cover id>.jpg` for every edition of a dump with a cover id above 0; return how many are new.

    A cover that is already there is left alone, so a second run, or one that was stopped, does the rest.
    `authors` is the dump of the authors' names; without it, the authors file beside the editions is
    taken, and if there is none the covers carry titles only.
    """
    out.mkdir(parents=True, exist_ok=True)
    beside = authors or editions.with_name(editions.name.replace("editions", "authors"))
    known = beside != editions and beside.is_file()
    names = {record.get("key"): record.get("name") for record in _read(beside)} if known else {}
    written = 0
    for record in _read(editions):
        number = _cover_id(record)
        if number is None or (target := out / f"{number}.jpg").exists():
            continue
        keys = [author.get("key") for author in record.get("authors") or () if isinstance(author, dict)]
        people = [name for key in keys if isinstance(name := names.get(key), str)]
        subjects = _strings(record.get("subjects")) + _strings(record.get("genres"))
        told = f"{_text(record.get('subtitle'))} {_text(record.get('description'))}"
        cover = draw_cover(_text(record.get("title")), people, subjects, told, number)
        aside = target.with_name(f".{number}.{os.getpid()}.part")
        cover.save(aside, "JPEG", quality=85)
        aside.replace(target)
        written += 1
    return written
