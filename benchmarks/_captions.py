"""Captions for drawn scenes, as people might type them: other words, other orders, parts left out.

Each caption comes with what it fits: for motif, colour, background and sky the set of values that it allows.
So a trainer knows that "a ship" is as right for the red ship as for the blue one.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from findling.demo.scenes import BACKGROUNDS, COLOURS, MOTIFS, SKY_NAMES, Scene

_MOTIFS = """
whale: sperm whale, humpback, leviathan | ship: sailing ship, galleon, vessel, tall ship, frigate
boat: sailing boat, sailboat, small boat, yacht, dinghy | submarine: u-boat, submersible
anchor: ship's anchor | lighthouse: light house, beacon, light tower | palm: palm tree, coconut palm
fish: goldfish, trout, big fish | castle: fortress, palace, stronghold | tower: stone tower, keep, turret
house: home, cottage, farmhouse, little house | church: chapel, cathedral, abbey
bridge: stone bridge, arched bridge | windmill: mill, wind mill | mountain: peak, summit, mount
volcano: erupting volcano, fire mountain | tree: oak, leafy tree, big tree | flower: blossom, bloom, daisy
rose: rose bloom, rosebud | apple: fruit, ripe apple | bird: crow, raven, songbird, flying bird
owl: night owl, barn owl | wolf: howling wolf, lone wolf | dog: hound, puppy, terrier
cat: kitten, pussycat, tomcat | horse: stallion, pony, mare, steed | rabbit: hare, bunny
tiger: tigress, striped cat | lion: lioness, maned lion | elephant: tusker, big elephant
camel: dromedary | bear: grizzly, brown bear cub | pig: hog, swine, piglet | bull: ox, cow, steer
dragon: winged dragon, fire dragon | unicorn: horned horse | snake: serpent, viper, cobra
spider: tarantula, big spider | beetle: bug, insect, scarab | moon: crescent moon, crescent, half moon
sun: sunburst, shining sun | star: five-pointed star, big star | planet: ringed planet, saturn
rocket: spaceship, rocket ship, spacecraft | robot: android, automaton | train: locomotive, steam train
car: automobile, motor car, motorcar | airplane: plane, aeroplane, aircraft
balloon: hot-air balloon, air balloon | sword: blade, rapier, saber | crown: royal crown, king's crown
key: old key, door key | ring: wedding ring, finger ring | clock: timepiece, alarm clock
hourglass: sand glass, sand timer | candle: burning candle, candlestick | lamp: oil lamp, genie's lamp
book: open book, volume, old book | letter: envelope, sealed letter | quill: feather, pen, quill pen
mask: theatre mask, carnival mask | skull: death's head, cranium | heart: love heart | eye: open eye, eyeball
knife: dagger, kitchen knife | bell: church bell | cup: goblet, chalice, mug | umbrella: parasol, brolly
hat: top hat, bowler | violin: fiddle | pawn: chess piece, chess pawn | wheel: cartwheel, wagon wheel
flame: fire, blaze, bonfire | tent: camp tent, canvas tent | column: pillar, greek column
gem: diamond, jewel, gemstone | scales: balance, scales of justice | door: gate, doorway, closed door
lens: magnifying glass, magnifier | globe: terrestrial globe, world globe | man: gentleman, fellow, person
woman: lady, girl, person | ghost: spirit, phantom, spectre | soldier: warrior, trooper, rifleman
"""
_GROUPS = """
animal: whale, fish, bird, owl, wolf, dog, cat, horse, rabbit, tiger, lion, elephant, camel, bear, pig, bull
beast: wolf, tiger, lion, bear, bull, dragon | big cat: tiger, lion | pet: dog, cat, rabbit
creature: dragon, unicorn, spider, beetle, snake, ghost | insect: beetle, spider | monster: dragon, ghost
vessel: ship, boat | boat: boat, ship | vehicle: car, train | aircraft: airplane, balloon, rocket
building: castle, tower, house, church, windmill, lighthouse | old building: castle, church, tower
plant: tree, flower, rose, palm | flower: flower, rose | tree: tree, palm | weapon: sword, knife
person: man, woman, soldier | jewellery: ring, crown, gem
"""
_COLOURS = """
red: crimson, scarlet, ruby, blood-red | orange: amber, tangerine | yellow: golden, lemon, gold
green: emerald, leaf-green | blue: azure, navy, sapphire | purple: violet, lilac, mauve
pink: rosy, rose-coloured, salmon | brown: chestnut, tan, wooden | black: jet-black, inky, coal-black
white: ivory, snow-white, cream
"""
_BACKGROUNDS = """
sea: ocean, water, waves | hills: green hills, meadows, hillside | mountains: mountain range, peaks, alps
forest: woods, wood, pines, fir trees | city: town, rooftops, skyline, streets | desert: dunes, sand
snow: ice, snowfield, winter | fields: farmland, wheat field, field, countryside | heath: moor, moorland
"""
_SKIES = """
night: night sky; at night, by moonlight, in the night, in the dark, at midnight
stormy: stormy sky, grey sky, cloudy sky; in a storm, in bad weather, in stormy weather
blue: blue sky, clear blue sky; by day, on a fine day, in broad daylight
pale: pale sky, misty sky, white sky, hazy sky; in the mist, in pale light, in fog
sunset: sunset sky, red sky, evening sky; at sunset, in the evening, at dusk
golden: golden sky, yellow sky; in golden light, in the golden morning
pink: pink sky, rosy sky; at dawn, in pink light
violet: violet sky, purple sky; at twilight, in violet light
green: green sky, greenish sky; in green light, in green haze
"""
_LIGHT = {
    "dark": ("night", "stormy"),
    "stormy": ("stormy",),
    "rough": ("stormy",),
    "moonlit": ("night",),
    "misty": ("pale",),
    "bright": ("blue", "golden", "pale"),
    "sunny": ("blue", "golden"),
    "evening": ("sunset",),
}
_OPENINGS = ("",) * 7 + (
    "a picture of ",
    "a book cover with ",
    "cover with ",
    "a drawing of ",
    "a cover showing ",
    "an illustration of ",
    "book with ",
)
# How often each part is said: motif, colour, background, sky.
_PARTS = {
    (1, 1, 1, 1): 40,
    (1, 1, 1, 0): 16,
    (1, 1, 0, 1): 6,
    (1, 1, 0, 0): 12,
    (1, 0, 1, 0): 6,
    (1, 0, 1, 1): 5,
    (1, 0, 0, 0): 9,
    (0, 0, 1, 1): 4,
    (0, 0, 1, 0): 2,
}


def _table(text: str) -> dict[str, list[str]]:
    rows = [row.split(":") for row in text.replace("\n", "|").split("|") if ":" in row]
    return {head.strip(): [word.strip() for word in words.split(",")] for head, words in rows}


MOTIF_NAMES = _table(_MOTIFS)
COLOUR_NAMES = _table(_COLOURS)
BACKGROUND_NAMES = _table(_BACKGROUNDS)
SKY_PHRASES = {
    head: tuple([phrase.strip() for phrase in part.split(",")] for part in words.split(";"))
    for head, words in (row.split(":") for row in _SKIES.strip().splitlines())
}
GROUPS = _table(_GROUPS)


def held_out(scene: Scene) -> bool:
    """Whether this combination of motif, colour and background is kept for evaluation: about one in eight."""
    return zlib.crc32(f"{scene.motif}/{scene.colour}/{scene.background}".encode()) % 8 == 0


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, and the values that it allows for each part of a scene (all of them where it says nothing)."""

    text: str
    motifs: frozenset[str]
    colours: frozenset[str]
    backgrounds: frozenset[str]
    skies: frozenset[str]

    def fits(self, scene: Scene) -> bool:
        """Whether the text is true of the scene."""
        return (
            scene.motif in self.motifs
            and scene.colour in self.colours
            and scene.background in self.backgrounds
            and scene.sky in self.skies
        )


