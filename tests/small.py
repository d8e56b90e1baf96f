"""A small collection of books, with a toy encoder: what most tests of the online half search in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ROWS = """
moby|Moby-Dick|Herman Melville|1851|635|Whaling, Sea stories|A captain hunts a white whale across the oceans.
sea/wolf|The Sea-Wolf|Jack London|1904|366|Sea stories|A castaway is kept aboard a ship by its brutal captain.
emma|Emma|Jane Austen|1815|474|Courtship, Villages|A clever young woman arranges other people's marriages.
pride|Pride and Prejudice|Jane Austen|1813|432|Courtship, Sisters|A proud gentleman and a daughter misjudge.
dune|Dune|Frank Herbert|1965|612|Deserts, Science fiction|A desert planet, its spice, and its ruler to be.
frank|Frankenstein|Mary Shelley|1818|280|Science fiction, Monsters|A student flees the creature that he made.
naïve 🐉|Naïve Dragons|O'Brien, 李白|2001|99|Dragons|Dragons who believe what they are told <b>at once</b>.
empty||||||
"""


def _book(line: str) -> dict[str, Any]:
    identity, title, authors, year, pages, subjects, text = line.split("|")
    return {
        "id": identity,
        "title": title,
        "authors": [name for name in authors.split(", ") if name],
        "year": int(year) if year else None,
        "pages": int(pages) if pages else None,
        "subjects": [name for name in subjects.split(", ") if name],
        "text": text,
    }


BOOKS: list[dict[str, Any]] = [_book(line) for line in _ROWS.strip().splitlines()]

CONFIG = """\
collection = "small"
home = "data"
[source]
kind = "table"
path = "books.jsonl"
id = "id"
[document]
title = "title"
keep = ["title", "authors", "year", "pages", "subjects", "text"]
facets = ["authors", "subjects"]
[vectors.text]
encoder = "hashing"
input = ["title", "text"]
[lexical]
input = ["title", "text"]
[serve]
examples = ["a whale"]
"""


def write(directory: Path, books: list[dict[str, Any]] | None = None, config: str = CONFIG) -> Path:
    """Lay out the collection's source and configuration; returns the findling.toml."""
    lines = [json.dumps(book) for book in (BOOKS if books is None else books)]
    (directory / "books.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    file = directory / "findling.toml"
    file.write_text(config, "utf-8")
    return file
