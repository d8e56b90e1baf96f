"""What every source keeps to, whatever it reads: one parameter each."""

from __future__ import annotations

import functools
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from findling import registry, schema
from findling.errors import ConfigError
from findling.filters import Where
from findling.sources.base import DOCUMENTS
from sources.pipeline import Built, build, line, load, write


class Case(NamedTuple):
    """A small input with something broken in it, how many documents it gives, and a filter some pass.

    `detail` is what failures/ says of the broken one, "" where it is only counted.
    """

    kind: str
    prepare: Callable[[Path], dict[str, Any]]
    documents: int
    where: str
    detail: str = "broken"
    needs: tuple[str, ...] = ()


def openlibrary(home: Path) -> dict[str, Any]:
    books = [
        {
            "title": f"T{n}",
            "publish_date": str(2000 + n),
            "works": [{"key": f"/works/OL{n % 3}W"}],
            "authors": [{"key": f"/authors/OL{n % 2}A"}, {"key": "/authors/OL9A"}],
        }
        for n in range(9)
    ]
    write(home / "e.txt", "".join(line(f"OL{n}M", b) for n, b in enumerate(books)) + "broken\n")
    write(
        home / "w.txt", "".join(line(f"OL{n}W", {"subjects": ["S"]}, "work") for n in range(3)) + "broken\n"
    )
    write(home / "a.txt.gz", "".join(line(f"OL{n}A", {"name": f"N{n}"}, "author") for n in range(2)))
    return {"editions": "e.txt", "works": "w.txt", "authors": "a.txt.gz"}


def editions(home: Path) -> dict[str, Any]:
    return {"editions": openlibrary(home)["editions"]}


def wikipedia(home: Path) -> dict[str, Any]:
    rows = [f"en\tWord after word after {word}\t{n}" for n, word in enumerate(["one", "ONE", "two", "three"])]
    write(home / "t.tsv", "language\ttitle\tviews\n" + "\n".join(rows) + "\nbroken\n")
    return {"path": "t.tsv"}


def csv(home: Path) -> dict[str, Any]:
    write(home / "t.csv", "name,year\n" + "".join(f"n{n},{2000 + n}\n" for n in range(9)) + "broken\n")
    return {"path": "t.csv"}


def jsonl(home: Path) -> dict[str, Any]:
    rows = [json.dumps({"key": n, "year": 2000 + n, "tags": ["x"]}) for n in range(9)]
    write(home / "t.jsonl.gz", "\n".join(rows) + "\nbroken\n")
    return {"path": "t.jsonl.gz", "id": "key"}


def images(home: Path) -> dict[str, Any]:
    for name in [*(f"cats/{n}.jpg" for n in range(9)), "broken.tif"]:
        (home / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "photos" / name).touch()
    return {"path": "photos"}


def archive(home: Path) -> dict[str, Any]:
    with zipfile.ZipFile(home / "p.zip", "w") as packed:
        for n in range(9):
            packed.writestr(f"{n}.jpg", b"")
            packed.writestr(f"{n}.json", json.dumps({"year": 2000 + n}))
        packed.writestr("broken.tif", b"")
    return {"path": "p.zip"}


def pictured(home: Path) -> dict[str, Any]:
    return {"table": csv(home)["path"], "image": "name"}


def bigquery(home: Path) -> dict[str, Any]:
    del home
    return {**bigquery_host().options, "table": "d.pages", "id": "name"}


@functools.cache
def bigquery_host() -> Any:
    from clouds.bigquery_host import BigQueryHost

    names = pa.array([*(f"n{n}" for n in range(9)), None])
    return BigQueryHost({"pages": pa.table({"name": names, "year": list(range(2000, 2010))})})


@pytest.fixture(scope="module", autouse=True)
def closed_hosts() -> Iterator[None]:
    yield
    if bigquery_host.cache_info().currsize:
        bigquery_host().close()


