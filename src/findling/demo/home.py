"""The demo's home: the bundled dump, drawn covers and a findling.toml, laid out like anybody's own."""

from __future__ import annotations

from pathlib import Path

from findling import config, demo, storage
from findling.demo.covers import write_covers

CONFIG = """\
# The demo: a few hundred well-known books in Open Library's dump format, searched by meaning and by word.
# Change what you like and run: findling build -c THIS_FILE

collection = "books"
home = "data"

[source]
kind = "openlibrary"
editions = "editions.txt"
works = "works.txt"
authors = "authors.txt"
cover_url = "covers/{id}.jpg"     # drawn here; by default Open Library's own address

[filter]
where = "language = 'eng' and fiction and not juvenile"

[document]
title = "title"
keep = ["title", "authors", "year", "first_year", "pages", "subjects", "description", "cover_url"]
facets = ["authors", "subjects"]
picture = "cover_url"

[vectors.text]
encoder = "minilm"
input = ["title", "authors", "subjects", "description"]

[vectors.cover]
encoder = "tiny-clip"             # findling's own small model, made for these drawn covers;
image = "cover_url"               # CLIP, for real pictures, is one word away: "clip-vit-b-32"

[lexical]
input = ["title", "authors", "subjects", "description"]
weights = { title = 2.0 }

[rank]
weights = { text = 1.0, cover = 0.2, lexical = 0.5 }

[serve]
examples = [
    "a whale hunt that becomes an obsession",
    "a scientist regrets what he made",
    "love across class lines in the English countryside",
    "survival alone on an island",
    "machines that want to be human",
    "a red ship on a dark sea",
]
"""


def prepare(home: Path) -> Path:
    """Lay out the demo in a directory, keeping what is there already; returns its findling.toml."""
    for source in (demo.EDITIONS, demo.WORKS, demo.AUTHORS):
        _keep(home / source.name, source.read_bytes())
    write_covers(demo.EDITIONS, home / "covers")
    file = home / config.FILE
    if not file.exists():
        storage.write_bytes(str(file), CONFIG.encode())
    return file


def _keep(path: Path, content: bytes) -> None:
    # An unchanged file keeps its time stamp, so that the build knows it again.
    if not path.exists() or path.read_bytes() != content:
        storage.write_bytes(str(path), content)
