from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from batch import built, collection, some_rows, tree, write_rows
from findling import config, snapshot, storage
from findling.catalog import Catalog
from findling.errors import NotFound, SnapshotError, StorageError
from findling.workplace import workplace


def catalog_of(file: Path) -> Catalog:
    return Catalog.of(config.load(file, environ={}))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four snapshots, the last of them live."""
    file = collection(tmp_path_factory.mktemp("pristine"), some_rows(12))
    for count in (9, 10, 11, 12):
        write_rows(file.parent / "rows.jsonl", some_rows(count))
        built(file)
    return file.parent


@pytest.fixture
def catalog(pristine: Path, tmp_path: Path) -> Catalog:
    shutil.copytree(pristine, tmp_path / "here")
    return catalog_of(tmp_path / "here" / config.FILE)


def test_snapshots_are_listed_from_old_to_new(catalog: Catalog) -> None:
    assert [catalog.manifest(each).documents for each in catalog.ids()] == [9, 10, 11, 12]
    assert catalog.current() == catalog.ids()[-1]


def test_back_and_forth(catalog: Catalog) -> None:
    first, second, third, fourth = catalog.ids()
    assert catalog.rollback().id == third
    assert catalog.rollback().id == second
    assert catalog.current() == second
    assert catalog.publish(fourth).id == fourth
    catalog.publish(first)
    with pytest.raises(SnapshotError, match=f"no snapshot older than {first}"):
        catalog.rollback()
    assert catalog.current() == first


def test_pruning_keeps_the_newest_and_the_live_one(catalog: Catalog) -> None:
    first, second, third, fourth = catalog.ids()
    catalog.publish(second)
    assert catalog.prune(keep=1) == [first, third]
    assert catalog.ids() == [second, fourth]
    left = {
        name for name in storage.listing(storage.join(catalog.root, "snapshots")) if "verified" not in name
    }
    assert left == {second, fourth}
    assert catalog.prune(keep=9) == []
    assert catalog.manifest(second).documents == 10


def test_pruning_leaves_a_running_build_alone(catalog: Catalog) -> None:
    url = catalog.path("20990101T000000Z-00000000")
    with storage.stage_directory(url, last=snapshot.MANIFEST) as aside:
        (aside / "documents.arrow").write_bytes(b"rows")
        catalog.prune(keep=1)
        assert (aside / "documents.arrow").exists()
    assert storage.listing(url) == ["documents.arrow"]


def test_what_is_not_there_is_told(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no snapshot 'nothing'; there are: .*"):
        catalog.publish("nothing")
    with pytest.raises(NotFound, match="no snapshot"):
        catalog.publish("../../elsewhere")
    nowhere = Catalog(str(tmp_path / "nowhere"), "books")
    assert (nowhere.ids(), nowhere.current()) == ([], None)
    with pytest.raises(NotFound, match="nothing published; run: findling build"):
        nowhere.local()
    with pytest.raises(SnapshotError, match="no snapshot older than none"):
        nowhere.rollback()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"\n", b"gone-00000000\n", b"\xff\xfe\x00"])
def test_a_current_that_names_nothing_is_told(catalog: Catalog, content: bytes) -> None:
    storage.write_bytes(storage.join(catalog.root, "CURRENT"), content)
    with pytest.raises(NotFound):
        catalog.local()


def test_poor_recall_is_not_published(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(pristine, tmp_path / "here")
    file = tmp_path / "here" / config.FILE
    before = catalog_of(file).current()
    write_rows(file.parent / "rows.jsonl", some_rows(13))
    monkeypatch.setattr("findling.indexes.measure.recall_at_k", lambda *_: 0.5)
    with pytest.raises(SnapshotError, match=r"recall@10 of 'text' is 0\.500, under the target 0\.95"):
        built(file)
    assert catalog_of(file).current() == before
    assert len(catalog_of(file).ids()) == 5, "it is there to be looked at"
    with pytest.raises(SnapshotError, match="under the target"):
        catalog_of(file).publish(catalog_of(file).ids()[-1])


def test_two_builds_do_not_run_at_once(catalog: Catalog) -> None:
    settings = config.load(Path(catalog.home).parent / config.FILE, environ={})
    before = tree(Path(catalog.root))
    with workplace(settings, catalog, [], None) as held:
        assert held.path.is_dir()
        with pytest.raises(StorageError, match="another build of 'books' is running; wait until it is done"):
            built(Path(catalog.home).parent / config.FILE)
    assert tree(Path(catalog.root)) == before
    assert built(Path(catalog.home).parent / config.FILE).published


def test_a_damaged_snapshot_is_built_again(pristine: Path, tmp_path: Path) -> None:
    shutil.copytree(pristine, tmp_path / "here")
    file = tmp_path / "here" / config.FILE
    catalog = catalog_of(file)
    live = catalog.current()
    assert built(file).snapshot == live
    for name in ("documents.arrow", "manifest.json"):
        damaged = catalog.current()
        path = Path(catalog.path(str(damaged)), name)
        path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
        report = built(file)
        assert report.snapshot != damaged
        assert snapshot.verify(catalog.local()).id == report.snapshot == catalog.current()


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection whose home counts as remote, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return collection(tmp_path / "here", some_rows(9), home=f"local://{tmp_path}/bucket")


def test_a_remote_home_is_published_to_and_fetched_from(remote: Path, tmp_path: Path) -> None:
    first = built(remote)
    assert first.embedded == {"text": {"new": 9, "reused": 0, "failed": 0}}
    catalog = catalog_of(remote)
    assert catalog.current() == first.snapshot
    bucket = tmp_path / "bucket" / "books"
    assert tree(bucket / "snapshots" / str(first.snapshot)) == tree(catalog.local())
    assert catalog.local().is_relative_to(tmp_path / "cache")
    assert not list(bucket.rglob("*.tmp"))
    assert sorted(path.name for path in bucket.iterdir()) == [
        "CURRENT",
        "embeddings",
        "failures",
        "snapshots",
    ]

    again = built(remote)
    assert (again.snapshot, again.embedded["text"]["new"]) == (first.snapshot, 0)
    write_rows(remote.parent / "rows.jsonl", some_rows(10))
    second = built(remote)
    assert second.embedded == {"text": {"new": 1, "reused": 9, "failed": 0}}
    assert catalog.rollback().id == first.snapshot
    catalog.publish(str(second.snapshot))
    assert catalog.prune(keep=1) == [first.snapshot]

    # The next fetch lets go what the home no longer has.
    kept = catalog.local(second.snapshot).parent
    storage.remove(str(kept / str(second.snapshot)))
    catalog.local(second.snapshot)
    assert [name for name in storage.listing(str(kept)) if not name.startswith(".")] == [second.snapshot]


def test_what_was_damaged_on_its_way_is_not_kept(remote: Path, tmp_path: Path) -> None:
    report = built(remote)
    there = tmp_path / "bucket" / "books" / "snapshots" / str(report.snapshot) / "documents.arrow"
    there.write_bytes(there.read_bytes()[:-1] + b"\1")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(SnapshotError, match=r"documents\.arrow"):
        catalog_of(remote).local()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_two_processes_may_fetch_at_once(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = built(remote)
    shutil.rmtree(tmp_path / "cache")
    verify = snapshot.verify

    def slower(root: Path, *words: Any, **options: Any) -> Any:
        monkeypatch.setattr(snapshot, "verify", verify)
        catalog_of(remote).local()  # another one is done first
        return verify(root, *words, **options)

    monkeypatch.setattr(snapshot, "verify", slower)
    assert catalog_of(remote).local().name == report.snapshot
    assert not list((tmp_path / "cache").rglob("*.tmp"))
