from __future__ import annotations

import contextlib
import datetime
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling import where
from findling.errors import QueryError

ROWS: list[dict[str, Any]] = [
    {"id": "a", "title": "Moby-Dick", "year": 1851, "pages": 635, "price": 9.5, "fiction": True,
     "subjects": ["Whales", "Sea"], "day": datetime.date(1851, 10, 18), "odd name": 1, "ratings": [5, 4]},
    {"id": "b", "title": "It's Éa night", "year": 2016, "pages": None, "price": 1.25, "fiction": False,
     "subjects": [], "day": datetime.date(2016, 5, 1), "odd name": 2, "ratings": [1]},
    {"id": "c", "title": None, "year": None, "pages": 100, "price": math.nan, "fiction": None,
     "subjects": None, "day": None, "odd name": None, "ratings": None},
    {"id": "d", "title": "The SEA, the sea", "year": 1978, "pages": 502, "price": None, "fiction": True,
     "subjects": ["Sea", "whales"], "day": datetime.date(1978, 1, 1), "odd name": 4, "ratings": []},
]  # fmt: skip
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("year", pa.int32()),
        ("pages", pa.int64()),
        ("price", pa.float64()),
        ("fiction", pa.bool_()),
        ("subjects", pa.list_(pa.string())),
        ("day", pa.date32()),
        ("odd name", pa.uint64()),
        ("ratings", pa.list_(pa.int16())),
    ]
)
TABLE = pa.Table.from_batches(
    [pa.RecordBatch.from_pylist(ROWS[:1], SCHEMA), pa.RecordBatch.from_pylist(ROWS[1:], SCHEMA)]
)


