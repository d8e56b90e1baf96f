from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling import schema
from findling.errors import ConfigError, SourceError
from findling.filters import Where
from findling.sources.base import DOCUMENTS
from findling.sources.text import LINES
from sources.pipeline import build, line, load, parse, write

WHERE = "language = 'eng' and fiction and pages > 100 and year >= 2016"
GOOD = {
    "title": "Moby Dick",
    "languages": [{"key": "/languages/eng"}],
    "publish_date": "2018",
    "number_of_pages": 700,
    "subjects": ["Whales, Fiction"],
}


def books(tmp_path, *records, name="editions.txt", **options):
    lines = [
        record if isinstance(record, str) else line(f"OL{place}M", record)
        for place, record in enumerate(records, 1)
    ]
    write(tmp_path / name, "".join(lines))
    return load("openlibrary", {"editions": name, **options}, tmp_path)


def test_an_edition_becomes_all_columns(tmp_path):
    record = {
        "title_prefix": "The ",
        "title": "whale",
        "subtitle": "or  Moby",
        "by_statement": "by Herman Melville.",
        "description": {"type": "/type/text", "value": "A hunt.\r\nAt sea."},
        "subjects": ["Whales", "In library", "whales"],
        "genres": ["Fiction."],
        "languages": [{"key": "/languages/eng"}, {"key": "/languages/fre"}],
        "pagination": "xi, 635 p. ;",
        "publish_date": "October 1851",
        "covers": [-1, 240727],
        "isbn_10": ["0-394-80016-8"],
        "isbn_13": ["978-0583324205"],
        "publishers": ["Harper"],
        "works": [{"key": "/works/OL1W"}],
        "physical_format": "Paperback",
    }
    source = books(tmp_path, record)
    built = build(source, tmp_path / "work")
    assert built.documents == {
        "OL1M": {
            "id": "OL1M",
            "title": "The whale",
            "subtitle": "or Moby",
            "authors": ["Herman Melville"],
            "description": "A hunt.\nAt sea.",
            "subjects": ["Whales"],
            "genres": ["Fiction."],
            "language": "eng",
            "languages": ["eng", "fre"],
            "pages": 635,
            "year": 1851,
            "first_year": None,
            "cover_id": 240727,
            "cover_url": "https://covers.openlibrary.org/b/id/240727-M.jpg?default=false",
            "isbn": ["0394800168", "9780583324205"],
            "publishers": ["Harper"],
            "work_id": "OL1W",
            "fiction": True,
            "juvenile": False,
        }
    }
    assert list(built.documents["OL1M"]) == source.columns.names
    assert built.adds_up()


def test_an_edition_with_a_title_alone_is_a_document(tmp_path):
    document = build(books(tmp_path, {"title": "Alone"}), tmp_path / "work").documents["OL1M"]
    empty = {name for name, value in document.items() if value in (None, [], False)}
    assert empty == set(document) - {"id", "title"}


