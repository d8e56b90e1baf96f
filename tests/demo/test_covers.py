from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from findling.demo import EDITIONS
from findling.demo.covers import draw_cover, write_covers
from findling.demo.lettering import legible, set_text
from findling.demo.motifs import DRAWINGS, PLACES
from findling.demo.scenes import (
    BACKGROUNDS,
    COLOURS,
    MOTIFS,
    SKY_NAMES,
    STYLES,
    Scene,
    draw_scene,
    paint_scene,
)
from findling.demo.vocabulary import MOTIF_WORDS, scene_for

MOBY = ("Moby-Dick", ["Herman Melville"], ["Whaling", "Sea stories"], "A captain hunts one white whale.")


def records() -> Iterator[dict[str, Any]]:
    for line in EDITIONS.read_text(encoding="utf-8").splitlines():
        yield json.loads(line.split("\t", 4)[4])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, float]:
    out = tmp_path_factory.mktemp("drawer") / "covers"
    start = time.process_time()
    written = write_covers(EDITIONS, out)
    return out, written, time.process_time() - start


def test_every_cover_id_above_zero_gets_its_picture(drawer: tuple[Path, int, float]) -> None:
    out, written, _ = drawer
    numbers = {
        next(number for number in record["covers"] if number and number > 0)
        for record in records()
        if any(number and number > 0 for number in record.get("covers", []))
    }
    assert {path.name for path in out.iterdir()} == {f"{number}.jpg" for number in numbers}
    assert written == len(numbers) > 430


def test_no_two_covers_are_alike(drawer: tuple[Path, int, float]) -> None:
    digests = [digest(path) for path in drawer[0].iterdir()]
    assert len(set(digests)) == len(digests)


def test_covers_are_small_jpegs_of_the_promised_size(drawer: tuple[Path, int, float]) -> None:
    for path in drawer[0].iterdir():
        with Image.open(path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (240, 360), "RGB")
        assert path.stat().st_size < 80_000


def test_drawing_is_quick(drawer: tuple[Path, int, float]) -> None:
    _, written, seconds = drawer
    assert seconds / written < 15 / 430


def test_a_second_run_writes_only_what_is_missing(drawer: tuple[Path, int, float]) -> None:
    out = drawer[0]
    paths = sorted(out.iterdir())
    before = {path: digest(path) for path in paths}
    kept = paths[1].stat().st_mtime_ns
    paths[0].unlink()
    paths[-1].unlink()
    assert write_covers(EDITIONS, out) == 2
    assert write_covers(EDITIONS, out) == 0
    assert {path: digest(path) for path in sorted(out.iterdir())} == before
    assert paths[1].stat().st_mtime_ns == kept


def test_a_dump_may_be_gzipped_and_hold_lines_that_are_no_records(tmp_path: Path) -> None:
    good = "\t".join(
        ["/type/edition", "/books/OL1M", "1", "x", json.dumps({"title": "A Title", "covers": [None, -1, 7]})]
    )
    odd = json.dumps({"title": 3, "covers": "8", "authors": [None, {"key": 1}], "subjects": "none"})
    lines = [good, "not a record", "a\tb\tc\td\t{", "a\tb\tc\td\t[1]", f"a\tb\tc\td\t{odd}"]
    lines.append('a\tb\tc\td\t{"covers": [true, 9], "description": {"value": 4}}')
    path = tmp_path / "dump_editions.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert write_covers(path, tmp_path / "out") == 2
    assert {found.name for found in (tmp_path / "out").iterdir()} == {"7.jpg", "9.jpg"}


def test_a_cover_is_the_same_in_every_process() -> None:
    here = hashlib.sha256(draw_cover(*MOBY, seed=5).tobytes()).hexdigest()
    code = (
        "import hashlib; from findling.demo.covers import draw_cover;"
        f"print(hashlib.sha256(draw_cover(*{MOBY!r}, seed=5).tobytes()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here
    assert draw_cover(*MOBY, seed=6).tobytes() != draw_cover(*MOBY, seed=5).tobytes()


@pytest.mark.parametrize(
    "title",
    ["", "猫", "Преступление и наказание", "Ω", "a" * 300, "word " * 120, "Les Misérables", "?!", "x\ny"],
)
def test_any_title_can_be_drawn(title: str) -> None:
    for seed in range(8):
        assert draw_cover(title, ["Émile Zola", "夏目漱石", "B" * 90], [], "", seed).size == (240, 360)


def test_the_vocabulary_is_rich_and_every_word_can_be_drawn() -> None:
    assert len(MOTIFS) >= 30
    assert len(COLOURS) >= 10
    assert len(BACKGROUNDS) >= 8
    assert set(MOTIF_WORDS.values()) <= set(MOTIFS)
    assert set(PLACES) == set(DRAWINGS)
    assert set(PLACES.values()) == {"floats", "flies", "stands", "shown"}


def test_every_motif_can_be_called_for_by_its_own_name() -> None:
    for motif in MOTIFS:
        assert MOTIF_WORDS[motif] == motif


def nearest(pixel: tuple[int, ...]) -> str:
    return min(COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(pixel, COLOURS[name], strict=True)))


