from __future__ import annotations

import datetime
import json
import pickle
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling.errors import ConfigError, SourceError
from sources.pipeline import build, load, write


def table(tmp_path, content, name="t.csv", **options):
    write(tmp_path / name, content)
    return load("table", {"path": name, **options}, tmp_path)


def documents(tmp_path, *args, **options):
    built = build(table(tmp_path, *args, **options), Path(tempfile.mkdtemp(dir=tmp_path)))
    assert built.adds_up()
    return list(built.documents.values())


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'key,name,n\nA,"x, y",1\nB,z,2\n'),
        ("t.csv", '\ufeffkey,name,n\r\nA,"x, y",1\r\nB,z,2'),
        ("t.tsv", "key\tname\tn\nA\tx, y\t1\nB\tz\t2\n"),
        ("t.jsonl", '{"key":"A","name":"x, y","n":1}\n{"n":2,"key":"B","name":"z"}'),
        ("t.parquet", ""),
    ],
)
def test_the_same_table_in_every_format(tmp_path, name, content, packed):
    octets = content.encode()
    if name == "t.parquet":
        pq.write_table(pa.table({"key": ["A", "B"], "name": ["x, y", "z"], "n": [1, 2]}), tmp_path / "x")
        octets = (tmp_path / "x").read_bytes()
    source = table(tmp_path, octets, name + packed, id="key")
    assert [(field.name, str(field.type)) for field in source.columns] == [
        ("id", "string"),
        ("key", "string"),
        ("name", "string"),
        ("n", "int64"),
    ]
    assert build(source, tmp_path / "work").documents == {
        "A": {"id": "A", "key": "A", "name": "x, y", "n": 1},
        "B": {"id": "B", "key": "B", "name": "z", "n": 2},
    }


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        (["1", "-2", "+3"], "int64", [1, -2, 3]),
        (["1", "2.5", "1e3"], "double", [1.0, 2.5, 1000.0]),
        (["1", "", "NA"], "int64", [1, None, None]),
        (["true", "FALSE"], "bool", [True, False]),
        (["1", "x"], "string", ["1", "x"]),
        (["007", "12"], "string", ["007", "12"]),
        (["1", "true"], "string", ["1", "true"]),
        (["2020-01-02", "2021-01-02"], "string", ["2020-01-02", "2021-01-02"]),
        (["NA", "NA"], "string", ["NA", "NA"]),
        (["99999999999999999999", "1"], "double", [1e20, 1.0]),
        (["", ""], "string", [None, None]),
        (['"a ""b"""', '"two\nlines"'], "string", ['a "b"', "two\nlines"]),
    ],
)
def test_types_are_told_by_all_values(tmp_path, values, kind, found):
    source = table(tmp_path, "k,v\n" + "".join(f"{n},{v}\n" for n, v in enumerate(values)), id="k")
    assert str(source.columns.field("v").type) == kind
    built = build(source, tmp_path / "work")
    assert [built.documents[str(n)]["v"] for n in range(len(values))] == found


def test_a_late_value_widens_the_type_in_all_files_and_blocks(tmp_path, monkeypatch):
    from findling.sources import delimited

    monkeypatch.setattr(delimited, "BLOCK_BYTES", 512)
    write(tmp_path / "a.csv", "k,v\n" + "".join(f"a{n},{n}\n" for n in range(1000)) + "z,late\n")
    write(tmp_path / "b.csv", "v,extra,k\n5,x,b0\n")
    write(tmp_path / "c.csv", "")
    source = load("table", {"path": "*.csv", "id": "k"}, tmp_path)
    built = build(source, tmp_path / "work")
    assert len(built.documents) == 1002
    assert built.documents["a7"]["v"] == "7"
    assert built.documents["b0"] == {"id": "b0", "k": "b0", "v": "5", "extra": "x"}


def test_nested_values_of_jsonl(tmp_path):
    rows = [
        {"k": "a", "tags": ["x", None], "deep": {"n": [1]}, "mixed": 1, "n": 1, "ok": True},
        {"k": "b", "tags": [], "deep": [1, 2], "mixed": "two", "n": 1.5},
        {"k": 3, "tags": None, "mixed": [1], "late": 2**70},
    ]
    content = "\n".join(json.dumps(row) for row in rows)
    found = {d["id"]: d for d in documents(tmp_path, content, "t.jsonl", id="k")}
    assert found["a"]["tags"] == ["x", None]
    assert [found[k]["deep"] for k in "ab3"] == ['{"n":[1]}', "[1,2]", None]
    assert [found[k]["mixed"] for k in "ab3"] == ["1", "two", "[1]"]
    assert [found[k]["n"] for k in "ab3"] == [1.0, 1.5, None]
    assert found["3"]["late"] == str(2**70)


def test_rows_that_are_none_are_told(tmp_path):
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    content = '{"a":1}\n\n[1]\n{"a":\n"x"\n{"a":2}\n{"a":"\\ud83d"}\n' + deep
    built = build(table(tmp_path, content, "t.jsonl"), tmp_path / "work")
    assert dict(built.dropped) == {"an empty line": 1, "not a JSON object": 2, "not JSON": 2}
    assert ("not JSON", '{"a":') in built.failures
    assert built.adds_up()
    built = build(table(tmp_path, "a,b\n1,2\nonly\n1,2,3\n4,5\n"), tmp_path / "again")
    assert dict(built.dropped) == {"not a row": 2}
    assert ("not a row", "1,2,3") in built.failures
    assert built.adds_up()


