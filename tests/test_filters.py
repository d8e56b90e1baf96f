from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling.errors import ConfigError
from findling.filters import Bound, Where

SCHEMA = pa.schema(
    [
        ("title", pa.string()),
        ("pages", pa.int64()),
        ("price", pa.float64()),
        ("fiction", pa.bool_()),
        ("subjects", pa.list_(pa.string())),
        ("Order", pa.string()),
        ("day", pa.date32()),
    ]
)
CONDITIONS = [
    "title = 'a'",
    "title like '%b%'",
    "title is null",
    "pages > 1",
    "pages between 0 and 2",
    "not (pages = 1 or title = 'b')",
    "price < 0.5",
    "fiction",
    "not fiction",
    "(pages > 1 or fiction)",
    "list_contains(subjects, 'x')",
    "len(list_filter(subjects, lambda s: s <> 'x')) > 0",
    "coalesce(pages, 9) > 1",
    "\"Order\" in ('a', 'c')",
    "null",
    "true",
]
DATABASE = duckdb.connect()
row = st.fixed_dictionaries(
    {
        "title": st.sampled_from([None, "", "a", "b", "ab", "o'b", "a\0b", "💥"]),
        "pages": st.none() | st.integers(-1, 3),
        "price": st.none() | st.sampled_from([-1.0, 0.0, 0.5, float("inf"), float("nan")]),
        "fiction": st.none() | st.booleans(),
        "subjects": st.none() | st.lists(st.sampled_from(["x", "y", ""]), max_size=3),
        "Order": st.none() | st.sampled_from(["a", "b", "c"]),
        "day": st.none() | st.dates(),
    }
)


def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def counts(where: Where, batch: pa.RecordBatch) -> tuple[list[dict[str, Any]], int]:
    kept, drops = where.apply(batch)
    assert all(drop.count > 0 for drop in drops)
    return kept.drop_columns(["price"]).to_pylist(), sum(drop.count for drop in drops)


@settings(max_examples=40, deadline=None)
@given(st.lists(row, max_size=12), st.lists(st.sampled_from(CONDITIONS), max_size=4), st.data())
def test_what_is_kept_and_what_is_dropped_add_up(
    rows: list[dict[str, Any]], conditions: list[str], data: st.DataObject
) -> None:
    batch = batch_of(rows)
    where = Where.parse(" and ".join(conditions))
    where.check(SCHEMA)
    kept, dropped = counts(where, batch)
    assert len(kept) + dropped == len(rows)

    rows_alone = pa.table(batch.append_column("place", pa.array(range(len(rows)), pa.int64())))
    told = " AND ".join(f"({condition})" for condition in conditions) or "true"
    with DATABASE.cursor() as database:
        database.register("rows_alone", rows_alone)
        passed = database.execute(f"SELECT place FROM rows_alone WHERE {told} ORDER BY place").fetchall()  # noqa: S608
    wanted = batch.take(pa.array([place for (place,) in passed], pa.int64())).drop_columns(["price"])
    assert kept == wanted.to_pylist()

    # Deciding some parts early, on their columns alone, changes nothing of what is kept.
    known = data.draw(st.sets(st.sampled_from(SCHEMA.names)))
    early = where.over(known)
    first, drops = early.apply(batch)
    second, later = counts(where.without(early), first)
    assert second == kept
    assert sum(drop.count for drop in drops) + later == dropped


def test_a_row_is_counted_under_the_first_part_that_it_fails() -> None:
    where = Where.parse("pages > 1 and title = 'a' and fiction")
    rows = [
        {"title": "a", "pages": 5, "fiction": True},
        {"title": "b", "pages": 0, "fiction": False},
        {"title": "b", "pages": 5, "fiction": False},
        {"title": "a", "pages": None, "fiction": True},
        {"title": "a", "pages": 5, "fiction": None},
    ]
    kept, drops = where.apply(batch_of(rows))
    assert kept.num_rows == 1
    assert {drop.reason: drop.count for drop in drops} == {
        "where: pages > 1": 2,
        "where: title = 'a'": 1,
        "where: fiction": 1,
    }
    assert all(drop.detail is None for drop in drops)


@pytest.mark.parametrize(
    "sql",
    [
        "PAGES > 1",
        "order = 'a'",
        "\"ORDER\" = 'a'",
        "pages > 100 -- a remark",
        "/* a remark */ pages > 1",
        "title = 'o''brien'",
        "title = 'it''s -- no remark'",
        "title[1:3] = 'abc'",
        "pages::varchar = '3'",
        "try_cast(title as int) > 3",
        "day >= date '2020-01-01'",
        "day + interval 1 day > '2020-01-01'",
        "title similar to 'a.*'",
        "title ~ 'a.*'",
        "title ilike '%A\\_B' escape '\\'",
        "title is not distinct from 'a'",
        "'x' = any(subjects)",
        "subjects[1] = 'x'",
        "len([s for s in subjects if s = 'x']) > 0",
        "case when fiction then pages > 3 else true end",
        "pages // 2 > 1",
        "1",
    ],
)
def test_sql_as_people_write_it(sql: str) -> None:
    where = Where.parse(sql)
    where.check(SCHEMA)
    sample = {"title": "abc", "pages": 200, "price": 1.0, "fiction": True, "subjects": ["x"], "Order": "a"}
    kept, dropped = counts(where, batch_of([sample, dict.fromkeys(SCHEMA.names)]))
    assert len(kept) + dropped == 2


