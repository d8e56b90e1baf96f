from __future__ import annotations

import datetime
import decimal
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import built, collection, some_rows, tree, write_rows
from findling import build, config, snapshot, storage
from findling.catalog import Catalog
from findling.cli import run
from findling.errors import ConfigError, FindlingError, NotFound, SnapshotError, SourceError
from findling.progress import Silent
from findling.stores.arrow import ArrowStore

ROWS = some_rows(40)


def catalog_of(file: Path) -> Catalog:
    return Catalog.of(config.load(file, environ={}))


def documents(file: Path) -> list[dict[str, Any]]:
    store = ArrowStore.open(snapshot.SnapshotPaths(catalog_of(file).local()).documents)
    return [json.loads(each) for each in store.get_many(range(len(store)))]


def found(file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The ids of the hits of a search."""
    capsys.readouterr()
    assert run(["search", *words, "-c", str(file), "--json"]) == 0
    return [hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]]


def adds_up(report: build.Report) -> bool:
    records = report.records
    return bool(records["read"] == records["kept"] + sum(records["dropped"].values()))


def test_a_build_tells_what_it_did(tmp_path: Path) -> None:
    report = built(collection(tmp_path, ROWS, where="year >= 2000"))
    assert report.records == {"read": 40, "kept": 20, "dropped": {"where: year >= 2000": 20}}
    assert report.embedded == {"text": {"new": 20, "reused": 0, "failed": 0}}
    assert report.index["text"].keys() == {"kind", "params", "bytes", "seconds", "recall_at_10"}
    assert report.index["text"]["kind"] == "flat"
    assert report.index["text"]["recall_at_10"] == 1.0
    assert {"extract", "embed", "index", "publish"} <= report.seconds.keys()
    assert report.published
    manifest = snapshot.verify(catalog_of(tmp_path / config.FILE).local())
    assert (manifest.id, manifest.documents, manifest.records) == (report.snapshot, 20, report.records)


def test_the_command_prints_its_report_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "-c", str(collection(tmp_path, ROWS)), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    wanted = {"collection", "snapshot", "records", "embedded", "index", "seconds", "published"}
    assert report.keys() == wanted
    assert report["records"] == {"read": 40, "kept": 40, "dropped": {}}


class Heard(Silent):
    """Progress that notes every step and line."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def task(self, name: str, total: int | None, unit: str) -> Any:
        self.heard.append(name)
        return super().task(name, total, unit)

    def say(self, line: str) -> None:
        self.heard.append(line)


def test_a_second_build_does_nothing_and_finds_the_same(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS, where="year >= 2000")
    first = built(file)
    before = tree(tmp_path)
    heard = Heard()
    again = built(file, progress=heard)
    assert again.snapshot == first.snapshot
    assert again.records == first.records
    assert again.embedded == {"text": {"new": 0, "reused": 20, "failed": 0}}
    assert again.published
    assert tree(tmp_path) == before
    assert heard.heard == [
        "the source has not changed: its documents are used again",
        f"nothing changed: {first.snapshot} holds exactly this",
    ]


def test_rows_in_another_order_are_the_same_snapshot(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    first = built(file)
    write_rows(tmp_path / "rows.jsonl", ROWS[::-1])
    again = built(file)
    assert again.snapshot == first.snapshot
    assert again.embedded["text"] == {"new": 0, "reused": 40, "failed": 0}


def test_one_changed_title_embeds_one_text(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    first = built(file)
    write_rows(tmp_path / "rows.jsonl", [{**ROWS[0], "title": "another title"}, *ROWS[1:]])
    second = built(file)
    assert second.embedded["text"] == {"new": 1, "reused": 39, "failed": 0}
    assert str(second.snapshot) > str(first.snapshot)
    assert catalog_of(file).current() == second.snapshot
    assert documents(file)[0]["title"] == "another title"
    write_rows(tmp_path / "rows.jsonl", ROWS)
    third = built(file)
    assert third.embedded["text"] == {"new": 0, "reused": 40, "failed": 0}
    assert third.snapshot == first.snapshot, "back to what was there"
    assert catalog_of(file).current() == first.snapshot


def test_a_changed_column_embeds_nothing(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    first = built(file)
    write_rows(tmp_path / "rows.jsonl", [{**ROWS[0], "year": 1800}, *ROWS[1:]])
    second = built(file)
    assert second.embedded["text"]["new"] == 0
    assert second.snapshot != first.snapshot


def test_a_changed_encoder_embeds_everything_and_the_old_vectors_stay(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    first = built(file)
    text = file.read_text()
    file.write_text(text.replace('encoder = "hashing"', 'encoder = "hashing"\ndim = 32'))
    second = built(file)
    assert second.embedded["text"] == {"new": 40, "reused": 0, "failed": 0}
    assert second.snapshot != first.snapshot
    file.write_text(text)
    back = built(file)
    assert back.embedded["text"] == {"new": 0, "reused": 40, "failed": 0}
    assert back.snapshot == first.snapshot


def test_a_changed_input_embeds_new_texts_even_after_half_a_build(tmp_path: Path) -> None:
    """The columns kept are the same, so the work directory is: it must not take old texts for new ones."""
    more = "weights = { title = 2.0 }\n"
    file = collection(tmp_path, ROWS, more=more)
    built(file, only=["extract", "embed"])
    file.write_text(file.read_text().replace('input = ["title", "body"]', 'input = ["body", "title"]', 1))
    report = built(file)
    assert report.embedded["text"] == {"new": 40, "reused": 0, "failed": 0}


def test_equal_texts_are_embedded_once(tmp_path: Path) -> None:
    rows = [{"id": f"{place}", "title": "the same", "body": "words", "year": 2000} for place in range(9)]
    report = built(collection(tmp_path, rows))
    assert report.embedded["text"] == {"new": 1, "reused": 0, "failed": 0}
    assert report.index["text"]["recall_at_10"] >= 0.95
    assert len(documents(tmp_path / config.FILE)) == 9


def test_stages_run_one_by_one(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    with pytest.raises(ConfigError, match="nothing has been extracted"):
        built(file, only=["embed"])
    assert built(file, only=["extract"]).records["kept"] == 40
    with pytest.raises(SnapshotError, match=r"40 documents have a text for 'text' but no vector yet"):
        built(file, only=["index"])
    with pytest.raises(NotFound, match="has no snapshot"):
        built(file, only=["publish"])
    assert built(file, only=["embed"]).embedded["text"]["new"] == 40
    indexed = built(file, only=["index"])
    assert (indexed.published, catalog_of(file).current()) == (False, None)
    published = built(file, only=["publish"])
    assert published.snapshot == indexed.snapshot == catalog_of(file).current()
    assert built(file).snapshot == indexed.snapshot


def test_a_snapshot_that_lacks_vectors_is_not_taken_for_whole(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    whole = built(file)
    parts = sorted((tmp_path / "data" / "books" / "embeddings").rglob("*.parquet"))
    parts[0].unlink()
    with pytest.raises(SnapshotError, match="no vector yet"):
        built(file, only=["index"])
    again = built(file)
    assert again.embedded["text"]["new"] > 0
    assert again.snapshot == whole.snapshot


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS, where="year >= 2000")
    report = built(file, limit=15)
    assert report.records == {"read": 15, "kept": 5, "dropped": {"where: year >= 2000": 10}}
    assert built(file, limit=15).snapshot == report.snapshot
    assert built(file).records["read"] == 40


def test_nothing_kept_is_told_and_the_live_snapshot_stays(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    live = built(file).snapshot
    file.write_text(file.read_text().replace('where = ""', 'where = "year > 3000"'))
    with pytest.raises(SourceError, match=r"no document was kept of 40 records.*where: year > 3000"):
        built(file)
    assert catalog_of(file).current() == live


def test_texts_that_are_all_empty_are_told(tmp_path: Path) -> None:
    rows = [{"id": f"{place}", "title": " ", "body": None, "year": 2000} for place in range(5)]
    with pytest.raises(
        SnapshotError, match=r"no document has anything to embed for 'text'; check vectors\.text"
    ):
        built(collection(tmp_path, rows))
    assert catalog_of(tmp_path / config.FILE).ids() == []


def test_a_document_without_text_is_found_by_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "note": ""} for row in ROWS] + [
        {"id": "bare", "title": "", "body": "", "note": "zanzibar", "year": 1}
    ]
    file = collection(tmp_path, rows)
    file.write_text(
        file.read_text().replace('input = ["title", "body"]\n', 'input = ["title", "body", "note"]\n')
    )
    text = file.read_text()
    vectors = text.index("[vectors.text]")
    file.write_text(text[:vectors] + text[vectors:].replace(', "note"', "", 1))
    report = built(file)
    assert report.records["kept"] == 41
    assert report.embedded["text"]["new"] == 40
    assert found(file, capsys, "zanzibar", "--mode", "lexical") == ["bare"]
    assert "bare" in found(file, capsys, "zanzibar")


@pytest.mark.parametrize("share", [3, 50])
def test_recall_is_measured_on_documents_that_have_a_text(tmp_path: Path, share: int) -> None:
    rows = [
        row if place % share == 1 else {**row, "title": "", "body": ""}
        for place, row in enumerate(some_rows(1000))
    ]
    report = built(collection(tmp_path, rows))
    manifest = catalog_of(tmp_path / config.FILE).manifest(str(report.snapshot))
    assert manifest.fields["text"].queries.startswith("20 ")


def test_an_id_that_is_there_twice_is_counted(tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[3], "year": 1700}, {**ROWS[3], "year": None}]
    report = built(collection(tmp_path, rows))
    assert report.records == {"read": 42, "kept": 40, "dropped": {"duplicate id": 2}}
    assert adds_up(report)
    again = collection(tmp_path / "again", rows[::-1])
    assert built(again).records == report.records
    assert documents(again) == documents(tmp_path / config.FILE), "whichever came first"


MESS = [
    {"id": "nul", "title": "a\0b zebra", "body": "\0", "year": 1},
    {"id": "emoji", "title": "🐋 👩🏽‍🚀 yak", "body": "🏴‍☠️", "year": 2},
    {"id": "rtl", "title": "\u202eהלוויתן הלבן الحوت", "body": "مرحبا", "year": 3},
    {"id": "combining", "title": "Z̸̢͇a̶l̴g̵o e\u0301clair", "body": "\ufeff\u200b\u2028", "year": 4},
    {"id": "long", "title": "whale " * 170_000 + "unicorn", "body": "", "year": 5},
    {"id": "\u0001odd/id ü", "title": "odd quokka", "body": "", "year": 6},
    {"id": "markup", "title": "<script>alert(1)</script> ibex", "body": "\\ \" ' `", "year": 7},
]


def test_a_unicode_mess_comes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = collection(tmp_path, MESS)
    lone = '{"id": "lone", "title": "half \\ud83d a pair, gnu", "body": "\\udc00", "year": 8}\n'
    with (tmp_path / "rows.jsonl").open("a") as rows:
        rows.write(lone)
    with (tmp_path / "rows.jsonl").open("ab") as rows:
        rows.write(b'{"id": "latin", "title": "caf\xe9", "year": 9}\n{"id": \n\n[1]\nnull\n')
    report = built(file)
    assert adds_up(report)
    assert report.records["kept"] >= 8
    kept = {document["id"]: document for document in documents(file)}
    for row in MESS:
        assert kept[row["id"]]["title"] == row["title"]
    assert "a pair, gnu" in kept["lone"]["title"]
    for word, wanted in (
        ("zebra", "nul"), ("yak", "emoji"), ("הלבן", "rtl"), ("éclair", "combining"),
        ("quokka", "\u0001odd/id ü"), ("ibex", "markup"), ("gnu", "lone"), ("unicorn", "long"),
    ):  # fmt: skip
        assert wanted in found(file, capsys, word, "--mode", "lexical"), word
    failures = (tmp_path / "data" / "books" / "failures" / "extract.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in failures]
    assert {each["step"] for each in told} == {"extract"}
    assert any(each["record"].startswith('{"id":') for each in told)
    assert sum(report.records["dropped"].values()) >= len(told) > 0


def test_failures_are_those_of_the_last_build(tmp_path: Path) -> None:
    file = collection(tmp_path, ["no object", *ROWS])
    assert built(file).records["dropped"] == {"not a JSON object": 1}
    kept = tmp_path / "data" / "books" / "failures" / "extract.jsonl"
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [
        {"step": "extract", "reason": "not a JSON object", "record": '"no object"'}
    ]
    write_rows(tmp_path / "rows.jsonl", ROWS)
    built(file)
    assert kept.read_text() == ""


def parquet(base: Path, table: pa.Table, document: str, more: str = "") -> Path:
    base.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, base / "rows.parquet")
    file = base / config.FILE
    file.write_text(
        f'collection = "typed"\n[source]\nkind = "table"\npath = "rows.parquet"\n[document]\n{document}\n'
        f'[vectors.text]\nencoder = "hashing"\ninput = ["title"]\n{more}'
    )
    return file


def test_typed_columns_keep_their_meaning(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([7, 8], pa.int32()),
            "title": pa.array(["one", "two"], pa.large_string()),
            "tags": pa.array([["a", None, "b"], None], pa.list_(pa.string())),
            "nested": pa.array([{"x": 1, "y": ["z"]}, None]),
            "day": pa.array([datetime.date(1999, 12, 31), None]),
            "moment": pa.array([1_000_123_000, None], pa.timestamp("ns", tz="Europe/Berlin")),
            "price": pa.array([decimal.Decimal("12.50"), None]),
            "good": pa.array([True, False]),
            "kind": pa.array(["p", "q"]).dictionary_encode(),
            "vector": pa.array([[1e-9, 1.0], None], pa.list_(pa.float32())),
            "hash": pa.array([b"\x00\xff", None]),
            "ratio": pa.array([float("nan"), 0.5]),
        }
    )  # fmt: skip
    names = [name for name in table.column_names if name != "title"]
    file = parquet(tmp_path, table, f'title = "title"\nkeep = {json.dumps(names)}\nfacets = ["kind", "tags"]')
    assert built(file).records == {"read": 2, "kept": 2, "dropped": {}}
    one, two = documents(file)
    assert two == {"id": "8", "title": "two", "good": False, "kind": "q", "ratio": 0.5}
    assert one["id"] == "7"
    assert one["tags"] == ["a", None, "b"]
    assert one["day"] == "1999-12-31"
    assert one["moment"].startswith("1970-01-01T01:00:01")
    assert one["price"] == 12.5
    assert one["good"] is True
    assert json.loads(one["nested"]) == {"x": 1, "y": ["z"]}
    assert json.loads(one["vector"]) == [pytest.approx(1e-9), 1.0]
    assert one["ratio"] is None
    store = ArrowStore.open(snapshot.SnapshotPaths(catalog_of(file).local()).documents)
    assert store.schema.field("good").type == pa.bool_()
    assert store.schema.field("tags").type == pa.list_(pa.string())
    assert store.schema.field("price").type == pa.float64()


def test_the_id_may_be_named_among_what_is_kept(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    file.write_text(
        file.read_text().replace('keep = ["title", "year"]', 'keep = ["id", "title", "year", "id"]')
    )
    built(file)
    assert documents(file)[0] == {"id": "row-00000", "title": ROWS[0]["title"], "year": 1990}


@pytest.mark.parametrize("name", ["_reason", "_count", "_json"])
def test_a_column_with_a_bookkeeping_name_is_refused(tmp_path: Path, name: str) -> None:
    file = collection(tmp_path, [{**row, name: "x"} for row in ROWS])
    with pytest.raises(FindlingError, match=f"the column name '{name}' is reserved"):
        built(file)
    assert not (tmp_path / "data").exists()


def test_a_column_that_documents_cannot_carry_is_refused(tmp_path: Path) -> None:
    file = collection(tmp_path, [{**row, "_mine": "x"} for row in ROWS])
    file.write_text(file.read_text().replace('keep = ["title", "year"]', 'keep = ["title", "_mine"]'))
    with pytest.raises(ConfigError, match=r"'_mine'.*begin with an underscore"):
        built(file)
    file.write_text(file.read_text().replace(', "_mine"', ""))
    assert built(file).published


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"hashing"', '"hashign"'), "unknown encoder 'hashign'; did you mean 'hashing'"),
        (("[lexical]", "[lexical]\nlanguage = 'xx'"), "unknown language 'xx'"),
        (("[lexical]", "[index]\nkind = 'exakt'\n[lexical]"), "unknown index 'exakt'; did you mean 'exact'"),
        (('"title", "year"', '"title", "yaer"'), "names the column 'yaer', which the source does not have"),
        (('kind = "table"', 'kind = "tabel"'), "unknown source 'tabel'; did you mean 'table'"),
        (('encoder = "hashing"', 'encoder = "hashing"\ndim = 7'), "dim is 7"),
        (('encoder = "hashing"', 'encoder = "hashing"\ndmi = 8'), "dmi"),
    ],
)
def test_wrong_names_are_told_before_anything_is_written(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    file = collection(tmp_path, ROWS)
    file.write_text(file.read_text().replace(*change, 1))
    with pytest.raises(ConfigError) as caught:
        built(file)
    assert told in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_an_unknown_engine_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown engine 'lokal'; did you mean 'local'"):
        built(collection(tmp_path, ROWS), engine="lokal")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_home_may_be_a_path_or_a_url(tmp_path: Path, prefix: str) -> None:
    home = f"{prefix}{tmp_path}/elsewhere/deep"
    file = collection(tmp_path / "here", ROWS, home=home)
    assert built(file).published
    assert (tmp_path / "elsewhere" / "deep" / "books" / "CURRENT").is_file()
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["findling.toml", "rows.jsonl"]


def test_a_small_collection_lives_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = collection(tmp_path / "here", ROWS, home=f"memory://{tmp_path.name}")
    first = built(file)
    assert first.published
    assert built(file).embedded["text"] == {"new": 0, "reused": 40, "failed": 0}
    assert storage.read_bytes(f"memory://{tmp_path.name}/books/CURRENT").decode().strip() == first.snapshot


def test_what_builds_leave_in_the_home_is_bounded(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    built(file)
    write_rows(tmp_path / "rows.jsonl", some_rows(41))
    built(file)
    work = tmp_path / "data" / "books" / "work"
    (current,) = [path for path in work.iterdir() if path.is_dir()]
    assert [path.name for path in current.iterdir() if path.is_dir()] == ["documents"]
    assert not list(tmp_path.rglob("*.tmp"))
    before = {name for name in tree(tmp_path) if "CURRENT" not in name}
    built(file)
    assert {name for name in tree(tmp_path) if "CURRENT" not in name} == before


def test_a_lost_work_directory_costs_no_vector(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    first = built(file)
    shutil.rmtree(tmp_path / "data" / "books" / "work")
    again = built(file)
    assert again.embedded["text"] == {"new": 0, "reused": 40, "failed": 0}
    assert again.snapshot == first.snapshot


EDITION = '/type/edition\t/books/OL1M\t1\t2020-01-01T00:00:00\t{"key": "/books/OL1M", "title": "Emma"}\n'
SOURCES: list[tuple[str, str, dict[str, str]]] = [
    ("wikipedia", 'path = "a.txt"\nmin_words = 2', {"a.txt": "page_title\nA_b_c\nShort\nThe_white_whale\n"}),
    ("openlibrary", 'editions = "a.txt"', {"a.txt": f"{EDITION}broken line\n"}),
    (
        "table",
        'path = "*.csv"',
        {"a.csv": "title,year\nEmma,1815\n", "b.csv": "title,year\nPersuasion,1817\n,\n"},
    ),
    ("table", 'path = "a.tsv"', {"a.tsv": "title\tyear\nEmma\t1815\ntoo\tmany\tcells\n"}),
]


@pytest.mark.parametrize(("kind", "options", "files"), SOURCES)
def test_counts_add_up_for_every_source(
    tmp_path: Path, kind: str, options: str, files: dict[str, str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    file = tmp_path / config.FILE
    file.write_text(
        f'collection = "any"\n[source]\nkind = "{kind}"\n{options}\n[document]\ntitle = "title"\n'
        '[vectors.text]\nencoder = "hashing"\ninput = ["title"]\n[lexical]\ninput = ["title"]\n'
    )
    report = built(file)
    assert report.records["kept"] > 0
    assert adds_up(report), report.records
    assert built(file).snapshot == report.snapshot
