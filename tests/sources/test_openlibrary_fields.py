from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from findling.sources import openlibrary_fields as fields

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["key", "author", "value"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("told", "year"),
    [
        ("2016", 2016),
        ("Jan 09, 2011", 2011),
        ("2020-02", 2020),
        ("[1999]", 1999),
        ("1900-01-01", 1900),
        ("June 1st, 1987 or 1988", 1987),
        (2016, 2016),
        ({"type": "/type/text", "value": "c. 1850"}, 1850),
        ("c1850", None),
        ("8858", None),
        ("0099", None),
        ("19--", None),
        ("197?", None),
        ("[n.d.]", None),
        ("????", None),
        ("", None),
        ("12345", None),
        ("'98", None),
        ("٢٠١٦", None),
        (None, None),
        (["2016"], None),
        (True, None),
        ("8858, i.e. 1858", None),
    ],
)
def test_year_is_the_first_number_of_four_digits(told, year):
    assert fields.year(told, present=2026) == year


def test_the_present_year_is_the_last():
    assert fields.year("2026", 2026) == 2026
    assert fields.year("2027", 2026) is None


@pytest.mark.parametrize(
    ("number", "pagination", "pages"),
    [
        (664, None, 664),
        ("430", None, 430),
        (" 430 ", None, 430),
        ("430 p.", None, 430),
        (430.0, None, 430),
        (None, "[viii], 304 p. ;", 304),
        (None, "xi, 99 p., [16] leaves of plates", 99),
        (None, "2 v. (1204 p.)", 1204),
        (None, "v.", None),
        (None, "p. cm.", None),
        (None, "8 p.", None),
        (None, "99999999999 p., 12 p.", 12),
        (None, "50000 p.", None),
        (0, "123 p.", 123),
        (-4, None, None),
        (10**30, "77 p.", 77),
        (True, None, None),
        (["12"], {"value": "88 p."}, 88),
        (None, None, None),
    ],
)
def test_pages_are_the_number_or_the_largest_of_the_pagination(number, pagination, pages):
    assert fields.pages(number, pagination) == pages


@pytest.mark.parametrize(
    ("told", "cover"),
    [
        ([877828], 877828),
        ([-1, 0, None, 12, 13], 12),
        ([-1], None),
        ([None], None),
        ([], None),
        (None, None),
        (17, 17),
        (["18"], 18),
        ([True], None),
        ([2**70, 5], 5),
        ({"id": 3}, None),
    ],
)
def test_cover_is_the_first_id_above_zero(told, cover):
    assert fields.cover(told) == cover


@pytest.mark.parametrize(
    ("told", "languages"),
    [
        ([{"key": "/languages/eng"}, {"key": "/languages/fre"}], ["eng", "fre"]),
        ("/languages/eng", ["eng"]),
        ("eng", ["eng"]),
        (["/languages/ENG", "eng"], ["eng"]),
        ({"key": "/languages/ger"}, ["ger"]),
        ([{"key": None}, {}, None, 3], []),
        ([], []),
        (None, []),
    ],
)
def test_languages_come_as_objects_and_bare_texts(told, languages):
    assert fields.languages(told) == languages


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ([{"key": "/authors/OL1A"}, {"key": "/authors/OL2A"}], ["OL1A", "OL2A"]),
        ([{"type": {"key": "/type/author_role"}, "author": {"key": "/authors/OL1A"}}], ["OL1A"]),
        ([{"type": "/type/author_role", "author": "/authors/OL1A"}], ["OL1A"]),
        (["/authors/OL1A", "/authors/OL1A"], ["OL1A"]),
        ([{"type": "/type/author_role"}], []),
        ([{"type": "/type/author_role", "author": None}], []),
        (None, []),
    ],
)
def test_authors_come_with_and_without_roles(told, keys):
    assert fields.keys(told) == keys