BROKEN = {
    "not JSON": [
        line("OL1M", '{"title": "cut sho'),
        line("OL1M", "{not json}"),
        line("OL1M", "[1, 2]"),
        line("OL1M", '"text"'),
        line("OL1M", ""),
        line("OL1M", "[" * 100_000),
        line("OL1M", '{"of_no_use": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    ],
    "not five columns": ["\n", "/type/edition\t/books/OL1M\t1\n", "rubbish\n", "a\tb\tc\td\n"],
    "not an edition": ["edition\t/books/OL1M\t1\t2020\t{}\n"],
    "no title": [line("OL1M", {}), line("OL1M", {"title": ""}), line("OL1M", {"title": ["x"]})],
    "no key": ['/type/edition\t/books/\t1\t2020\t{"title": "x"}\n'],
}


@pytest.mark.parametrize(("reason", "text"), [(r, t) for r, texts in BROKEN.items() for t in texts])
@pytest.mark.parametrize("where", ["", "title <> 'zzz'"])
def test_a_broken_line_is_told_and_stops_nothing(tmp_path, reason, text, where):
    source = books(tmp_path, GOOD, text, GOOD)
    built = build(source, tmp_path / "work", where)
    assert set(built.documents) == {"OL1M", "OL3M"}
    assert dict(built.dropped) == {reason: 1}
    assert built.failures == [(reason, text.rstrip("\n")[:2000])]
    assert built.read == 3
    assert built.adds_up()


def test_a_line_cut_short_is_told_even_where_the_filter_needs_no_parser(tmp_path):
    cut_short = line("OL9M", json.dumps(GOOD | {"publish_date": "1800"})[:-9])
    built = build(books(tmp_path, GOOD, cut_short), tmp_path / "work", WHERE)
    assert dict(built.dropped) == {"not JSON": 1}


def test_other_types_of_a_mixed_dump_are_counted_once_and_not_kept(tmp_path):
    other = [line("OL1W", {"title": "w"}, "work"), line("OL1A", {"name": "a"}, "author")]
    redirect = line("OL7M", {"location": "/books/OL1M"}, "redirect")
    source = books(tmp_path, GOOD, *other, redirect, works="editions.txt", authors="editions.txt")
    built = build(source, tmp_path / "work")
    assert dict(built.dropped) == {"not an edition": 3}
    assert built.failures == []
    assert built.adds_up()


def test_half_a_surrogate_pair_and_carriage_returns_are_read(tmp_path):
    text = line("OL1M", '{"title": "Moby \\ud83d Dick"}').replace("\n", "\r\n")
    built = build(books(tmp_path, text), tmp_path / "work")
    assert built.documents["OL1M"]["title"] == "Moby ? Dick"


@pytest.mark.parametrize("name", ["editions.txt", "editions.txt.gz"])
def test_works_and_authors_are_joined(tmp_path, name):
    records = [
        {"title": "A", "works": [{"key": "/works/OL1W"}], "authors": [{"key": "/authors/OL2A"}]},
        {"title": "B", "works": [{"key": "/works/OL1W"}], "subjects": ["SEA", "Ships"], "description": "own"},
        {"title": "C", "works": [{"key": "/works/OL404W"}], "authors": [{"key": "/authors/OL404A"}]},
        {"title": "D", "authors": [{"key": f"/authors/OL{n}A"} for n in (3, 1, 2, 404)]},
        {"title": "E", "by_statement": "by Someone Else"},
    ]
    works = [
        {
            "title": "A",
            "subjects": ["Sea", "Juvenile fiction", "Protected DAISY"],
            "description": {"value": "of the work"},
            "first_publish_date": "May 1901",
            "authors": [
                {"author": {"key": "/authors/OL1A"}, "type": {"key": "/type/author_role"}},
                {"author": "/authors/OL3A", "type": "/type/author_role"},
            ],
        }
    ]
    authors = [{"name": "One"}, {"personal_name": "Two"}, {"name": "Three"}]
    write(tmp_path / "works.txt", "".join(line(f"OL{n}W", w, "work") for n, w in enumerate(works, 1)))
    write(tmp_path / "authors.txt", "".join(line(f"OL{n}A", a, "author") for n, a in enumerate(authors, 1)))
    source = books(tmp_path, *records, name=name, works="works.txt", authors="authors.txt")
    built = build(source, tmp_path / "work")
    found = {document["title"]: document for document in built.documents.values()}
    assert [found[title]["authors"] for title in "ABCDE"] == [
        ["Two"],
        ["One", "Three"],
        [],
        ["Three", "One", "Two"],
        ["Someone Else"],
    ]
    assert found["A"]["subjects"] == ["Sea", "Juvenile fiction"]
    assert found["B"]["subjects"] == ["SEA", "Ships", "Juvenile fiction"]
    assert [found[title]["description"] for title in "ABC"] == ["of the work", "own", None]
    assert [found[title]["first_year"] for title in "ABC"] == [1901, 1901, None]
    assert [found[title]["fiction"] for title in "ABC"] == [True, True, False]
    assert [found[title]["juvenile"] for title in "ABC"] == [True, True, False]
    assert built.adds_up()


def test_a_filter_on_what_the_work_tells_waits_for_the_join(tmp_path):
    records = [GOOD | {"works": [{"key": f"/works/OL{n}W"}], "subjects": []} for n in (1, 2)]
    write(tmp_path / "works.txt", line("OL1W", {"subjects": ["Fiction"]}, "work"))
    source = books(tmp_path, *records, GOOD | {"publish_date": "1999"}, works="works.txt")
    assert "fiction" not in source.early()
    built = build(source, tmp_path / "work", WHERE)
    assert set(built.documents) == {"OL1M"}
    assert dict(built.dropped) == {"where: fiction": 1, "where: year >= 2016": 1}


def test_a_record_that_stands_there_twice_is_merged_and_counted(tmp_path):
    write(tmp_path / "authors.txt", 2 * line("OL1A", {"name": "One"}, "author"))
    write(tmp_path / "works.txt", 2 * line("OL1W", {"subjects": ["Sea"]}, "work"))
    record = GOOD | {"authors": [{"key": "/authors/OL1A"}], "works": [{"key": "/works/OL1W"}]}
    twice = line("OL1M", GOOD | {"title": "old", "revision": 1}) + line("OL1M", record | {"revision": 2})
    source = books(tmp_path, twice, authors="authors.txt", works="works.txt")
    built = build(source, tmp_path / "work")
    assert [(d["title"], d["authors"]) for d in built.documents.values()] == [("Moby Dick", ["One"])]
    assert dict(built.dropped) == {"the same id again": 1}
    assert built.adds_up()


def test_only_works_or_only_authors_may_be_given(tmp_path):
    write(tmp_path / "works.txt", line("OL1W", {"subjects": ["Sea"]}, "work"))
    write(tmp_path / "authors.txt", line("OL1A", {"name": "One"}, "author"))
    record = GOOD | {"works": [{"key": "/works/OL1W"}], "authors": [{"key": "/authors/OL1A"}]}
    with_works = build(books(tmp_path, record, works="works.txt"), tmp_path / "a").documents["OL1M"]
    assert with_works["subjects"] == ["Whales, Fiction", "Sea"]
    with_names = build(books(tmp_path, record, authors="authors.txt"), tmp_path / "b", WHERE).documents[
        "OL1M"
    ]
    assert with_names["authors"] == ["One"]


def test_counts_add_up_when_rows_of_authors_meet_the_filter(tmp_path):
    write(tmp_path / "authors.txt", line("OL1A", {"name": "One"}, "author"))
    many = {"authors": [{"key": f"/authors/OL{n}A"} for n in range(1, 5)]}
    source = books(tmp_path, GOOD | many, GOOD | many | {"number_of_pages": 9}, authors="authors.txt")
    built = build(source, tmp_path / "work", WHERE)
    assert dict(built.dropped) == {"where: pages > 100": 1}
    assert built.adds_up()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "source.editions is missing"),
        ({"editions": 3}, "source.editions"),
        ({"editions": "e.txt", "wroks": "w.txt"}, "unknown key 'source.wroks'; did you mean 'works'"),
        ({"editions": "e.txt", "cover_url": "http://x"}, "source.cover_url"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        load("openlibrary", options, tmp_path)


def test_missing_files_directories_and_cut_gzips_are_named(tmp_path):
    for name, told in [("none.txt", "there is no"), ("none*.txt", "there is no"), (".", "is a directory")]:
        with pytest.raises(SourceError, match=told):
            load("openlibrary", {"editions": name}, tmp_path).splits()
    whole = write(tmp_path / "cut.txt.gz", line("OL1M", {"title": os.urandom(4000).hex()})).read_bytes()
    for octets, told in [(whole[:-40], "ends in the middle"), (b"no gzip at all", "cut.txt.gz")]:
        (tmp_path / "cut.txt.gz").write_bytes(octets)
        with pytest.raises(SourceError, match=told):
            build(load("openlibrary", {"editions": "cut.txt.gz"}, tmp_path), tmp_path / "work")


# What the sieve on bytes must never lose: any spelling of a value that the parser would accept.
dates = st.sampled_from(
    ["2016", "Jan 2, 2017", "2015", "8858", "", "\n2018", "x2019", '"2020"', "19--", "2016/2017", "\\2021"]
) | st.text(max_size=6)
languages = st.sampled_from(
    [
        [{"key": "/languages/eng"}],
        [{"key": "eng"}],
        "eng",
        "/languages/ENG",
        ["/languages/eng"],
        [{"key": "/languages/fre"}, {"key": "/languages/eng"}],
        [{"key": "/languages/fre"}],
        [{"x": 1, "key": "/languages/eng"}],
        {"key": "/languages/eng"},
        [],
        None,
    ]
)
counts = st.sampled_from([101, 100, 99, 1000, "101", "99", " 0101 ", 101.0, None, 1e3, "300 p.", 0])
subjects = st.lists(
    st.sampled_from(["Fiction", "fic\tion", "NOVELS", "Short\nstories", "Tales", "Nonfiction"])
)
HEADINGS = [
    "Fiction",
    {"type": "/type/text", "value": "Fiction"},
    [{"name": "Fiction"}],
    [{"type": "/type/subject", "name": "Fiction"}],
    ["", "Fiction"],
    ['"', "Fiction"],
    ['so-called "x": y', "Fiction"],
    ["[{}]: , Fiction"],
    ["Fiction, criticism"],
    [None, 3, ["x"], "Fiction"],
    ["\u00e9", "Fiction"],
]
editions = st.fixed_dictionaries(
    {"title": st.just("t")},
    optional={
        "publish_date": dates | st.sampled_from([2016, {"value": "2016"}, {"type": "x", "value": "1990"}]),
        "languages": languages,
        "number_of_pages": counts,
        "pagination": st.sampled_from(["xi, 304 p.", "99 p.", "v."]),
        "subjects": subjects | st.sampled_from(HEADINGS),
        "genres": subjects,
        "notes": st.text(max_size=20) | st.just("a novel of 2016"),
        "copyright_date": dates,
    },
)
turned = st.tuples(editions, st.integers(0, 8)).map(
    lambda told: dict([*told[0].items()][told[1] :] + [*told[0].items()][: told[1]])
)


def spelt(record, escape: int, spaces: tuple[str, str]) -> str:
    """JSON with every n-th ASCII letter or digit written as an escape."""
    told = json.dumps(record, ensure_ascii=escape % 2 == 0, separators=spaces)
    if escape < 2:
        return told
    inside, out = False, []
    for place, char in enumerate(told):
        if char == '"' and told[place - 1] != "\\":
            inside = not inside
        hide = (
            inside
            and char.isascii()
            and char.isalnum()
            and place % escape == 0
            and "\\" not in told[max(place - 6, 0) : place]
        )
        out.append(f"\\u{ord(char):04x}" if hide else char)
    return "".join(out)


spellings = st.tuples(st.integers(0, 9), st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")]))
wheres = st.sampled_from(
    [WHERE, "year = 2016", "year > 2015", "year < 1995", "fiction", "juvenile", "pages >= 100",
     "pages > 9", "language = 'ENG' or language = 'eng'", "language = 'eng'", "2016 <= year",
     "pages = 1000", "year >= 2016.5", "not fiction and year > 2000", "fiction and juvenile"]
)  # fmt: skip


def _taken(batch: pa.RecordBatch, parts: Where, hinted: Where) -> tuple[list[dict], list[schema.Drop]]:
    """What the filter `parts` leaves of lines, if the parser is told of the filter `hinted`."""
    source = load("openlibrary", {"editions": "unused.txt"}, ".")
    parsed, drops = schema.without_drops(source.parser("editions", hinted)(batch))
    kept, filtered = parts.apply(parsed)
    return kept.to_pylist(), [*drops, *filtered]


def _batch(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([text.encode() for text in texts], pa.binary())], schema=LINES)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(turned, spellings), max_size=6), wheres)
def test_the_sieve_never_loses_a_row(records, where):
    texts = [line(f"OL{n}M", spelt(record, *how)) for n, (record, how) in enumerate(records)]
    parts = Where.parse(where)
    sifted, drops = _taken(_batch(texts), parts, parts)
    parsed, _ = _taken(_batch(texts), parts, Where())
    assert sifted == parsed
    assert len(sifted) + sum(drop.count for drop in drops) == len(texts)