CASES = {
    "openlibrary": Case("openlibrary", openlibrary, 9, "year >= 2005"),
    "openlibrary, editions alone": Case("openlibrary", editions, 9, "year >= 2005"),
    "wikipedia": Case("wikipedia", wikipedia, 1, "views >= 3 and title like '%three'"),
    "csv": Case("table", csv, 9, "year >= 2005"),
    "jsonl": Case("table", jsonl, 9, "year >= 2005"),
    "a folder of pictures": Case("images", images, 9, "title like 'cats 5%' or id like '%6.jpg'"),
    "an archive of pictures": Case("images", archive, 9, "year >= 2005"),
    "a table of pictures": Case("images", pictured, 9, "year >= 2005"),
    "bigquery": Case(
        "bigquery",
        bigquery,
        9,
        "year >= 2005",
        "",
        ("google.cloud.bigquery", "google.cloud.bigquery_storage_v1"),
    ),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    for module in request.param.needs:
        pytest.importorskip(module, reason=f"needs {module}: the extra gcp")
    return request.param


@pytest.fixture
def source(case, tmp_path):
    return load(case.kind, case.prepare(tmp_path), tmp_path)


def test_every_registered_source_is_held_to_this():
    assert {case.kind for case in CASES.values()} == set(registry.names("source"))


def test_documents_have_the_declared_columns_and_distinct_ids(case, source, tmp_path):
    built = build(source, tmp_path / "work")
    assert len(built.documents) == built.rows == case.documents
    assert source.columns.field("id").type == pa.string()
    for name, document in built.documents.items():
        assert name
        assert list(document) == source.columns.names


def test_what_is_read_is_kept_or_told(case, source, tmp_path):
    built = build(source, tmp_path / "work")
    assert built.adds_up()
    assert built.dropped.total() > 0
    assert not case.detail or any(case.detail in detail for _, detail in built.failures)
    filtered = build(source, tmp_path / "filtered", case.where)
    assert filtered.read == built.read
    assert filtered.adds_up()
    assert 0 < len(filtered.documents) <= len(built.documents)


def test_filtering_early_keeps_what_filtering_late_keeps(case, source, tmp_path):
    whole = build(source, tmp_path / "whole")
    filtered = build(source, tmp_path / "filtered", case.where)
    rows = pa.RecordBatch.from_pylist(list(whole.documents.values()), schema=source.columns)
    kept, _ = Where.parse(case.where).apply(rows)
    assert {row["id"]: row for row in kept.to_pylist()} == filtered.documents


def test_a_second_run_is_the_same_run(source, tmp_path):
    first, second = (build(source, tmp_path / name) for name in ("first", "second"))
    assert first == second


def test_more_workers_change_nothing(source, tmp_path):
    one, two = (build(source, tmp_path / str(n), workers=n) for n in (1, 2))
    assert isinstance(one, Built)
    assert (one.documents, one.dropped, one.read) == (two.documents, two.dropped, two.read)


def test_a_source_travels_to_workers(source):
    columns = source.columns
    again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    assert again.splits() == source.splits()
    assert again.columns == columns


def test_splits_are_named_distinctly_and_as_files(source):
    names = [split.name for split in source.splits()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+-\d{5}", name) for name in names)
    assert DOCUMENTS not in {split.table for split in source.splits()}


def test_every_split_gives_a_batch_and_every_batch_is_parsed(source):
    for split in source.splits():
        batches = list(source.read(split))
        assert batches
        for batch in [*batches, batches[0].slice(0, 0)]:
            parsed, drops = schema.without_drops(source.parser(split.table, Where())(batch))
            assert parsed.schema.names
            assert all(drop.count > 0 and drop.reason for drop in drops)


def test_early_columns_are_columns(source):
    assert source.early() <= set(source.columns.names)


def test_an_unknown_option_is_named(case, tmp_path):
    options = {**case.prepare(tmp_path), "colour": "red"}
    with pytest.raises(ConfigError, match=r"unknown key 'source\.colour'"):
        load(case.kind, options, tmp_path)