def found(expression: Any) -> str:
    mask = where.evaluate(where.parse(expression, SCHEMA), TABLE.column)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(ROWS),)
    return "".join(row["id"] for row, passes in zip(ROWS, mask, strict=True) if passes)


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("year >= 1978", "bd"),
        ("year = 1851 or year = 2016", "ab"),
        ("not year = 1851", "bd"),  # null is neither
        ("year != 1851", "bd"),
        ("year <> 1851", "bd"),
        ("year == 1851", "a"),
        ("fiction", "ad"),
        ("not fiction", "b"),
        ("fiction = false", "b"),
        ("fiction is null", "c"),
        ("title is not null and not fiction is null", "abd"),
        ("title = 'It''s Éa night'", "b"),
        ("title contains 'sea'", "d"),
        ("title contains 'éA'", "b"),
        ("title contains 'oby-D'", "a"),
        ("title not contains 'sea'", "ab"),
        ("title contains ''", "abd"),
        ("title contains '.'", ""),
        ("subjects contains 'Sea'", "ad"),
        ("subjects contains 'whales'", "d"),
        ("not subjects contains 'Sea'", "b"),
        ("subjects in ('Whales', 'whales')", "ad"),
        ("subjects not in ('Whales', 'whales')", "b"),
        ("ratings contains 4", "a"),
        ("ratings contains 1e9", ""),
        ("ratings in (1, 4.5)", "b"),
        ("year in (1851, 1978, 3000000000000)", "ad"),
        ("year not in (1851, 1978)", "b"),
        ("title in ('Moby-Dick', 'x')", "a"),
        ("fiction in (false)", "b"),
        ("year > 1977.5 and year < 1978.5", "d"),
        ("year = 1977.5", ""),
        ("year != 1977.5", "abd"),
        ("year <= 1978.0", "ad"),
        ("year < 1e20", "abd"),
        ("year > -1e20", "abd"),
        ("year > 99999999999999999999", ""),
        ("year >= 1e299", ""),
        ("year != 1e299", "abd"),
        ("pages < 9007199254740993", "acd"),
        ("price > 1", "ab"),
        ("price != 9.5", "bc"),  # not a number differs from every number
        ("price in (1.25, 9)", "b"),
        ("day >= '1978-01-01'", "bd"),
        ("day = '2016-05-01'", "b"),
        ("day in ('2016-05-01', '1851-10-18')", "ab"),
        ('"odd name" = 2', "b"),
        ('"odd name" > -1', "abd"),
        ('"odd name" < 18446744073709551615', "abd"),
        ('"odd name" in (4, -4, 99999999999999999999999)', "d"),
        ("year > 1900 and fiction or year < 1900", "ad"),
        ("year > 1900 and (fiction or year < 1900)", "d"),
        ("NOT (year > 1900 AND fiction)", "ab"),
        ("((((year>1900))))", "bd"),
        ("id >= 'b' and id<'d'", "bc"),
        ("fiction or year is null", "acd"),
    ],
)
def test_what_passes(expression: str, ids: str) -> None:
    assert found(expression) == ids
    tree = where.parse(expression, SCHEMA)
    assert where.parse(where.to_text(tree), SCHEMA) == tree


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"column": "year", "op": ">=", "value": 2016}, "year >= 2016"),
        ({"column": "fiction"}, "fiction"),
        ({"not": {"column": "fiction"}}, "not fiction"),
        (
            {"and": [{"column": "fiction"}, {"or": [{"column": "year", "op": "is null"}]}]},
            "fiction and year is null",
        ),
        ({"column": "title", "op": "is not null"}, "title is not null"),
        ({"column": "year", "op": "in", "value": [1, 2]}, "year in (1, 2)"),
        ({"column": "odd name", "op": "=", "value": 1}, '"odd name" = 1'),
        ({"column": "title", "op": "contains", "value": "it's"}, "title contains 'it''s'"),
    ],
)
def test_json_says_the_same(given: Any, same: str) -> None:
    assert where.parse(given, SCHEMA) == where.parse(same, SCHEMA)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("year >= ", "character 9: found the end, expected a value"),
        ("year >< 3", "character 7: found '<', expected a value"),
        ("year 3", "character 6: found '3', expected a comparison, in, contains or is"),
        ("(year = 3", "character 10: found the end, expected '[)]'"),
        ("year = 3 fiction", "character 10: found 'fiction', expected and, or, or the end"),
        ("and", "character 1: found 'and', expected a column"),
        ("title = 'open", 'character 9: found "\'", expected a value.*; a quote is not closed'),
        ('title = "Moby"', "character 9: found '\"Moby\"', expected a value"),
        ("year in 3", "character 9: found '3', expected '[(]'"),
        ("year in ()", "character 10: found '[)]', expected a value"),
        ("year is 3", "character 9: found '3', expected 'null'"),
        ("year not 3", "expected in or contains"),
        ("year = 3; drop table", "character 9: found ';'"),
        (
            "fiction and jear = 3",
            "character 13: there is no column 'jear'; did you mean year[?] known are id, title",
        ),
        ("year = '2016'", "character 1: year holds numbers, but '2016' is text"),
        ("title = 3", "title holds text, but 3 is a number"),
        ("title > true", "title holds text, but true is true or false"),
        ("year", "year holds numbers, not true or false"),
        ("fiction > true", "cannot be compared with >"),
        ("subjects = 'Sea'", "subjects is a list of text; use subjects contains 'Sea'"),
        ("subjects contains 3", "holds text, but 3 is a number"),
        ("year contains 3", "contains is for text and lists"),
        ("day > '2016'", "day holds days, but '2016' is none; write '2016-05-01'"),
        ("year = 1e999", "too large"),
        ("year = " + "9" * 350, "too large"),
        ("year = " + "9" * 5000, "expected a value"),
        ("title = '\ud800'", "half a character"),
        ("(" * 33 + "fiction" + ")" * 33, "nested deeper than 32"),
        ("not " * 33 + "fiction", "nested deeper than 32"),
        ("(" * 100_000, "nested deeper than 32"),
        (" or ".join(["fiction"] * 257), "256 may be"),
        ("year in (" + ",".join(["1"] * 10_001) + ")", "10000 values may be"),
        ("", "found the end, expected a column"),
        ({}, "at the top: found .*, expected column, and, or, or not"),
        ({"and": []}, "and: found .*, expected a list of one or more"),
        ({"and": [{"column": "year", "op": "~", "value": 1}]}, r"and\[0\].op: found '~', expected =, !=, <"),
        (
            {"and": [{"column": "year", "op": "=", "value": None}]},
            r"and\[0\].value: found None, expected text",
        ),
        ({"column": "year", "op": "=", "value": math.nan}, "value: the number is too large"),
        ({"column": "year", "op": "=", "value": "x"}, "year holds numbers"),
        ({"column": 3}, "column: found 3, expected the name of a column"),
        ({"column": "year", "op": "is null", "value": 1}, "expected no value with is null"),
        ({"column": "year", "op": "in", "value": 1}, "expected a list"),
        ({"column": "year", "of": 1}, "found .*of.*, expected column, op and value"),
        ([1], "at the top: found"),
    ],
)
def test_errors_say_where_and_what(expression: Any, says: str) -> None:
    with pytest.raises(QueryError, match=says) as error:
        where.parse(expression, SCHEMA)
    assert len(str(error.value)) < 400


