"""A collection whose vectors are in Milvus Lite alone: built, published, gone back to, pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
from batch import built
from findling import config, registry
from findling.catalog import Catalog
from findling.errors import ConfigError, SnapshotError, StorageError
from findling.records import Query, Term
from findling.searcher import Searcher
from needs import skip_without

CONFIG = small.CONFIG + '[index]\nkind = "milvus"\nparams = { uri = "milvus.db" }\n'


@pytest.fixture(autouse=True)
def _there() -> None:
    skip_without("pymilvus", "milvus_lite")


def client_of(home: Path) -> Any:
    from pymilvus import MilvusClient

    return MilvusClient(str(home / "milvus.db"))


def opened(catalog: Catalog) -> Searcher:
    settings = config.load(Path(catalog.home).parent / "findling.toml", environ={})
    return Searcher.open(catalog.local(), settings.rank)


def test_a_snapshot_without_vectors_answers_as_one_with_them(tmp_path: Path) -> None:
    answers = []
    for kind in ("milvus", "exact"):
        (tmp_path / kind).mkdir()
        file = small.write(tmp_path / kind, config=CONFIG if kind == "milvus" else small.CONFIG)
        built(file)
        searcher = opened(Catalog.of(config.load(file, environ={})))
        searcher.probe()
        asked = [
            Query(q="a whale at sea", mode="semantic"),
            Query(q="a whale at sea", mode="semantic", where="year < 1900"),
            Query(also=[Term(like="emma")], mode="semantic", where="subjects contains 'Courtship'"),
        ]
        answers.append([[hit.id for hit in searcher.search(query).hits] for query in asked])
    assert answers[0] == answers[1]
    field = next((tmp_path / "milvus").rglob("milvus.json")).parent
    assert {file.name for file in field.iterdir()} <= {"milvus.json", "rows.npy"}


def test_the_alias_moves_with_publish_and_rollback_and_pruning_drops(tmp_path: Path) -> None:
    file = small.write(tmp_path, config=CONFIG)
    built(file)
    small.write(tmp_path, small.BOOKS[:5], CONFIG)
    built(file)
    catalog, client = Catalog.of(config.load(file, environ={})), client_of(tmp_path)

    def aliased() -> tuple[str, int]:
        name = client.describe_alias("findling_small_text")["collection_name"]
        return name, client.query("findling_small_text", output_fields=["count(*)"])[0]["count(*)"]

    older, newer = catalog.ids()
    assert aliased() == (f"findling_small_text_{newer}".replace("-", "_"), 5)
    catalog.rollback()
    assert aliased()[0].endswith(older.replace("-", "_"))
    assert opened(catalog).search(Query(q="dragons", mode="semantic")).snapshot == older
    catalog.publish(newer)
    assert catalog.prune(keep=1) == [older]
    assert client.list_collections() == [aliased()[0]]


def test_a_delta_stands_on_the_collection_of_its_base(tmp_path: Path) -> None:
    books = [
        {**book, "id": f"{book['id']} {n}", "text": f"{book['text']} {n}"}
        for n in range(20)
        for book in small.BOOKS
    ]
    file = small.write(tmp_path, books, CONFIG)
    built(file)
    small.write(tmp_path, [*books[1:], {"id": "new", "title": "Krakatoa", "text": "krakatoa erupts"}], CONFIG)
    built(file, incremental=True)
    catalog = Catalog.of(config.load(file, environ={}))
    whole, delta = catalog.ids()
    assert catalog.current() == delta
    searcher = opened(catalog)
    searcher.probe()
    assert searcher.search(Query(q="krakatoa erupts", mode="semantic")).hits[0].id == "new"
    assert client_of(tmp_path).list_collections() == [f"findling_small_text_{whole}".replace("-", "_")]


def test_a_collection_that_is_lost_is_told(tmp_path: Path) -> None:
    file = small.write(tmp_path, config=CONFIG)
    built(file)
    catalog, client = Catalog.of(config.load(file, environ={})), client_of(tmp_path)
    client.drop_alias("findling_small_text")
    client.drop_collection(client.list_collections()[0])
    with pytest.raises(SnapshotError, match=r"is not there.*build again"):
        opened(catalog)
    with pytest.raises(StorageError, match="cannot publish in the Milvus at"):
        catalog.publish(catalog.ids()[0])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "needs a uri"),
        ({"uri": "ftp://somewhere"}, "needs a uri"),
        ({"uri": "http://me:secret@somewhere:19530"}, "FINDLING_MILVUS_TOKEN"),
        ({"uri": "milvus.db", "M": -1}, "cannot use M = -1"),
        ({"uri": "milvus.db", "token": "secret"}, "no parameter token"),
    ],
)
def test_parameters_that_cannot_be_used_are_told(tmp_path: Path, params: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        registry.load("index", "milvus").build(np.eye(4, dtype=np.float16), tmp_path, params)
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    about = {"uri": "http://127.0.0.1:9", "collection": "books", "count": 3, "dim": 4}
    (tmp_path / "milvus.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(
        StorageError, match=r"cannot open the Milvus at http://127.0.0.1:9.*check that it runs"
    ):
        registry.load("index", "milvus").open(tmp_path)
