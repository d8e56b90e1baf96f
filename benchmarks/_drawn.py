"""Pictures for training tiny-clip: covers and scenes without end, and a pool of them kept on disk."""

from __future__ import annotations

import json
import random
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from _captions import held_out
from findling.demo.covers import draw_cover
from findling.demo.scenes import BACKGROUNDS, COLOURS, MOTIFS, SKY_NAMES, STYLES, Scene, draw_scene
from findling.demo.vocabulary import MOTIF_WORDS, scene_for

SIDE, MARGIN = 64, 8
Pixels = NDArray[np.uint8]
LISTS: tuple[Sequence[str], ...] = (MOTIFS, tuple(COLOURS), BACKGROUNDS, SKY_NAMES)
_NUMBERS = [{name: number for number, name in enumerate(names)} for names in LISTS]
_WORDS = """night house lost last secret river garden return winter song child road empire shadow letters
first two days silence beyond under dream king queen storm light fire stone long little great
true story of the a and in time world summer golden dark white red blue green memory island
history art life"""
_NAMES = "Ada Boris Clara Dov Elena Farid Greta Hugo Ines Jonas Karin Leo Mara Nils Olga Pavel Rosa Sven"


def numbers(scene: Scene) -> list[int]:
    """The scene's motif, colour, background and sky as positions in LISTS."""
    values = (scene.motif, scene.colour, scene.background, scene.sky)
    return [known[value] for known, value in zip(_NUMBERS, values, strict=True)]


def drawn_covers(seed: str) -> Iterator[tuple[Scene, Image.Image]]:
    """Covers of made-up books without end, every motif as often as any other; deterministic."""
    rng, words, names = random.Random(seed), _WORDS.split(), _NAMES.split()
    words_for = {motif: [word for word, named in MOTIF_WORDS.items() if named == motif] for motif in MOTIFS}
    while True:
        for motif in rng.sample(MOTIFS, len(MOTIFS)):
            title = " ".join([*rng.choices(words, k=rng.randint(0, 4)), rng.choice(words_for[motif])]).title()
            told = [rng.choice(tuple(COLOURS)), rng.choice((*BACKGROUNDS, *words)), rng.choice(words)]
            people = range(rng.choice((0, 1, 1, 2)))
            authors = [f"{rng.choice(names)} {rng.choice(names)}son" for _ in people]
            book = (title, told[:2], told[2], rng.randrange(10**9))
            yield scene_for(*book), draw_cover(title, authors, *book[1:])


def drawn_scenes(seed: str) -> Iterator[tuple[Scene, Image.Image]]:
    """Scenes of every kind without end; deterministic."""
    rng = random.Random(seed)
    while True:
        for motif in rng.sample(MOTIFS, len(MOTIFS)):
            chosen = (rng.choice(names) for names in LISTS[1:])
            scene = Scene(motif, *chosen, rng.choice(STYLES), rng.randrange(10**9))
            yield scene, draw_scene(scene, rng.choice(((96, 96), (80, 112), (112, 88))))


def squeezed(picture: Image.Image, side: int) -> Pixels:
    """(side, side, 3) uint8: the whole picture, whatever its shape, as the encoder sees it."""
    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


@dataclass
class Pool:
    """Drawn pictures at two sizes (whole, and with a margin to crop from), with what they show."""

    scenes: list[Scene]
    whole: Pixels
    wide: Pixels


def draw_pool(covers: int, scenes: int, seed: int, cache: Path) -> Pool:
    """Pictures of combinations that are not held out, kept in `cache` for the next run."""
    style = zlib.crc32(draw_cover("The Red Ship").tobytes())  # covers that are drawn otherwise are drawn anew
    kept = cache / f"pool-{covers}-{scenes}-{seed}-{style:08x}.npz"
    if kept.exists():
        stored = np.load(kept)
        described = json.loads(bytes(stored["scenes"]))
        return Pool([Scene(*one) for one in described], stored["whole"], stored["wide"])
    found: list[Scene] = []
    whole, wide = [], []
    for count, source in ((covers, drawn_covers(f"covers/{seed}")), (scenes, drawn_scenes(f"scenes/{seed}"))):
        wanted = len(found) + count
        for scene, picture in source:
            if len(found) == wanted:
                break
            if not held_out(scene):
                found.append(scene)
                whole.append(squeezed(picture, SIDE))
                wide.append(squeezed(picture, SIDE + MARGIN))
                if len(found) % 1000 == 0:
                    say(f"drew {len(found)} pictures")
    described = [(s.motif, s.colour, s.background, s.sky, s.style, s.seed) for s in found]
    pool = Pool(found, np.stack(whole), np.stack(wide))
    cache.mkdir(parents=True, exist_ok=True)
    aside = kept.with_suffix(".part.npz")
    listed = np.frombuffer(json.dumps(described).encode(), np.uint8)
    np.savez(aside, whole=pool.whole, wide=pool.wide, scenes=listed)
    aside.rename(kept)
    return pool


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)
