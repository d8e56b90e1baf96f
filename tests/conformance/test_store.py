"""Every store, the same documents, the same expectations."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from findling import registry
from findling.errors import FindlingError, SnapshotError
from findling.stores import arrow

COUNT = 40_000


@pytest.fixture(params=["arrow", "datastore"], scope="module")
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "arrow":
        yield registry.load("store", request.param)
        return
    pytest.importorskip("google.cloud.datastore", reason="needs google: the extra gcp")
    from clouds.datastore_host import DatastoreHost

    host = DatastoreHost()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATASTORE_EMULATOR_HOST", host.address)
        yield Given(registry.load("store", request.param), {"project": "conformance"})
    host.close()


@dataclass
class Given:
    """A store with its options."""

    kind: Any
    options: dict[str, str]

    def write(self, documents: Any, path: Path) -> int:
        return int(self.kind.write(documents, path, self.options))

    def open(self, path: Path) -> Any:
        return self.kind.open(path, self.options)


def documents(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"OL{at:07d}M",
            "title": f"Title {at} — “für” 鯨 {'x' * (at % 50)}",
            "year": 1900 + at % 120 if at % 7 else None,
            "subjects": ["whales", f"s{at % 9}"] if at % 3 else [],
            "fiction": at % 2 == 0,
            "score": at / 4 if at % 5 else None,
        }
        for at in range(count)
    ]


def batches(rows: list[dict[str, Any]], size: int) -> list[pa.RecordBatch]:
    schema = pa.schema(
        [
            ("title", pa.string()),
            ("id", pa.string()),
            ("year", pa.int32()),
            ("subjects", pa.list_(pa.string())),
            ("fiction", pa.bool_()),
            ("score", pa.float64()),
        ]
    )
    return [pa.RecordBatch.from_pylist(rows[at : at + size], schema) for at in range(0, len(rows), size)]


ROWS = documents(COUNT)


def as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@pytest.fixture(scope="module")
def opened(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("store") / "documents.arrow"
    assert store.write(iter(batches(ROWS, 777)), path) == COUNT
    return store.open(path)


def test_documents_come_back_as_json_in_the_order_asked(opened: Any) -> None:
    rows = [5, 0, COUNT - 1, 5, 16_383, 16_384, 32_768]
    assert [json.loads(found) for found in opened.get_many(rows)] == [as_json(ROWS[row]) for row in rows]
    assert opened.get_many(np.array(rows)) == opened.get_many(rows)
    assert opened.get_many([]) == []
    assert len(opened) == COUNT


def test_ids_and_rows_lead_to_one_another(opened: Any) -> None:
    rows = [*range(0, COUNT, 997), COUNT - 1]
    ids = opened.ids(rows)
    assert ids == [ROWS[row]["id"] for row in rows]
    assert [opened.row_of(found) for found in ids] == rows


@pytest.mark.parametrize("absent", ["", "A", "OL0000000", "OL0000000M ", "OL9999999M", "z", "鯨", "\ud800"])
def test_an_id_that_is_not_there_has_no_row(opened: Any, absent: str) -> None:
    assert opened.row_of(absent) is None


@pytest.mark.parametrize("row", [-1, COUNT, 10**12])
def test_a_row_that_is_not_there_is_an_error(opened: Any, row: int) -> None:
    with pytest.raises(IndexError):
        opened.get_many([0, row])
    with pytest.raises(IndexError):
        opened.ids([row])


def test_columns_serve_filters_and_facets(opened: Any) -> None:
    assert opened.column("year").to_pylist() == [row["year"] for row in ROWS]
    assert opened.column("subjects").to_pylist() == [row["subjects"] for row in ROWS]
    assert opened.schema.names == ["id", "title", "year", "subjects", "fiction", "score"]
    with pytest.raises(KeyError):
        opened.column("_json")
    with pytest.raises(KeyError):
        opened.column("nothing")


def test_threads_may_read_at_once(opened: Any) -> None:
    def read(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, COUNT, 50).tolist()
        found = [json.loads(document)["id"] for document in opened.get_many(rows)]
        return found == [ROWS[row]["id"] for row in rows] and opened.row_of(found[0]) == rows[0]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


def test_ids_ascend_by_their_bytes_whatever_their_language(store: Any, tmp_path: Path) -> None:
    ids = sorted(["a", "Z", "é", "鯨", "😀", "ﬀ", "a\x00", "a b"], key=str.encode)
    batch = pa.record_batch([pa.array(ids)], names=["id"])
    store.write([batch], tmp_path / "d")
    opened = store.open(tmp_path / "d")
    assert [opened.row_of(found) for found in ids] == list(range(len(ids)))
    assert [json.loads(found)["id"] for found in opened.get_many(range(len(ids)))] == ids


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (["a", "c", "b"], "'b' .row 2. comes after 'c'"),
        (["a", "a"], "twice"),
        (["a", None], "row 1 has no id"),
    ],
)
def test_ids_that_do_not_ascend_are_refused(store: Any, tmp_path: Path, ids: Any, says: str) -> None:
    with pytest.raises(FindlingError, match=says):
        store.write([pa.record_batch([pa.array(ids, pa.string())], names=["id"])], tmp_path / "d")


def test_no_id_column_is_refused(store: Any, tmp_path: Path) -> None:
    with pytest.raises(FindlingError, match="need a column 'id'"):
        store.write([pa.record_batch([pa.array(["x"])], names=["title"])], tmp_path / "d")


def test_no_documents(store: Any, tmp_path: Path) -> None:
    assert store.write([], tmp_path / "d") == 0
    opened = store.open(tmp_path / "d")
    assert len(opened) == 0
    assert opened.row_of("a") is None
    assert opened.get_many([]) == []
    batch = batches(ROWS[:1], 1)[0].slice(0, 0)
    assert store.write([batch], tmp_path / "e") == 0
    assert len(store.open(tmp_path / "e")) == 0


def test_every_kind_of_column_becomes_json(store: Any, tmp_path: Path) -> None:
    columns = {
        "id": pa.array(["a"]),
        "_reason": pa.array(["bookkeeping"]),
        "day": pa.array([datetime.date(2016, 5, 1)]),
        "kind": pa.array(["x"]).dictionary_encode(),
        "nan": pa.array([float("nan")]),
        "people": pa.array([[{"name": "Ann", "role": None}]]),
    }
    store.write([pa.record_batch(list(columns.values()), names=list(columns))], tmp_path / "d")
    found = json.loads(store.open(tmp_path / "d").get_many([0])[0])
    people = [{"name": "Ann", "role": None}]
    assert found == {"id": "a", "day": "2016-05-01", "kind": "x", "nan": None, "people": people}


def test_the_same_documents_give_the_same_bytes_however_they_are_cut(store: Any, tmp_path: Path) -> None:
    store.write(batches(ROWS[:20_000], 333), tmp_path / "a")
    store.write(batches(ROWS[:20_000], 20_000), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_store_is_refused(store: Any, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be opened"):
        store.open(tmp_path / "absent")
    (tmp_path / "d").write_bytes(b"nothing of the kind")
    with pytest.raises(SnapshotError, match="cannot be opened"):
        store.open(tmp_path / "d")


def test_batches_of_another_size_are_refused(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("_json", pa.large_binary())])
    with pa.OSFile(str(tmp_path / "d"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for name in ("a", "b"):
            writer.write_batch(
                pa.record_batch([pa.array([name]), pa.array([b"{}"], pa.large_binary())], schema)
            )
    with pytest.raises(SnapshotError, match="other than"):
        arrow.ArrowStore.open(tmp_path / "d")