def test_depth_is_allowed_up_to_its_limit() -> None:
    assert found("(" * 32 + "fiction" + ")" * 32) == "ad"
    assert found("not (" * 32 + "fiction" + ")" * 32) == "ad"
    deep: Any = {"column": "fiction"}
    for at in range(32):
        deep = {"and" if at % 2 else "or": [deep, {"column": "year", "op": "=", "value": at}]}
    tree = where.parse(deep, SCHEMA)
    assert where.parse(where.to_text(tree), SCHEMA) == tree
    with pytest.raises(QueryError, match="deeper"):
        where.parse({"not": deep}, SCHEMA)


NUMBERS = st.integers(-(10**25), 10**25) | st.floats(-1e30, 1e30, allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = st.one_of(
    st.builds(
        lambda column, op, value: {"column": column, "op": op, "value": value},
        st.sampled_from(["year", "pages", "price", "odd name"]),
        st.sampled_from(where.ORDER),
        NUMBERS,
    ),
    st.builds(lambda value: {"column": "title", "op": "contains", "value": value}, TEXTS),
    st.builds(lambda value: {"column": "title", "op": "<", "value": value}, TEXTS),
    st.builds(
        lambda values: {"column": "year", "op": "in", "value": values},
        st.lists(NUMBERS, min_size=1, max_size=4),
    ),
    st.builds(
        lambda values: {"column": "subjects", "op": "in", "value": values},
        st.lists(TEXTS, min_size=1, max_size=4),
    ),
    st.builds(lambda value: {"column": "ratings", "op": "contains", "value": value}, NUMBERS),
    st.builds(
        lambda name, op: {"column": name, "op": op},
        st.sampled_from(SCHEMA.names),
        st.sampled_from(["is null", "is not null"]),
    ),
    st.just({"column": "fiction"}),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda parts: {"and": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"or": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(TREES)
def test_printing_and_parsing_again_is_the_same_tree(given_json: Any) -> None:
    tree = where.parse(given_json, SCHEMA)
    text = where.to_text(tree)
    again = where.parse(text, SCHEMA)
    assert again == tree
    assert where.to_text(again) == text
    np.testing.assert_array_equal(where.evaluate(tree, TABLE.column), where.evaluate(again, TABLE.column))


@settings(deadline=None)
@given(TREES)
def test_what_passes_and_what_passes_the_contrary_never_overlap(given_json: Any) -> None:
    yes = where.evaluate(where.parse(given_json, SCHEMA), TABLE.column)
    no = where.evaluate(where.parse({"not": given_json}, SCHEMA), TABLE.column)
    assert not (yes & no).any()


@settings(deadline=None)
@given(st.sampled_from(["year", "pages", "price", "odd name"]), st.sampled_from(where.ORDER), NUMBERS)
def test_numbers_compare_as_in_python(column: str, op: str, value: float) -> None:
    python = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}[op]
    expected = ""
    for row in ROWS:
        if (own := row[column]) is not None:
            answer = getattr(own, python)(value)
            answer = getattr(float(own), python)(float(value)) if answer is NotImplemented else answer
            expected += row["id"] if answer else ""
    assert found({"column": column, "op": op, "value": value}) == expected


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters() | st.sampled_from("()'\"=<>, "), max_size=60))
def test_any_text_parses_or_is_a_query_error(text: str) -> None:
    with contextlib.suppress(QueryError):
        where.parse(text, SCHEMA)


