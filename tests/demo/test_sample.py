from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from findling.demo import AUTHORS, EDITIONS, WORKS

Record = dict[str, Any]
FICTION = re.compile(r"\bfiction\b", re.IGNORECASE)
CRITICISM = re.compile(r"history and criticism", re.IGNORECASE)
JUVENILE = re.compile(r"\b(juvenile|children's)\b", re.IGNORECASE)
WORDS = re.compile(r"[a-z]{4,}")


def read(path: Path) -> list[Record]:
    return [json.loads(line.split("\t", 4)[4]) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def editions() -> list[Record]:
    return read(EDITIONS)


@pytest.fixture(scope="module")
def works() -> dict[str, Record]:
    return {work["key"]: work for work in read(WORKS)}


def headings(edition: Record, works: dict[str, Record]) -> list[str]:
    own = [*edition.get("subjects", []), *edition.get("genres", [])]
    return own + [subject for work in edition["works"] for subject in works[work["key"]]["subjects"]]


def is_fiction(found: list[str]) -> bool:
    return any(FICTION.search(text) and not CRITICISM.search(text) for text in found)


def is_juvenile(found: list[str]) -> bool:
    return any(JUVENILE.search(text) for text in found)


def language(edition: Record) -> str | None:
    found = edition.get("languages")
    if isinstance(found, list):
        found = found[0]["key"]
    return found.removeprefix("/languages/") if found else None


def description(edition: Record) -> str:
    found = edition["description"]
    return found["value"] if isinstance(found, dict) else found


@pytest.mark.parametrize(
    ("path", "kind", "key"),
    [
        (EDITIONS, "edition", r"/books/OL9\d{7}M"),
        (WORKS, "work", r"/works/OL9\d{7}W"),
        (AUTHORS, "author", r"/authors/OL9\d{7}A"),
    ],
)
def test_every_line_has_the_five_columns_of_the_dump_and_a_key_of_its_own(
    path: Path, kind: str, key: str
) -> None:
    keys = []
    for line in path.read_text(encoding="utf-8").splitlines():
        found_kind, found_key, revision, modified, body = line.split("\t")
        record = json.loads(body)
        assert found_kind == f"/type/{kind}"
        assert re.fullmatch(key, found_key)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", modified)
        assert record["type"] == {"key": found_kind}
        assert (record["key"], str(record["revision"])) == (found_key, revision)
        keys.append(found_key)
    assert len(set(keys)) == len(keys)


def test_works_and_authors_are_all_there(editions: list[Record], works: dict[str, Record]) -> None:
    authors = {author["key"]: author["name"] for author in read(AUTHORS)}
    for edition in editions:
        assert [work["key"] for work in edition["works"] if work["key"] in works]
        assert all(author["key"] in authors for author in edition.get("authors", []))
    for work in works.values():
        assert all(role["author"]["key"] in authors for role in work.get("authors", []))
    assert len(set(authors.values())) == len(authors)


def test_the_sample_is_large_and_varied(editions: list[Record], works: dict[str, Record]) -> None:
    found = [(language(edition), headings(edition, works)) for edition in editions]
    assert len(works) >= 430
    assert sum(lang == "eng" and is_fiction(h) and not is_juvenile(h) for lang, h in found) >= 330
    assert sum("Nonfiction" in h for _, h in found) >= 40
    assert sum(is_juvenile(h) for _, h in found) >= 30
    assert sum(lang not in ("eng", None) for lang, _ in found) >= 30
    assert not any(is_fiction(h) for _, h in found if "Nonfiction" in h)
    titles = [edition["title"] for edition in editions if language(edition) == "eng"]
    assert len(set(titles)) == len(titles)
    assert "Moby-Dick" in titles


def test_every_edition_is_described_in_one_line(editions: list[Record]) -> None:
    texts = [description(edition) for edition in editions]
    assert len(set(texts)) == len(texts)
    for edition, text in zip(editions, texts, strict=True):
        assert "\n" not in text
        assert text.endswith((".", "。")), edition["title"]
        if language(edition) == "eng":
            assert 10 <= len(text.split()) <= 26, edition["title"]


def test_the_mess_of_the_real_dump_is_there(editions: list[Record], works: dict[str, Record]) -> None:
    assert any(isinstance(edition["description"], str) for edition in editions)
    assert any(isinstance(edition["description"], dict) for edition in editions)
    assert any(isinstance(edition.get("languages"), str) for edition in editions)
    assert any("languages" not in edition for edition in editions)
    assert any("pagination" in edition and "number_of_pages" not in edition for edition in editions)
    dates = {edition["publish_date"] for edition in editions}
    assert {"[n.d.]", "????", "Feb 11, 2014", "1951-07-16"} <= dates
    covers = [edition.get("covers") for edition in editions]
    assert [-1] in covers
    assert [None] in covers
    kinds = {type(role["type"]).__name__ for work in works.values() for role in work.get("authors", [])}
    assert kinds == {"str", "dict"}


def test_covers_are_numbered_once_and_a_few_are_missing(editions: list[Record]) -> None:
    ids = [number for edition in editions for number in edition.get("covers", []) if number and number > 0]
    assert len(set(ids)) == len(ids)
    assert 0.02 <= 1 - len(ids) / len(editions) <= 0.08


def test_isbns_have_the_right_check_digit(editions: list[Record]) -> None:
    isbns = [isbn for edition in editions for isbn in edition.get("isbn_13", [])]
    assert isbns
    for isbn in isbns:
        assert sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(isbn)) % 10 == 0


def test_paraphrases_share_no_word_with_their_title(editions: list[Record]) -> None:
    titles = {edition["title"] for edition in editions}
    lines = Path(__file__).with_name("paraphrases.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines]
    assert len(pairs) >= 15
    for query, title in pairs:
        assert title in titles
        assert not set(WORDS.findall(query.lower())) & set(WORDS.findall(title.lower())), query