@pytest.mark.parametrize("headings", HEADINGS)
@pytest.mark.parametrize("key", ["subjects", "genres"])
@pytest.mark.parametrize("how", [(0, (", ", ": ")), (1, (",", ":")), (0, (" , ", " : ")), (3, (", ", ": "))])
def test_the_sieve_knows_every_form_of_headings(key, headings, how):
    record = {"title": "t", "subject_place": ["Sea"], key: headings, "works": [{"key": "/works/OL1W"}]}
    texts = [line("OL1M", spelt(told, *how)) for told in (record, record | {key: ["History"]})]
    parts = Where.parse("fiction")
    kept, drops = _taken(_batch(texts), parts, parts)
    assert kept == _taken(_batch(texts), parts, Where())[0]
    assert len(kept) + sum(drop.count for drop in drops) == 2


odd_lines = st.sampled_from(
    ["\n", "rubbish\n", "a\tb\tc\td\n", line("OL1W", {"title": "w"}, "work"), line("OL2M", '{"title": "cut'),
     line("OL3M", "[1]"), line("OL4M", {}), "/type/edition\t/books/\t1\t2\t{}\n",
     line("OL5M", GOOD).replace("\n", "\r\n"), line("OL6M", GOOD).rstrip("\n")]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    odd_lines | st.tuples(turned, spellings).map(lambda told: line("OL1M", spelt(told[0], *told[1]))), wheres
)
def test_the_sieve_tells_a_true_reason_for_each_line(text, where):
    parts = Where.parse(where)
    sifted = _taken(_batch([text]), parts, parts)
    parsed = _taken(_batch([text]), parts, Where())
    if sifted != parsed:
        # A line may fail several parts: the sieve tells one that it does fail, and keeps none of what is odd.
        ((drop,), (other,)) = sifted[1], parsed[1]
        assert (drop.count, drop.detail) == (1, None)
        assert other.detail is None or text.endswith("}\n")
        (failed,) = (part for part in parts.parts if drop.reason == f"where: {part.sql}")
        assert _taken(_batch([text]), Where((failed,)), Where())[0] == []


