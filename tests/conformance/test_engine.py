"""What every engine must do alike: run steps, group and join, exactly as plain Python would."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import Numbers
from clusters import ENGINES, workers_find_tests
from findling import registry, schema
from findling.engines.base import Engine, Shards
from findling.filters import Where
from findling.progress import Silent
from findling.schema import Drop
from findling.steps import FilterStep, SelectStep, TextStep, content_hash

__all__ = ["workers_find_tests"]  # a fixture

KEYS = st.sampled_from(["", "a", "b", "ä", "B", "a\0", "💥"])
SMALL = settings(max_examples=8, deadline=None)


def test_every_engine_is_tested() -> None:
    tested = {each if isinstance(each, str) else each.values[0] for each in ENGINES}
    assert tested == set(registry.names("engine"))


def open_engine(name: str, path: Path) -> Engine:
    found: Engine = registry.load("engine", name).from_options({}, str(path / "work"), Silent())
    return found


def shards(path: Path, table: pa.Table) -> Shards:
    path.mkdir(parents=True)
    half = len(table) // 2
    for place, part in enumerate([table.slice(0, half), table.slice(half)]):
        pq.write_table(part, path / f"part-{place}.parquet", row_group_size=3)
    return Shards(str(path))


def rows(dataset: Shards) -> list[dict[str, Any]]:
    found = [row for batch in dataset.batches() for row in batch.to_pylist()]
    return sorted(found, key=repr)


@pytest.mark.parametrize("name", ENGINES)
def test_steps_run_over_every_row_once(name: str, tmp_path: Path) -> None:
    engine = open_engine(name, tmp_path)
    steps = [FilterStep(Where.parse("n % 3 <> 0 and n < 50")), SelectStep(("n",))]
    out = engine.run(Numbers(5, 3), steps, str(tmp_path / "out"), "numbers")
    assert [row["n"] for row in rows(out)] == sorted(
        (n for n in range(50) if n % 3), key=lambda n: repr({"n": n})
    )
    counts: defaultdict[str, int] = defaultdict(int)
    for drop in out.drops():
        counts[drop.reason] += drop.count
    assert dict(counts) == {"where: n % 3 <> 0": 20, "where: n < 50": 7}
    before = sorted(out.names())
    assert sorted(engine.run(Numbers(5, 3), steps, str(tmp_path / "out")).names()) == before


@pytest.mark.parametrize("name", ENGINES)
def test_an_empty_dataset_keeps_its_columns(name: str, tmp_path: Path) -> None:
    engine = open_engine(name, tmp_path)
    nothing = shards(tmp_path / "in", pa.table({"title": pa.array([], pa.string())}))
    texts = engine.run(nothing, [TextStep(("title",))], str(tmp_path / "out"))
    distinct = engine.group(texts, ["hash"], {"text": ("min", "text")})
    assert distinct.count() == 0
    assert engine.join(distinct, texts, on=("hash", "hash"), how="anti").count() == 0


@pytest.mark.parametrize("name", ENGINES)
@SMALL
@given(table=st.lists(st.tuples(KEYS, st.none() | st.integers(-9, 9)), max_size=12))
def test_groups(
    name: str, table: list[tuple[str, int | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("group")
    columns = {
        "k": pa.array([k for k, _ in table], pa.string()),
        "n": pa.array([n for _, n in table], pa.int64()),
    }
    columns["_order"] = pa.array(range(len(table), 0, -1), pa.int64())
    aggregates = {
        "sum": ("sum", "n"), "low": ("min", "n"), "high": ("max", "n"), "many": ("count", "n"),
        "first": ("first", "n"), "all": ("list", "n"),
    }  # fmt: skip
    found = open_engine(name, here).group(shards(here / "in", pa.table(columns)), ["k"], aggregates)
    groups: defaultdict[str, list[int | None]] = defaultdict(list)
    for key, number in reversed(table):
        groups[key].append(number)
    wanted = []
    for key, numbers in groups.items():
        there = [n for n in numbers if n is not None]
        lowest, highest = (min(there), max(there)) if there else (None, None)
        wanted.append(
            {
                "k": key,
                "sum": sum(there) if there else None,
                "low": lowest,
                "high": highest,
                "many": len(there),
                "first": numbers[0],
                "all": numbers,
            }
        )
    assert rows(found) == sorted(wanted, key=repr)


@pytest.mark.parametrize("name", ENGINES)
def test_of_rows_that_tie_one_is_taken_whole(name: str, tmp_path: Path) -> None:
    columns = {
        "k": ["x", "x", "x", "y", "y"],
        "a": [2, 1, None, None, None],
        "b": [["p"], ["q"], ["a"], None, ["r", "s"]],
        "_order": [1, 1, 1, 0, 0],
    }
    dataset = shards(tmp_path / "in", pa.table(columns))
    aggregates = {"a": ("first", "a"), "b": ("first", "b"), "all": ("list", "a")}
    found = open_engine(name, tmp_path).group(dataset, ["k"], aggregates)
    assert rows(found) == [
        {"k": "x", "a": 1, "b": ["q"], "all": [1, 2, None]},
        {"k": "y", "a": None, "b": ["r", "s"], "all": [None, None]},
    ]


@pytest.mark.parametrize("name", ENGINES)
@SMALL
@given(
    lefts=st.lists(st.none() | KEYS, max_size=8), rights=st.lists(st.none() | KEYS, max_size=5, unique=True)
)
def test_joins(
    name: str, lefts: list[str | None], rights: list[str | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("join")
    left = pa.table({"k": pa.array(lefts, pa.string()), "n": pa.array(range(len(lefts)), pa.int64())})
    right = pa.table({"key": pa.array(rights, pa.string()), "more": pa.array(range(len(rights)), pa.int64())})
    engine = open_engine(name, here)
    one, other = shards(here / "left", left), shards(here / "right", right)
    place = {key: n for n, key in enumerate(rights) if key is not None}
    joined = [{"k": k, "n": n, "more": place.get(k) if k is not None else None} for n, k in enumerate(lefts)]
    assert rows(engine.join(one, other, on=("k", "key"))) == sorted(joined, key=repr)
    alone = [{"k": k, "n": n} for n, k in enumerate(lefts) if k is None or k not in place]
    assert rows(engine.join(one, other, on=("k", "key"), how="anti")) == sorted(alone, key=repr)


@pytest.mark.parametrize("name", ENGINES)
def test_odd_column_names_are_names(name: str, tmp_path: Path) -> None:
    engine = open_engine(name, tmp_path)
    odd = 'a "quoted", (name)'
    dataset = shards(tmp_path / "in", pa.table({odd: ["x", "x", "y"], "n": [1, 2, 3]}))
    grouped = engine.group(dataset, [odd], {"the sum": ("sum", "n")})
    assert rows(grouped) == [{odd: "x", "the sum": 3}, {odd: "y", "the sum": 3}]
    joined = engine.join(dataset, grouped, on=(odd, odd))
    assert [row["the sum"] for row in rows(joined)] == [3, 3, 3]


@pytest.mark.parametrize("name", ENGINES)
def test_the_texts_of_a_document_are_the_same_everywhere(name: str, tmp_path: Path) -> None:
    titles = ["Möbius 💥", "", None, "a\0b", "x" * 1_000_000]
    dataset = shards(tmp_path / "in", pa.table({"title": pa.array(titles, pa.string())}))
    out = open_engine(name, tmp_path).run(dataset, [TextStep(("title",))], str(tmp_path / "out"))
    wanted = [{"hash": content_hash(title), "text": title} for title in titles if title]
    assert rows(out) == sorted(wanted, key=repr)


def test_drops_travel_as_ordinary_rows() -> None:
    batch = schema.with_drops(pa.record_batch({"n": [1, 2]}), [Drop("bad", 3, "why")])
    assert batch.num_rows == 3
    assert schema.without_drops(batch)[1] == [Drop("bad", 3, "why")]
