from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling.errors import ConfigError, SourceError
from sources.pipeline import build, load, parse, write

HEADER = ["year", "month", "day", "wikimedia_project", "language", "title", "views"]
ALL = {"min_words": 0, "min_views": 0}


def table(*rows, delimiter="\t", header=HEADER):
    told = [header, *((2012, 6, 5, "wp", *row) for row in rows)]
    return "".join(delimiter.join(map(str, row)) + "\n" for row in told)


def titles(tmp_path, content, name="titles.tsv", **options):
    write(tmp_path / name, content)
    return load("wikipedia", {"path": name, **options}, tmp_path)


ROWS = [
    ("en", "The_history_of_the_world", 2),
    ("en", "The History of the World", 5),
    ("en", "THE HISTORY OF THE WORLD", 5),
    ("fr", "Une histoire du monde entier", 50),
    ("en", "Too short a title", 99),
    ("en", "Seen by two people only", 2),
    ("en", "Straßen und Wege in Berlin", 3),
    ("en", "STRASSEN UND WEGE IN BERLIN", 1),
    ("en", "w " * 300 + "w", 9),
]


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.tsv.gz", "t.csv.gz", "t.parquet", "t"])
def test_titles_are_distinct_sifted_and_summed(tmp_path, name):
    if name == "t.parquet":
        columns = {"extra": [1] * len(ROWS), "title": [r[1] for r in ROWS], "views": [r[2] for r in ROWS]}
        pq.write_table(pa.table({**columns, "language": [r[0] for r in ROWS]}), tmp_path / name)
        source = load("wikipedia", {"path": name}, tmp_path)
    else:
        source = titles(tmp_path, table(*ROWS, delimiter="," if "csv" in name else "\t"), name)
    built = build(source, tmp_path / "work")
    assert sorted((d["title"], d["views"]) for d in built.documents.values()) == [
        ("Straßen und Wege in Berlin", 4),
        ("THE HISTORY OF THE WORLD", 12),
    ]
    assert dict(built.dropped) == {
        "another language": 1,
        "under 5 words": 1,
        "under 3 views": 1,
        "500 characters or more": 1,
        "merged with an equal title": 3,
    }
    assert built.read == len(ROWS)
    assert built.adds_up()
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in built.documents)
    assert next(iter(built.documents.values())).keys() == {"id", "title", "views"}


def test_ids_come_from_the_content_whatever_its_case(tmp_path):
    one = build(titles(tmp_path, table(("en", "Five words are in this", 3))), tmp_path / "a")
    two = build(titles(tmp_path, table(("en", "FIVE words_are in this", 7))), tmp_path / "b")
    assert set(one.documents) == set(two.documents)


@pytest.mark.parametrize("header", ["page_title\n", ""])
@pytest.mark.parametrize("name", ["enwiki-latest-all-titles-in-ns0.gz", "titles.txt"])
def test_a_list_of_titles_has_no_views(tmp_path, header, name):
    content = header + '!\n"Heroes"_is_a_song,_and_more\nA_Title,_Of_Five_Words\na_title,_of_five_words\n'
    built = build(titles(tmp_path, content, name), tmp_path / "work")
    assert sorted((d["title"], d["views"]) for d in built.documents.values()) == [
        ('"Heroes" is a song, and more', None),
        ("A Title, Of Five Words", None),
    ]
    assert dict(built.dropped) == {"under 5 words": 1, "merged with an equal title": 1}
    assert built.adds_up()


def test_rows_that_are_none_are_told(tmp_path):
    content = table(("en", "a", "1"), ("en", "b", "many"), ("en", "", "1"), ("en", "c", "-1"))
    content += "en\tonly two\n\n2012\t1\t1\twp\ten\td\t2\textra\n"
    built = build(titles(tmp_path, content, **ALL), tmp_path / "work")
    assert [d["title"] for d in built.documents.values()] == ["a"]
    assert dict(built.dropped) == {"views is no number": 2, "no title": 1, "not a row": 2}
    assert ("not a row", "en\tonly two") in built.failures
    assert ("views is no number", "b: many") in built.failures
    assert built.adds_up()