@settings(max_examples=50, deadline=None)
@given(
    st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda b: b"/type/edition\t/books/OL1M\t1\t2\t{" + b + b"}")
)
def test_any_bytes_are_a_row_or_one_drop(octets):
    lines = octets.splitlines(keepends=True)
    source = load("openlibrary", {"editions": "unused.txt"}, ".")
    batch = pa.record_batch([pa.array(lines, pa.binary())], schema=LINES)
    for where in (Where(), Where.parse(WHERE)):
        rows, drops = schema.without_drops(source.parser("editions", where)(batch))
        assert len(rows) + sum(drop.count for drop in drops) == len(lines)


def test_the_source_travels_and_its_splits_are_stable(tmp_path):
    source = books(tmp_path, GOOD)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    assert again == source
    assert again.splits() == source.splits()
    assert again.columns == source.columns


@pytest.mark.needs("data")
def test_a_real_sample_serves_as_all_three_files(tmp_path):
    from needs import data_directory

    sample = str(Path(str(data_directory())) / "openlibrary" / "ol_dump_sample.txt.gz")
    options = {"editions": sample, "works": sample, "authors": sample}
    built = build(load("openlibrary", options, tmp_path), tmp_path / "work")
    assert built.read == 137
    assert len(built.documents) == 68
    assert dict(built.dropped) == {"not an edition": 69}
    eggs = built.documents["OL14065582M"]
    assert (eggs["title"], eggs["year"], eggs["pages"], eggs["authors"]) == (
        "Green Eggs and Ham",
        1960,
        72,
        ["Dr. Seuss"],
    )
    assert sum(bool(d["authors"]) for d in built.documents.values()) > 60