def test_a_guard_keeps_its_place_before_what_it_guards() -> None:
    where = Where.parse("regexp_matches(title, '^[0-9]+$') and cast(title as int) > 3")
    kept, drops = where.apply(batch_of([{"title": "x"}, {"title": "5"}, {"title": "2"}]))
    assert kept.column("title").to_pylist() == ["5"]
    assert [drop.count for drop in drops] == [1, 1]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("pages >", "cannot be read at '>'"),
        ("pages > 1 and", "cannot be read"),
        ("'a", "cannot be read"),
        ("(((", "cannot be read"),
        ("select 1", "cannot be read"),
        ("pages > 1; drop table batch", "cannot be read at 'drop'"),
        ("pages > 1 limit 3", "cannot be read at 'limit'"),
        ("title = 'a' order by title", "cannot be read at 'order by'"),
        ("pages in (select 1)", "may not hold"),
        ("exists (select 1)", "may not hold"),
        ("(select true)", "may not hold"),
        ("row_number() over () > 1", "may not hold"),
        ("count(pages) > 1", "may not hold 'COUNT(pages)'"),
        ("sum(pages) > 3", "may not hold"),
        ("unnest(subjects) = 'a'", "may not hold"),
        ("*", "may not hold"),
        ("pages > ?", "may not hold"),
        ("pages > $1", "may not hold"),
        ("read_text('/etc/hostname') = 'x'", "cannot be evaluated"),
        ("getenv('HOME') = 'x'", "cannot be evaluated"),
        ("nosuch(title)", "cannot be evaluated"),
        ("list_contains(pages, 1)", "cannot be evaluated"),
        ("page > 1", "names the column 'page', which the source does not have; columns are title, pages"),
        ("title.year > 3", "cannot be evaluated"),
        ("batch.title = 'a'", "names the column 'batch'"),
        ("(" * 300 + "true" + ")" * 300, "nested too deeply"),
    ],
)
def test_what_cannot_be_a_filter_is_refused(sql: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Where.parse(sql).check(SCHEMA)
    message = str(caught.value)
    assert "filter.where" in message
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("sql", ["title", "cast(title as int) > 1", "regexp_matches(title, '(')"])
def test_what_fails_on_the_data_says_so(sql: str) -> None:
    with pytest.raises(ConfigError, match=r"filter\.where cannot be evaluated: .*columns are title"):
        Where.parse(sql).apply(batch_of([{"title": "abc"}]))


def test_a_filter_with_more_answers_than_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("findling.filters._FORBIDDEN", ())
    with pytest.raises(ConfigError, match="one answer for each row"):
        Where.parse("sum(pages) > 3").apply(batch_of([{"pages": 1}, {"pages": 2}]))


def test_a_thousand_parts() -> None:
    where = Where.parse(" and ".join(f"pages <> {number}" for number in range(1000)))
    assert len(where.parts) == 1000
    assert where.apply(batch_of([{"pages": 5000}, {"pages": 999}]))[0].num_rows == 1


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("pages > 100", Bound("pages", ">", 100)),
        ("100 <= Pages", Bound("pages", ">=", 100)),
        ("title = 'eng'", Bound("title", "=", "eng")),
        ("pages <> 1", None),
        ("pages > price", None),
        ("title.pages > 1", None),
        ("pages + 1 > 2", None),
        ("not pages > 1", None),
    ],
)
def test_bounds_that_a_source_may_use(sql: str, bound: Bound | None) -> None:
    (part,) = Where.parse(sql).parts
    assert part.bound == bound


def test_an_empty_filter_keeps_everything() -> None:
    batch = batch_of([{"pages": 1}])
    assert Where.parse("  ").apply(batch) == (batch, [])


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-3, 3), st.none() | st.sampled_from(["a", "b"]), st.none() | st.booleans()
        ),
        max_size=12,
    ),
    st.lists(
        st.sampled_from(
            ["number > 0", "number <= 1", "2 >= number", "number = 0", "number = 99999999999", "text = 'a'",
             "flag", '"Flag"', "NUMBER > -2"]
        ),
        min_size=1,
        max_size=4,
    ),
)  # fmt: skip
def test_what_arrow_tells_alone_is_what_duckdb_tells(rows: list[tuple[Any, ...]], parts: list[str]) -> None:
    numbers, texts, flags = zip(*rows, strict=True) if rows else ((), (), ())
    batch = pa.record_batch(
        {
            "number": pa.array(numbers, pa.int32()),
            "text": pa.array(texts, pa.string()),
            "Flag": pa.array(flags, pa.bool_()),
        }
    )
    plain, asked = (
        Where.parse(" and ".join(parts)),
        Where.parse(" and ".join(f"({p}) is true" for p in parts)),
    )
    kept, drops = plain.apply(batch)
    same, others = asked.apply(batch)
    assert kept == same
    assert [drop.count for drop in drops] == [drop.count for drop in others]