@pytest.mark.parametrize(
    ("name", "field", "title"),
    [
        ("t.tsv", '"Weird Al" Yankovic', '"Weird Al" Yankovic'),
        ("t.tsv", '"Heroes"', '"Heroes"'),
        ("t.tsv", '"""Weird Al"" Yankovic"', '"Weird Al" Yankovic'),
        ("t.csv", '"""Weird Al"" Yankovic"', '"Weird Al" Yankovic'),
        ("t.csv", '"One, two"', "One, two"),
        ("t.tsv", "  Spaces__and\u00a0more_ ", "Spaces and more"),
    ],
)
def test_quotes_and_spaces(tmp_path, name, field, title):
    content = table(("en", field, 1), delimiter="," if "csv" in name else "\t")
    (found,) = build(titles(tmp_path, content, name, **ALL), tmp_path / "work").documents.values()
    assert found["title"] == title


def test_a_lone_quote_in_a_csv_costs_one_line(tmp_path):
    content = table(("en", 'a "lone', 1), ("en", '"lone', 1), ("en", "good", 1), delimiter=",")
    built = build(titles(tmp_path, content, "t.csv", **ALL), tmp_path / "work")
    assert [d["title"] for d in built.documents.values()] == ["good"]
    assert dict(built.dropped) == {"not a row": 2}


def test_bytes_that_are_no_utf8_are_replaced(tmp_path):
    content = table(("en", "XX", 1)).encode().replace(b"XX", b"caf\xe9")
    (found,) = build(titles(tmp_path, content, **ALL), tmp_path / "work").documents.values()
    assert found["title"] == "caf\ufffd"


@pytest.mark.parametrize("content", ["", "\t".join(HEADER) + "\n", "\t".join(HEADER)])
def test_nothing_to_read_is_no_error(tmp_path, content):
    built = build(titles(tmp_path, content), tmp_path / "work")
    assert built.documents == {}
    assert built.read == 0


def test_a_table_without_titles_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="no column 'title'"):
        build(titles(tmp_path, "a,b\n1,2\n", "t.csv"), tmp_path / "work")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="no column 'title'"):
        build(load("wikipedia", {"path": "t.parquet"}, tmp_path), tmp_path / "work")
    write(tmp_path / "no.parquet", b"PAR1 no")
    with pytest.raises(SourceError, match=r"no\.parquet is no Parquet file"):
        build(load("wikipedia", {"path": "no.parquet"}, tmp_path), tmp_path / "work")


@pytest.mark.parametrize("options", [{}, {"path": "x", "min_words": -1}, {"path": "x", "lang": "en"}])
def test_wrong_options_are_named(tmp_path, options):
    with pytest.raises(ConfigError, match=r"source\."):
        load("wikipedia", options, tmp_path)


names = st.text(st.characters(blacklist_characters="\t\n\r_", blacklist_categories=("Cs", "Cc")), max_size=6)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(names, st.integers(0, 9)), max_size=20))
def test_folding_equals_what_python_does(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("titles")
    pq.write_table(
        pa.table({"title": pa.array([r[0] for r in rows], pa.string()), "views": [r[1] for r in rows]}),
        path / "t.parquet",
    )
    built = build(load("wikipedia", {"path": "t.parquet", **ALL}, path), path / "work")
    expected: dict[str, list[tuple[int, str]]] = {}
    for name, views in rows:
        title = " ".join(re.sub(r"[\s]+", " ", name).split())
        if title:
            expected.setdefault(title.casefold(), []).append((-views, title))
    found = {d["title"].casefold(): d for d in built.documents.values()}
    assert {fold: d["views"] for fold, d in found.items()} == {
        fold: -sum(views for views, _ in each) for fold, each in expected.items()
    }
    for fold, each in expected.items():
        # The smallest spelling among those with most views, compared by bytes.
        most = min(views for views, _ in each)
        assert found[fold]["title"] == min((t for v, t in each if v == most), key=str.encode)
    assert built.adds_up()


def test_parts_of_a_file_tell_the_same_as_the_whole(tmp_path, monkeypatch):
    from findling.sources import text

    source = titles(tmp_path, table(*ROWS))
    whole, _ = parse(source, "titles")
    monkeypatch.setattr(text, "SPLIT_BYTES", 40)
    assert len(source.splits()) > 5
    parts, _ = parse(source, "titles")
    assert sum(row["_rows"] for row in parts) == sum(row["_rows"] for row in whole)


@pytest.mark.needs("data")
def test_real_titles(tmp_path):
    from needs import data_directory

    built = build(load("wikipedia", {"path": f"{data_directory()}/titles/titles.tsv.gz"}, "."), tmp_path)
    assert built.read == 168_137
    assert built.adds_up()
    assert len(built.documents) > 50_000