@pytest.mark.needs("data")
@pytest.mark.slow
def test_the_main_filter_adds_up_on_a_hundred_thousand_editions(tmp_path):
    from needs import data_directory

    home = Path(str(data_directory())) / "openlibrary"
    options = {name: str(home / f"gutenberg_{name}.txt.gz") for name in ("editions", "works", "authors")}
    built = build(load("openlibrary", options, tmp_path), tmp_path / "work", WHERE, workers=2)
    assert built.read == 102_950
    assert built.adds_up()
    assert 1000 < len(built.documents) < 20_000
    assert all(d["fiction"] and d["year"] >= 2016 for d in built.documents.values())


def test_documents_need_their_table_only(tmp_path):
    rows, drops = parse(books(tmp_path, GOOD), "editions")
    assert len(rows) == 1
    assert [(drop.reason, drop.count) for drop in drops] == [(schema.READ, 1)]
    assert DOCUMENTS not in {split.table for split in books(tmp_path, GOOD).splits()}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(editions, max_size=6),
    st.sets(
        st.sampled_from(["title", "year", "fiction", "cover_url", "isbn", "languages", "genres", "authors"])
    ),
)
def test_wanted_columns_are_the_same_whatever_else_is_wanted(records, wanted):
    source = load("openlibrary", {"editions": "unused.txt"}, ".")
    lines = [line(f"OL{n}M", record).encode() for n, record in enumerate(records)]
    batch = pa.record_batch([pa.array(lines, pa.binary())], schema=LINES)
    whole, _ = schema.without_drops(source.parser("editions", Where())(batch))
    some, _ = schema.without_drops(source.parser("editions", Where(), frozenset(wanted))(batch))
    assert some.schema == whole.schema
    for name in wanted | {"id"}:
        assert some.column(name) == whole.column(name)