@pytest.mark.parametrize(
    ("heading", "fiction"),
    [
        ("Fiction", True),
        ("FICTION", True),
        ("Fiction, general", True),
        ("Science fiction.", True),
        ("Detectives, Fiction", True),
        ("Graphic novels", True),
        ("A novel", True),
        ("Short stories", True),
        ("Detective and mystery stories, English", True),
        ("Children's stories", True),
        ("Juvenile fiction", True),
        ("Horror tales", True),
        ("Nonfiction", False),
        ("Non-fiction", False),
        ("Juvenile Nonfiction / General", False),
        ("Creative non fiction", False),
        ("Fiction and nonfiction", False),
        ("English fiction -- History and criticism", False),
        ("Fiction, History and criticism", False),
        ("Fiction -- Authorship", False),
        ("Fiction--Technique", False),
        ("Science fiction films", False),
        ("Fictionalism (Philosophy)", False),
        ("Novelists, American", False),
        ("Success stories", False),
        ("Bible stories", False),
        ("Metafiction_", False),
        ("History", False),
        ("", False),
    ],
)
def test_fiction_is_told_by_whole_words(heading, fiction):
    assert fields.is_fiction([heading]) is fiction
    assert fields.is_fiction(["History", heading]) is fiction


def test_one_heading_of_fiction_is_enough():
    assert fields.is_fiction(["English fiction -- History and criticism", "Fiction"])
    assert not fields.is_fiction([])


@pytest.mark.parametrize(
    ("heading", "juvenile"),
    [
        ("Juvenile fiction", True),
        ("Juvenile literature.", True),
        ("Dogs -- Juvenile", True),
        ("JUVENILE NONFICTION / Animals", True),
        ("Children's stories", True),
        ("Children’s books", True),
        ("Young adult fiction", True),
        ("Picture books", True),
        ("Juvenile delinquency", False),
        ("Juvenile justice, Administration of", False),
        ("Children's literature -- History and criticism", False),
        ("Children", False),
        ("Young adults", False),
        ("Fiction", False),
    ],
)
def test_juvenile_names_readers_and_not_the_young(heading, juvenile):
    assert fields.is_juvenile([heading]) is juvenile


def test_subjects_lose_noise_and_repetitions():
    told = fields.subjects(
        [
            "Whales",
            "Accessible book",
            "whales",
            {"key": "/x", "value": "Sea  stories"},
            3,
            None,
            "In library",
        ],
        "Protected DAISY",
        ["Ships", "Large type books"],
    )
    assert told == ["Whales", "Sea stories", "Ships"]


@pytest.mark.parametrize(
    ("told", "isbns"),
    [
        ((["0-394-80016-8"], ["978-0583324205", "9780583324205"]), ["0394800168", "9780583324205"]),
        (("089471984x", None), ["089471984X"]),
        (([None, 3, "n/a", "12"], []), []),
    ],
)
def test_isbns_lose_hyphens(told, isbns):
    assert fields.isbns(*told) == isbns


@pytest.mark.parametrize(
    ("title", "prefix", "full", "whole"),
    [
        ("Whale", "The ", None, "The Whale"),
        ("The Whale", "The", None, "The Whale"),
        ("assommoir", "L'", None, "L'assommoir"),
        ("  Moby \n Dick ", None, None, "Moby Dick"),
        (None, "The", "The golden egg book", "The golden egg book"),
        ({"value": "Object"}, None, None, "Object"),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_title(title, prefix, full, whole):
    assert fields.title(title, prefix, full) == whole


@pytest.mark.parametrize(
    ("told", "authors"),
    [
        ("by Dr. Seuss [pseud.]", ["Dr. Seuss [pseud.]"]),
        ("Lewis Carroll ; Deutsch von Helene Scheu-Riesz.", ["Lewis Carroll"]),
        ("[illustrated by Gary Undercuffler].", []),
        (None, []),
    ],
)
def test_by_statement(told, authors):
    assert fields.by_statement(told) == authors


@given(json_values, json_values, json_values)
def test_any_json_value_is_read_or_left(one, two, three):
    assert fields.year(one, 2026) is None or 1000 <= fields.year(one, 2026) <= 2026
    assert fields.pages(one, two) is None or 0 < fields.pages(one, two) < fields.MOST_PAGES
    assert fields.cover(one) is None or fields.cover(one) > 0
    assert all(isinstance(code, str) and code for code in fields.languages(one) + fields.keys(two))
    assert all(isinstance(told, str) and told for told in fields.subjects(one, two, three))
    assert all(len(isbn) in {10, 13} for isbn in fields.isbns(one, two))
    assert fields.title(one, two, three) != ""
    assert fields.prose(one) != ""
    assert isinstance(fields.is_fiction(fields.texts(one)), bool)
    fields.by_statement(one)