def test_parquet_types(tmp_path):
    columns = pa.table(
        {
            "s": pa.array(["a", "b"]).dictionary_encode(),
            "l": pa.array([["x"], None], pa.large_list(pa.large_string())),
            "d": pa.array([datetime.date(2020, 1, 2), None]),
            "n": pa.array([1, 2], pa.int8()),
            "f": pa.array([1.5, None], pa.float32()),
            "struct": pa.array([{"q": 1}, None]),
            "bytes": pa.array([b"\x00", None]),
            "none": pa.nulls(2),
        }
    )
    pq.write_table(columns, tmp_path / "t.parquet")
    source = load("table", {"path": "t.parquet", "id": "s"}, tmp_path)
    row = build(source, tmp_path / "work").documents["a"]
    assert row == {
        "id": "a",
        "s": "a",
        "l": ["x"],
        "d": "2020-01-02",
        "n": 1,
        "f": 1.5,
        "struct": '{"q":1}',
        "bytes": "AA==",
        "none": None,
    }


def test_ids(tmp_path):
    plain = "name,n\nx,1\ny,2\n"
    by_content = documents(tmp_path, plain)
    assert [len(row["id"]) for row in by_content] == [16, 16]
    assert [row["id"] for row in documents(tmp_path, "n,name\n1,x\n2,y\n")] == [r["id"] for r in by_content]
    own = "id,name\n1,x\n2,y\n"
    assert [row["id"] for row in documents(tmp_path, own)] == ["1", "2"]
    assert documents(tmp_path, own, id="name")[0] == {"id": "x", "id_": 1, "name": "x"}


def test_rows_without_an_id_are_told(tmp_path):
    built = build(table(tmp_path, "k,n\na,1\n,2\n  ,3\n", id="k"), tmp_path / "work")
    assert dict(built.dropped) == {"no id": 2}
    assert built.adds_up()


def test_names_of_columns_are_made_distinct(tmp_path):
    (row,) = documents(tmp_path, "a,,a, b \n1,2,3,4\n")
    assert list(row) == ["id", "a", "column_2", "a_2", "b"]


@pytest.mark.parametrize(
    ("value", "found"),
    [('"Heroes"', '"Heroes"'), ('"""W"" Al"', '"W" Al'), ('5" disk', '5" disk'), ('"a', '"a')],
)
def test_quotes_in_tsv_are_text_unless_a_writer_put_them(tmp_path, value, found):
    (row,) = documents(tmp_path, f"k\tv\n1\t{value}\n", "t.tsv")
    assert row["v"] == found
    (row,) = documents(tmp_path, '"k"\t"v"\n1\t"a\tb"\n', "t.tsv")
    assert row["v"] == "a\tb"


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"path": "none.csv"}, SourceError, "there is no"),
        ({"path": "."}, SourceError, "is a directory"),
        ({"path": "empty.csv"}, SourceError, "holds no columns"),
        ({"path": "t.xlsx"}, SourceError, r"format of .*t\.xlsx is unknown"),
        ({"path": "bad.parquet"}, SourceError, r"bad\.parquet is no Parquet file"),
        ({"path": "cut.csv.gz"}, SourceError, r"cut\.csv\.gz"),
        ({"path": "t.csv", "id": "nope"}, ConfigError, "columns are a, _count"),
        ({"path": "t.csv"}, SourceError, "'_count' is reserved"),
        ({"path": "t.csv", "key": "a"}, ConfigError, "unknown key 'source.key'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, options, error, told):
    write(tmp_path / "empty.csv", "")
    write(tmp_path / "t.xlsx", "x")
    write(tmp_path / "bad.parquet", "x")
    write(tmp_path / "t.csv", "a,_count\n1,2\n")
    cut = write(tmp_path / "cut.csv.gz", "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(999)))
    cut.write_bytes(cut.read_bytes()[:-99])
    if "id" in options:
        told = "reserved|columns are"
        error = (ConfigError, SourceError)
    with pytest.raises(error, match=told):
        _ = load("table", options, tmp_path).columns


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_a_header_alone_is_an_empty_collection(tmp_path, name):
    if name == "t.parquet":
        pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / name)
        source = load("table", {"path": name}, tmp_path)
    else:
        source = table(tmp_path, "a\n", name)
    built = build(source, tmp_path / "work", "a = 'x'")
    assert (built.read, built.documents) == (0, {})
    assert source.columns.names == ["id", "a"]


def test_the_types_travel_with_the_source(tmp_path):
    source = table(tmp_path, "a,b\n1,x\n")
    columns = source.columns
    write(tmp_path / "t.csv", "other\n")
    assert pickle.loads(pickle.dumps(source)).columns == columns  # noqa: S301 - our own


values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False)
    | st.text()
    | st.lists(st.text())
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), values), min_size=1, max_size=6))
def test_any_jsonl_is_read_whole(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table")
    if not any(rows):
        return
    content = "\n".join(json.dumps(row) for row in rows)
    built = build(table(path, content, "t.jsonl"), path / "work")
    assert built.read == built.rows == len(rows)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(blacklist_categories=("Cs",))), min_size=2, max_size=2), max_size=6
    )
)
def test_any_csv_keeps_its_texts(tmp_path_factory, rows):
    import csv
    import io

    path = tmp_path_factory.mktemp("table")
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["k", "v"], *([f"k{a}", f"v{b}"] for a, b in rows)])
    built = build(table(path, out.getvalue().encode()), path / "work")
    assert built.read == built.rows == len(rows)
    assert {(d["k"], d["v"]) for d in built.documents.values()} == {(f"k{a}", f"v{b}") for a, b in rows}
