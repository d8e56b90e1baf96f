"""tiny-clip, the model of findling's own: it finds drawn covers by words that it has never seen together."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from findling.demo.covers import draw_cover
from findling.demo.scenes import BACKGROUNDS, COLOURS, MOTIFS, SKY_NAMES, Scene, draw_scene
from findling.demo.vocabulary import MOTIF_WORDS, scene_for
from findling.encoders.base import Encoder, open_encoder
from findling.encoders.presets import PRESETS

PACKAGE = Path(open_encoder.__code__.co_filename).with_name("tiny_clip")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return open_encoder("tiny-clip", {}, tmp_path_factory.mktemp("models"))


def unseen(count: int, seed: int) -> list[tuple[Scene, Image.Image]]:
    """Covers of combinations of motif, colour and background that were kept out of the training."""
    rng = random.Random(seed)
    words = sorted(MOTIF_WORDS)
    found = []
    while len(found) < count:
        subjects = [rng.choice(tuple(COLOURS)), rng.choice(BACKGROUNDS)]
        book = (f"The {rng.choice(words).title()}", subjects, "", rng.randrange(10**9))
        scene = scene_for(*book)
        if zlib.crc32(f"{scene.motif}/{scene.colour}/{scene.background}".encode()) % 8 == 0:
            found.append((scene, draw_cover(book[0], ["A. Author"], *book[1:])))
    return found


def described(scene: Scene, number: int) -> str:
    """The scene in one of several orders of words."""
    thing, light = f"{scene.colour} {scene.motif}", f"{scene.sky} sky"
    return (
        scene.caption,
        f"{scene.background}, {thing}, {light}",
        f"a cover with a {thing} and a {light}, {scene.background}",
        f"{light} over the {scene.background}, a {thing}",
    )[number % 4]


def recall(encoder: Encoder, covers: list[tuple[Scene, Image.Image]], k: int) -> float:
    """The share of descriptions for which the described cover is among the first k."""
    pictures = encoder.embed_images([picture for _, picture in covers])
    texts = encoder.embed_texts([described(scene, number) for number, (scene, _) in enumerate(covers)])
    scores = texts @ pictures.T
    return float(((scores > np.diag(scores)[:, None]).sum(axis=1) < k).mean())


def test_it_is_small_and_whole() -> None:
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"}
    assert {path.name for path in PACKAGE.iterdir()} == names == set(PRESETS["tiny-clip"].files)
    assert sum(path.stat().st_size for path in PACKAGE.iterdir()) < 8_000_000


def test_unseen_covers_are_found_by_words(encoder: Encoder) -> None:
    assert recall(encoder, unseen(100, seed=1), 10) > 0.8  # chance is 0.1


@pytest.mark.slow
def test_five_hundred_unseen_covers_are_found_by_words(encoder: Encoder, tmp_path: Path) -> None:
    covers = unseen(500, seed=2)
    found = recall(encoder, covers, 10)
    assert found >= 0.6  # chance is 0.02
    exact = open_encoder("tiny-clip", {"precision": "float32"}, tmp_path)
    assert abs(recall(exact, covers, 10) - found) < 0.02


def test_a_red_ship_on_a_dark_sea_is_found(encoder: Encoder) -> None:
    rng = random.Random(3)
    scenes = [
        Scene(rng.choice(MOTIFS), rng.choice(tuple(COLOURS)), rng.choice(BACKGROUNDS), rng.choice(SKY_NAMES))
        for _ in range(150)
    ]
    wanted = [
        Scene("ship", "red", "sea", sky, style) for sky in ("night", "stormy") for style in ("flat", "grainy")
    ]
    others = [scene for scene in scenes if (scene.motif, scene.colour) != ("ship", "red")]
    gallery = [*others, *wanted]
    pictures = encoder.embed_images([draw_scene(scene) for scene in gallery])
    for query in ("a red ship on a dark sea", "dark sea, red ship", "crimson vessel, the ocean at night"):
        best = np.argsort(-(pictures @ encoder.embed_texts([query])[0]))[:4]
        assert sum(gallery[number] in wanted for number in best) >= 3, [gallery[number] for number in best]


def test_a_cover_finds_itself_and_its_like(encoder: Encoder) -> None:
    covers = unseen(40, seed=4)
    pictures = encoder.embed_images([picture for _, picture in covers])
    again = encoder.embed_images([picture.resize((200, 300)) for _, picture in covers])
    assert ((again @ pictures.T).argmax(axis=1) == np.arange(40)).mean() > 0.95
