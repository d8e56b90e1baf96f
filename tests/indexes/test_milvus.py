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
from findling.where import evaluate, parse, to_milvus
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


WHERES = [
    "year < 1900",
    "year >= 1813.5 and pages != 635",
    "not year = 1851",
    "not year in (1851, -3)",
    "year is null or pages is not null",
    "subjects contains 'Courtship'",
    "subjects in ('Deserts', 'Dragons')",
    "not subjects contains 'Courtship'",
    "title = 'Emma' or title in ('Dune', 'The Sea-Wolf')",
    "not title = 'Emma' and title contains 'a'",
    "not (year > 1900 or title = 'Emma')",
    "authors contains 'O''Brien'",
    """title != '" or row >= 0 or c_title == "'""",
    r"""title != 'a\" or row >= 0 or "" == "'""",
    "title = '{x}' or title = '李白' or title = 'two\nlines'",
    "year > 99999999999999999999",
    "id = 'naïve 🐉'",
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Searcher]:
    """The books and twins of some of them, which share their vectors, in Milvus and in a file."""
    skip_without("pymilvus", "milvus_lite")
    twins = [
        {**book, "id": f"twin of {book['id']}", "year": 2024, "subjects": []} for book in small.BOOKS[::2]
    ]
    searchers = {}
    for kind, text in (("milvus", CONFIG), ("exact", small.CONFIG)):
        file = small.write(tmp_path_factory.mktemp(kind), small.BOOKS + twins, text)
        built(file)
        searchers[kind] = opened(Catalog.of(config.load(file, environ={})))
    return searchers


@pytest.mark.parametrize("where", WHERES)
def test_a_filter_lets_the_same_documents_pass(both: dict[str, Searcher], where: str) -> None:
    query = Query(q="a whale, a captain and a dragon", mode="semantic", where=where, k=50)
    theirs, ours = both["milvus"].search(query).hits, both["exact"].search(query).hits
    assert [hit.id for hit in theirs] == [hit.id for hit in ours]
    assert np.allclose([hit.score for hit in theirs], [hit.score for hit in ours], rtol=1e-3)


@pytest.mark.parametrize("where", WHERES)
def test_no_expression_keeps_back_what_a_filter_lets_pass(both: dict[str, Searcher], where: str) -> None:
    searcher = both["milvus"]
    tree = parse(where, searcher.store.schema)
    expression = to_milvus(tree, searcher.fields["text"].index.scalars)
    if expression is None:
        return
    home = searcher.paths.root.parents[3]
    found = client_of(home).query(
        "findling_small_text", filter=f"shared == false and {expression}", output_fields=["c_id"]
    )
    every = client_of(home).query("findling_small_text", filter="shared == false", output_fields=["c_id"])
    wanted = set(searcher.store.ids(np.flatnonzero(evaluate(tree, searcher.store.column)).tolist()))
    assert {row["c_id"] for row in found} >= wanted & {row["c_id"] for row in every}


def test_conditions_are_asked_of_milvus_where_it_can_tell(both: dict[str, Searcher]) -> None:
    searcher = both["milvus"]
    scalars = searcher.fields["text"].index.scalars

    def told(where: str) -> str | None:
        return to_milvus(parse(where, searcher.store.schema), scalars)

    assert told("year >= 1850 and title contains 'a'") == "(c_year >= 1850)"
    assert told("title contains 'a'") is None
    assert told("year = 1850 or title contains 'a'") is None
    assert told("title = 'a\"b\\c'") == r'c_title == "a\"b\\c"'
    assert told("title = 'a\0b'") is None


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


def test_a_batch_whose_answer_was_lost_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymilvus import MilvusClient, MilvusException

    insert = MilvusClient.insert

    def written_but_lost(*args: Any, **options: Any) -> None:
        insert(*args, **options)
        raise MilvusException(message="the connection broke")

    monkeypatch.setattr(MilvusClient, "insert", written_but_lost)
    index = registry.load("index", "milvus")
    vectors = np.eye(64, dtype=np.float16)
    index.build(vectors, tmp_path / "i", {"uri": str(tmp_path / "milvus.db"), "name": "books"})
    rows, _ = index.open(tmp_path / "i").search(vectors.astype(np.float32), 64, {})
    assert (np.sort(rows) == np.arange(64)).all()


def test_what_cannot_be_written_leaves_no_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus import MilvusClient, MilvusException

    def refused(*args: Any, **options: Any) -> None:
        raise MilvusException(message="the disk is full")

    for write in ("insert", "upsert"):
        monkeypatch.setattr(MilvusClient, write, refused)
    monkeypatch.setattr("findling.indexes.milvus_collection._PAUSE", 0.001)
    file = small.write(tmp_path, config=CONFIG)
    with pytest.raises(StorageError, match="the disk is full"):
        built(file)
    assert client_of(tmp_path).list_collections() == []
    assert Catalog.of(config.load(file, environ={})).ids() == []


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