@settings(deadline=None, max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["and", "or", "not", "column", "op", "value", "year"]), inner, max_size=3
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_parses_or_is_a_query_error(given_json: Any) -> None:
    if isinstance(given_json, str):
        return
    with contextlib.suppress(QueryError):
        where.parse(given_json, SCHEMA)


def test_columns_of_names_each_once() -> None:
    tree = where.parse("fiction and (year > 3 or not year < 2) and title is null", SCHEMA)
    assert where.columns_of(tree) == ["fiction", "year", "title"]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_compare_whatever_their_zone(zone: str | None) -> None:
    moments = pa.chunked_array([pa.array([0, 10**9], pa.timestamp("s")).cast(pa.timestamp("ms", zone))])
    schema = pa.schema([("at", moments.type)])
    for text, passes in (
        ("2001-09-09T01:46:40", True),
        ("2001-09-09T03:46:40+02:00", True),
        ("2001-09-10", False),
    ):
        tree = where.parse(f"at >= '{text}'", schema)
        assert where.evaluate(tree, lambda _: moments).tolist() == [False, passes]


@pytest.mark.parametrize(
    "make",
    [
        lambda values: pa.array(values).dictionary_encode(),
        lambda values: pa.array(values, pa.large_string()),
    ],
)
def test_other_ways_to_hold_text(make: Any) -> None:
    column = pa.chunked_array([make(["sea", "Whale", None])])
    schema = pa.schema([("word", column.type)])
    for expression, passes in (
        ("word = 'sea'", [1, 0, 0]),
        ("word contains 'WHA'", [0, 1, 0]),
        ("word in ('sea')", [1, 0, 0]),
    ):
        assert where.evaluate(where.parse(expression, schema), lambda _: column).tolist() == passes


def test_what_holds_no_values_may_only_be_asked_for_null() -> None:
    column = pa.chunked_array([pa.array([{"a": 1}, None])])
    schema = pa.schema([("thing", column.type)])
    assert where.evaluate(where.parse("thing is null", schema), lambda _: column).tolist() == [False, True]
    with pytest.raises(QueryError, match="cannot be compared"):
        where.parse("thing = 3", schema)
    with pytest.raises(QueryError, match="counted"):
        where.facets(column)


def test_no_rows() -> None:
    empty = SCHEMA.empty_table()
    for expression in ("year > 3", "subjects contains 'x'", "fiction or title is null"):
        assert where.evaluate(where.parse(expression, SCHEMA), empty.column).tolist() == []
    assert where.facets(empty.column("subjects")) == []


def test_facets_count_values_and_values_of_lists() -> None:
    assert where.facets(TABLE.column("subjects")) == [("Sea", 2), ("Whales", 1), ("whales", 1)]
    assert where.facets(TABLE.column("subjects"), limit=1) == [("Sea", 2)]
    assert where.facets(TABLE.column("subjects"), np.array([True, False, True, False])) == [
        ("Sea", 1),
        ("Whales", 1),
    ]
    assert where.facets(TABLE.column("fiction")) == [(True, 2), (False, 1)]
    assert where.facets(TABLE.column("year"), limit=2) == [(1851, 1), (1978, 1)]
    assert where.facets(TABLE.column("year"), np.zeros(4, bool)) == []
    assert where.facets(TABLE.column("year"), limit=0) == []
