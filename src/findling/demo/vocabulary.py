"""From the words of a book to its scene: which words call for which motif, colour, sky and backdrop."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from findling.demo.motifs import PLACES
from findling.demo.scenes import BACKGROUNDS, COLOURS, SKY_NAMES, STYLES, Scene

__all__ = ["MOTIF_WORDS", "scene_for", "seed_of"]

_KINDS: Final = ("motif", "colour", "background", "sky")


@dataclass(frozen=True, slots=True)
class _Words:
    """The table of words.txt: by kind, the name that a word calls for."""

    meaning: Mapping[str, Mapping[str, str]]
    colours: Mapping[str, Sequence[str]]
    everyday: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> _Words:
        meaning: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
        colours: dict[str, tuple[str, ...]] = {}
        everyday = set()
        text = path.read_text(encoding="utf-8").replace("\n    ", " ")
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            head, _, rest = line.partition(": ")
            kind, name = head.split()
            words, _, usual = rest.partition(" | ")
            if kind.endswith("*"):
                everyday.add(name)
            if usual:
                colours[name] = tuple(usual.split())
            meaning[kind.rstrip("*")] |= dict.fromkeys(words.split(), name)
        meaning["motif"] |= {motif: motif for motif in PLACES}
        return cls(meaning, colours, frozenset(everyday))


_WORDS: Final = _Words.read(Path(__file__).with_name("words.txt"))
MOTIF_WORDS: Final[Mapping[str, str]] = MappingProxyType(dict(_WORDS.meaning["motif"]))
"""The motif that a word calls for."""

_SHORE: Final = frozenset({"lighthouse", "palm", "castle", "tower", "house", "bridge"})
"""What may stand on a rock in the sea."""
_THINGS: Final = (
    "book",
    "key",
    "candle",
    "quill",
    "door",
    "clock",
    "letter",
    "eye",
    "star",
    "tree",
    "bird",
    "house",
)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def seed_of(*parts: object) -> int:
    """Return a number that depends on the parts alone: the same on every machine and in every run."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _vote(weighted: Iterable[tuple[str, float]], meaning: Mapping[str, str]) -> dict[str, float]:
    """Sum up what the words call for; a word counts once, however often it is said."""
    heaviest: dict[str, float] = {}
    for word, weight in weighted:
        if word in meaning:
            heaviest[word] = max(weight, heaviest.get(word, 0.0))
    votes: dict[str, float] = {}
    for word, weight in heaviest.items():
        named = meaning[word]
        votes[named] = votes.get(named, 0.0) + weight * (0.6 if named in _WORDS.everyday else 1.0)
    return votes


def _best(votes: Mapping[str, float], rng: random.Random) -> str | None:
    """Return the winner; a near winner now and then, so that like books do not look alike."""
    if not votes:
        return None
    return max(sorted(votes), key=lambda name: votes[name] * rng.uniform(0.8, 1.25))


def scene_for(title: str, subjects: Sequence[str] = (), description: str = "", seed: int = 0) -> Scene:
    """Choose the scene for a book from its words; what the words leave open is drawn from the seed.

    The title weighs most, then the description, its first words more than its last, then the subjects.
    """
    rng = random.Random(seed_of(title, *subjects, description, seed))  # noqa: S311 - drawing, not secrets
    told = _WORD.findall(description.lower())
    weighted = [(word, 3.0) for word in _WORD.findall(title.lower())]
    weighted += [(word, 1.6 - 0.8 * place / len(told)) for place, word in enumerate(told)]
    weighted += [
        (word, 1.3 if place == 0 else 1.0)
        for place, subject in enumerate(subjects)
        for word in _WORD.findall(subject.lower())
    ]

    motif = _best(_vote(weighted, MOTIF_WORDS), rng) or rng.choice(_THINGS)
    named = _vote([pair for pair in weighted if pair[1] > 1.0], _WORDS.meaning["colour"])
    colour = _best(named, rng)
    if colour is None or (max(named.values()) < 2 and rng.random() < 0.25):
        colour = rng.choice([*_WORDS.colours.get(motif, ()), rng.choice(tuple(COLOURS))])

    background = _best(_vote(weighted, _WORDS.meaning["background"]), rng) or rng.choice(BACKGROUNDS)
    place = PLACES[motif]
    if place == "floats":
        background = "sea"
    elif background == "sea" and place == "stands" and motif not in _SHORE:
        background = "hills"
    sky = _best(_vote(weighted, _WORDS.meaning["sky"]), rng)
    if sky is None or rng.random() < 0.3:
        sky = rng.choice(SKY_NAMES)
    if place == "flies" and colour in _CLASHES.get(sky, ()):
        sky = rng.choice([name for name in SKY_NAMES if colour not in _CLASHES.get(name, ())])
    return Scene(motif, colour, background, sky, rng.choice(STYLES), seed)


_CLASHES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "night": frozenset({"black", "brown", "blue"}),
        "stormy": frozenset({"black", "brown"}),
        "blue": frozenset({"blue"}),
        "pale": frozenset({"white", "yellow"}),
        "sunset": frozenset({"orange", "red"}),
        "golden": frozenset({"yellow", "orange"}),
        "pink": frozenset({"pink", "white"}),
        "violet": frozenset({"purple"}),
        "green": frozenset({"green"}),
    }
)
