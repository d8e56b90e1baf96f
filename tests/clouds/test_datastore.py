"""Documents in Datastore through Google's own client, against a host of ours that speaks its protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import small
from findling import build, config, plan, trial
from findling.catalog import Catalog
from findling.errors import StorageError
from findling.records import Query
from findling.searcher import Searcher

pytest.importorskip("google.cloud.datastore", reason="needs google: the extra gcp")

from clouds.datastore_host import DatastoreHost

CONFIG = small.CONFIG + '[store]\nkind = "datastore"\nproject = "{project}"\nnamespace = "n"\n'


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatastoreHost]:
    host = DatastoreHost()
    monkeypatch.setenv("DATASTORE_EMULATOR_HOST", host.address)
    yield host
    host.close()


def built(home: Path, books: list[dict[str, object]] | None = None) -> Searcher:
    # A project of its own: the client of one is kept for the process.
    text = CONFIG.replace("{project}", f"p-{home.name}")
    settings = config.load(small.write(home, books, text))
    build.build(settings)
    return Searcher.open(Catalog.of(settings).local(), settings.rank, home / "models")


def test_documents_are_put_there_and_fetched_at_once(tmp_path: Path, host: DatastoreHost) -> None:
    searcher = built(tmp_path)
    assert len(host.entities) == len(small.BOOKS)
    before = host.calls["Lookup"]
    answer = searcher.search(Query(q="a white whale", k=5, where="pages > 100"))
    assert host.calls["Lookup"] == before + 1
    found = json.loads(answer.hits[0].document)
    assert found["title"] == "Moby-Dick"
    assert found["subjects"] == ["Whaling", "Sea stories"]


def test_a_lost_document_is_put_together_from_its_columns(tmp_path: Path, host: DatastoreHost) -> None:
    searcher = built(tmp_path)
    whole = searcher.document("moby")
    host.entities.clear()
    assert searcher.document("moby") == whole


def test_a_changed_document_leaves_the_old_snapshot_as_it_was(tmp_path: Path, host: DatastoreHost) -> None:
    old = built(tmp_path)
    books = [dict(book) for book in small.BOOKS]
    books[0]["title"] = "The Whale"
    new = built(tmp_path, books)
    assert len(host.entities) == len(small.BOOKS) + 1
    assert [json.loads(each.document("moby"))["title"] for each in (old, new)] == ["Moby-Dick", "The Whale"]


def test_a_datastore_that_refuses_is_one_line(tmp_path: Path, host: DatastoreHost) -> None:
    searcher = built(tmp_path)
    host.refuse = True
    with pytest.raises(StorageError, match="cannot fetch documents from Datastore: not yours") as told:
        searcher.document("moby")
    assert told.value.status == 503


def test_a_plan_writes_nothing_there(tmp_path: Path, host: DatastoreHost) -> None:
    text = CONFIG.replace("{project}", f"p-{tmp_path.name}")
    measured = trial.run(config.load(small.write(tmp_path, config=text)), 8)
    assert measured.kept == len(small.BOOKS)
    assert host.calls == {"Lookup": 0, "Commit": 0}
    (note,) = plan.plan(measured, "local").notes
    assert note == "writing to datastore is not in the time: a plan writes nowhere"