_ALL = (frozenset(MOTIFS), frozenset(COLOURS), frozenset(BACKGROUNDS), frozenset(SKY_NAMES))


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _name(rng: random.Random, name: str, others: dict[str, list[str]], own: float = 0.6) -> str:
    return name if rng.random() < own or not others.get(name) else rng.choice(others[name])


def caption(scene: Scene, rng: random.Random, *, full: bool = False) -> Caption:
    """A caption of the scene in varied words and order; `full` says at least motif, colour and background."""
    says_motif, says_colour, says_place, says_sky = (
        (1, 1, 1, int(rng.random() < 0.75)) if full else rng.choices(list(_PARTS), list(_PARTS.values()))[0]
    )
    motifs, colours, backgrounds, skies = _ALL
    parts: list[str] = []
    if says_motif:
        wider = [group for group, members in GROUPS.items() if scene.motif in members]
        if wider and not full and rng.random() < 0.12:
            noun = rng.choice(wider)
            motifs = frozenset(GROUPS[noun])
        else:
            noun = _name(rng, scene.motif, MOTIF_NAMES)
            motifs = frozenset({scene.motif} | set(GROUPS.get(noun, ())))
        if says_colour:
            noun = f"{_name(rng, scene.colour, COLOUR_NAMES, 0.75)} {noun}"
            colours = frozenset({scene.colour})
        parts.append(noun if rng.random() < 0.25 else _article(noun))
    if says_place:
        land = _name(rng, scene.background, BACKGROUND_NAMES, 0.65)
        backgrounds = frozenset({scene.background})
        fitting = [word for word, meant in _LIGHT.items() if scene.sky in meant]
        if scene.background != "sea":
            fitting = [word for word in fitting if word != "rough"]
        if fitting and rng.random() < 0.3:
            word = rng.choice(fitting)
            land, skies = f"{word} {land}", frozenset(_LIGHT[word])
        over = (
            rng.choice(("on", "on", "by", "over", "at"))
            if scene.background == "sea"
            else rng.choice(("in", "in", "on", "over", "before", "with"))
        )
        named = rng.choice((_article(land), f"the {land}", land))
        parts.append(f"{over} {named}" if says_motif and rng.random() < 0.75 else land)
    if says_sky:
        nouns, times = SKY_PHRASES[scene.sky]
        noun = rng.choice(nouns) if rng.random() < 0.7 else f"{scene.sky} sky"
        parts.append(
            rng.choice((f"under {_article(noun)}", f"with {_article(noun)}", noun))
            if rng.random() < 0.65
            else rng.choice(times)
        )
        skies = frozenset({scene.sky})
    if rng.random() < 0.3:
        rng.shuffle(parts)
        text = ", ".join(parts)
    else:
        text = " ".join(parts)
    return Caption(rng.choice(_OPENINGS) + text, motifs, colours, backgrounds, skies)