@pytest.mark.parametrize("motif", MOTIFS)
def test_the_colour_of_the_caption_dominates_what_is_drawn(motif: str) -> None:
    """Of what a motif adds to its backdrop, most must look like the colour that is named."""
    for colour in COLOURS:
        sky, background = {"blue": ("sunset", "fields")}.get(colour, ("blue", "hills"))
        scene = Scene(motif, colour, background, sky, "flat", 1)
        full, bare = (paint_scene(scene, (96, 96), with_motif=drawn) for drawn in (True, False))
        pairs = Counter(zip(pixels(full), pixels(bare), strict=True))
        counts: Counter[str] = Counter()
        for (drawn, backdrop), count in pairs.items():
            if drawn != backdrop:
                counts[nearest(drawn)] += count
        assert counts.most_common(1)[0][0] == colour, counts


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    data = image.tobytes()
    return list(zip(data[0::3], data[1::3], data[2::3], strict=True))


def test_every_scene_can_be_drawn_and_captioned() -> None:
    captions = set()
    for place, motif in enumerate(MOTIFS):
        for step, background in enumerate(BACKGROUNDS):
            colour = tuple(COLOURS)[(place + step) % len(COLOURS)]
            sky, style = SKY_NAMES[(place + step) % len(SKY_NAMES)], STYLES[step % len(STYLES)]
            scene = Scene(motif, colour, background, sky, style, place)
            assert draw_scene(scene, (48, 48)).size == (48, 48)
            assert f"{colour} {motif} " in scene.caption
            assert f" a {sky} sky" in scene.caption
            captions.add(scene.caption)
    assert len(captions) == len(MOTIFS) * len(BACKGROUNDS)


def test_captions_read_well() -> None:
    assert Scene("ship", "red", "sea", "stormy").caption == "a red ship on the sea under a stormy sky"
    assert Scene("tower", "orange", "sea", "pale").caption == "an orange tower by the sea under a pale sky"
    assert Scene("key", "blue", "city", "night").caption == "a blue key over a city under a night sky"


def test_a_word_that_is_not_drawn_is_refused_with_the_words_that_are() -> None:
    with pytest.raises(ValueError, match="motif 'zebra' is not drawn; one of: whale"):
        Scene("zebra", "red", "sea", "night")
    with pytest.raises(ValueError, match="colour 'beige'"):
        Scene("ship", "beige", "sea", "night")


@pytest.mark.parametrize(
    ("title", "motif"),
    [
        ("Moby-Dick", "whale"),
        ("The Windmill", "windmill"),
        ("Twenty Dragons", "dragon"),
        ("Train to Nowhere", "train"),
        ("The Lighthouse", "lighthouse"),
    ],
)
def test_a_scene_fits_its_book(title: str, motif: str) -> None:
    description = "A captain hunts one white whale." if title == "Moby-Dick" else ""
    for seed in range(5):
        assert scene_for(title, [], description, seed).motif == motif


def test_colour_words_of_the_book_are_taken_up() -> None:
    assert scene_for("The Red Balloon").colour == "red"
    assert scene_for("The White Owl").colour == "white"


def test_lettering_spells_what_the_font_can_show() -> None:
    assert legible("Brontë, Čapek & Böll") == "Bronte, Capek & Boll"
    assert legible("Анна Каренина") == "Anna Karenina"
    assert legible("雪国") == ""
    assert legible("Straße œuvre Łódź – “so”") == 'Strasse oeuvre Lodz - "so"'


def test_lettering_fits_its_box() -> None:
    for text in ("Emma", "The Unbearable Lightness of Being", "Donaudampfschifffahrtsgesellschaft"):
        setting = set_text(text, 400, 160, 90)
        assert setting.height <= 160
        assert all(setting.width_of(line) <= 400 for line in setting.lines)
        assert " ".join(setting.lines) == text
