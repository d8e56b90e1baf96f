from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling import schema, steps
from findling.encoders.hashing import Hashing
from findling.engines.local import Local
from findling.filters import Where
from findling.schema import Drop
from findling.steps import EmbedStep, FilterStep, SelectStep, TextStep, chain, content_hash, texts_of


def batch_of(**columns: list[object]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_a_text_is_its_columns_that_have_something() -> None:
    batch = batch_of(
        title=[" Moby-Dick ", "", None, "Emma"],
        subjects=[["whales", "", None, "sea"], [], None, ["love"]],
        year=[1851, None, None, 1815],
    )
    assert texts_of(batch, ["title", "subjects", "year"]) == [
        "Moby-Dick. whales, sea. 1851",
        "",
        "",
        "Emma. love. 1815",
    ]


def test_nested_and_typed_values_read_as_text() -> None:
    import datetime

    batch = batch_of(
        made=[{"by": "Anna", "in": {"year": 1890}}], day=[datetime.date(1890, 5, 1)], good=[True], price=[1.5]
    )
    assert texts_of(batch, ["made", "day", "good", "price"]) == ["Anna, 1890. 1890-05-01. True. 1.5"]


def test_texts_carry_their_hash_and_empty_ones_go() -> None:
    run = TextStep(("title",)).open()
    found = run(batch_of(title=["Emma", "", None, "  ", "Emma", "Möbius 💥"])).to_pydict()
    assert found["text"] == ["Emma", "Emma", "Möbius 💥"]
    assert found["hash"] == [content_hash("Emma"), content_hash("Emma"), content_hash("Möbius 💥")]
    assert {len(each) for each in found["hash"]} == {16}


def test_a_content_hash_is_the_same_for_ever() -> None:
    assert content_hash("Moby-Dick").hex() == "a9d58ff4278aa0b3d8ca49c4b5fd17b0"
    assert content_hash("half a pair: \ud800") != content_hash("half a pair: ?")


def test_vectors_come_with_their_hashes(tmp_path: Path) -> None:
    texts = TextStep(("title",)).open()(batch_of(title=["Emma", "Persuasion", "Emma"]))
    found = EmbedStep("hashing", {"dim": 32}, tmp_path).open()(texts)
    assert found.schema.names == steps.EMBEDDED
    assert found.schema.field("vector").type == pa.list_(pa.float32())  # what Spark can carry
    assert found.column("hash") == texts.column("hash")
    wanted = Hashing(32).embed_texts(["Emma", "Persuasion", "Emma"])
    assert np.array_equal(np.array(found.column("vector").to_pylist(), np.float32), wanted)


def test_embedding_nothing_gives_nothing(tmp_path: Path) -> None:
    texts = TextStep(("title",)).open()(batch_of(title=[""]))
    assert EmbedStep("hashing", {}, tmp_path).open()(texts).num_rows == 0


def test_a_model_is_loaded_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def counted(name: str, options: dict[str, object], cache: Path) -> Hashing:
        loads.append(name)
        return Hashing()

    monkeypatch.setattr("findling.steps.open_encoder", counted)
    engine = Local(tmp_path, workers=1)
    title = pa.table({"title": [f"book {place}" for place in range(500)]})
    import pyarrow.parquet as pq

    (tmp_path / "in").mkdir()
    pq.write_table(title, tmp_path / "in" / "part.parquet", row_group_size=50)
    from findling.engines.base import Shards

    texts = engine.run(Shards(str(tmp_path / "in")), [TextStep(("title",))], str(tmp_path / "texts"))
    assert len(texts.names()) > 4
    made = engine.run(texts, [EmbedStep("hashing", {}, tmp_path)], str(tmp_path / "out"))
    assert made.count() == 500
    assert len(made.names()) > 4
    assert loads == ["hashing"]


@pytest.mark.parametrize(
    "step",
    [
        FilterStep(Where.parse("year > 3")),
        SelectStep(("id",)),
        TextStep(("title",)),
        EmbedStep("hashing", {"dim": 32}, Path("/models")),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_step_travels(step: steps.Step) -> None:
    assert pickle.loads(pickle.dumps(step)) == step  # noqa: S301 - its own


def test_a_chain_carries_what_earlier_steps_dropped() -> None:
    run = chain(
        [FilterStep(Where.parse("year > 3")), FilterStep(Where.parse("year < 9")), SelectStep(("id",))]
    )
    kept, drops = schema.without_drops(run(batch_of(id=["a", "b", "c"], year=[1, 5, 10])))
    assert kept.to_pydict() == {"id": ["b"]}
    assert drops == [Drop("where: year > 3"), Drop("where: year < 9")]


DROPS = st.lists(
    st.builds(Drop, st.sampled_from(["bad", "worse"]), st.integers(1, 9), st.none() | st.text(max_size=5)),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.integers(0, 9), max_size=5), DROPS)
def test_what_is_dropped_travels_beside_what_is_kept(values: list[int | None], drops: list[Drop]) -> None:
    batch = pa.record_batch({"n": pa.array(values, pa.int64())})
    kept, told = schema.without_drops(schema.with_drops(batch, drops))
    assert kept.to_pydict() == {"n": values}
    assert told == drops


def test_columns_that_do_not_fit_are_named() -> None:
    wanted = pa.schema([("id", pa.string()), ("year", pa.int64()), ("title", pa.string())])
    with pytest.raises(Exception, match=r"at the writer .* year: string instead of int64, title: missing"):
        schema.check(batch_of(id=["a"], year=["x"]), wanted, "the writer")
    whole = batch_of(more=[1], title=["t"], year=[1], id=["a"])
    assert schema.check(whole, wanted, "the writer").schema.names == wanted.names
