from __future__ import annotations

import datetime
import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import built, collection, some_rows
from findling import config, snapshot
from findling.catalog import Catalog
from findling.cli import run
from findling.errors import SnapshotError
from findling.snapshot import MANIFEST, SnapshotPaths


@dataclass(frozen=True)
class Published:
    """A collection with one snapshot, which is live."""

    file: Path
    root: Path

    @property
    def catalog(self) -> Catalog:
        return Catalog.of(config.load(self.file, environ={}))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [*some_rows(30), {"id": "z-no-text", "title": "", "body": "", "year": 2000}]
    file = collection(tmp_path_factory.mktemp("pristine"), rows)
    built(file)
    return file.parent


@pytest.fixture
def published(pristine: Path, tmp_path: Path) -> Published:
    shutil.copytree(pristine, tmp_path / "here")
    file = tmp_path / "here" / config.FILE
    found = Published(file, file.parent)
    return Published(file, found.catalog.local())


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_byte_flipped_in_any_file_is_refused_by_name(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    names = files_of(published.root)
    assert {"documents.arrow", "manifest.json", "probes.json", "vectors/text/rows.npy"} <= set(names)
    assert run(["verify", "-c", str(published.file)]) == 0
    for name in names:
        path = published.root / name
        whole = path.read_bytes()
        if not whole:
            continue  # a byte cannot be flipped in an empty file
        path.write_bytes(
            whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
        )
        for words in (["verify"], ["publish", published.root.name], ["search", "whale"]):
            capsys.readouterr()
            assert run([*words, "-c", str(published.file)]) == 1, (name, words)
            told = capsys.readouterr().err
            assert Path(name).name in told, (name, words, told)
            assert told.count("\n") == 1
        path.write_bytes(whole)
    assert run(["search", "whale", "-c", str(published.file)]) == 0


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "a directory"])
def test_a_file_that_is_not_as_it_was_is_named(published: Published, damage: str) -> None:
    path = published.root / "documents.arrow"
    whole = path.read_bytes()
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(whole[:-1] if damage == "cut" else whole + b"\0")
    for look in (snapshot.verify, snapshot.check):
        with pytest.raises(SnapshotError, match=r"documents\.arrow (is missing|has \d+ bytes, the manifest)"):
            look(published.root)


def test_without_its_manifest_it_is_no_snapshot(published: Published) -> None:
    (published.root / MANIFEST).unlink()
    with pytest.raises(SnapshotError, match=r"not a complete snapshot: manifest\.json is missing"):
        snapshot.verify(published.root)
    assert published.catalog.ids() == []


@pytest.mark.parametrize("number", ["2", "0", "null", '"1"'])
def test_another_format_is_told(published: Published, number: str) -> None:
    path = published.root / MANIFEST
    path.write_text(path.read_text().replace('"format": 1', f'"format": {number}', 1))
    with pytest.raises(SnapshotError, match=r"snapshot format .*, this findling reads 1; build it again"):
        snapshot.read_manifest(published.root)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_byte_of_a_manifest_can_change(pristine: Path, data: st.DataObject) -> None:
    (path,) = pristine.glob(f"data/books/snapshots/*/{MANIFEST}")
    whole = bytearray(path.read_bytes())
    assert snapshot.parse_manifest(bytes(whole), "it").documents == 31
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotError, match=r"^it: manifest\.json"):
        snapshot.parse_manifest(bytes(whole), "it")


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"{" * 100_000, b'{"format": 1, "id": 3}'],
)
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(SnapshotError, match=r"^it: manifest\.json"):
        snapshot.parse_manifest(content, "it")


def test_a_manifest_cannot_name_files_elsewhere(published: Published) -> None:
    manifest = snapshot.read_manifest(published.root)
    (published.root / MANIFEST).unlink()
    for name in ("../../stolen", "/etc/passwd"):
        files = {name: snapshot.FileManifest(1, "0" * 64)}
        content = msgspec.json.encode(msgspec.structs.replace(manifest, files=files, checksum="0" * 64))
        content = msgspec.json.format(content, indent=2)
        checksum = hashlib.sha256(content).hexdigest().encode()
        with pytest.raises(SnapshotError, match="no part of it"):
            snapshot.parse_manifest(content.replace(b"0" * 64, checksum, 1), "it")


def test_the_manifest_says_what_the_pages_say(published: Published) -> None:
    """docs/snapshot.md, followed by somebody who has only that page."""
    content = (published.root / MANIFEST).read_bytes()
    manifest = json.loads(content)
    assert list(manifest)[:2] == ["format", "checksum"]
    blank = re.sub(rb'("checksum": ")[0-9a-f]{64}', rb"\g<1>" + b"0" * 64, content, count=1)
    assert hashlib.sha256(blank).hexdigest() == manifest["checksum"]
    assert sorted(manifest["files"]) == [name for name in files_of(published.root) if name != MANIFEST]
    for name, told in manifest["files"].items():
        octets = (published.root / name).read_bytes()
        assert (len(octets), hashlib.sha256(octets).hexdigest()) == (told["size"], told["sha256"])
    assert published.root.name == manifest["id"]
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", manifest["id"])
    assert manifest["id"].endswith(manifest["digest"][:8])
    assert manifest["documents"] == 31
    assert manifest["fields"]["text"]["count"] == 30
    paths = SnapshotPaths(published.root)
    rows = snapshot.open_rows(paths, "text")
    assert rows is not None
    assert rows.tolist() == list(range(30))
    probes = snapshot.read_probes(paths)
    assert {probe.part for probe in probes} == {"text"}
    assert all(probe.like in probe.ids for probe in probes)


def test_whoever_may_read_one_file_may_read_all(published: Published) -> None:
    modes = {(published.root / name).stat().st_mode & 0o777 for name in files_of(published.root)}
    assert len(modes) == 1, "the service need not run as who builds"


def test_files_that_were_whole_are_not_read_again(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest = snapshot.storage.sha256

    def noted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(snapshot.storage, "sha256", noted)
    snapshot.check(published.root)
    assert read, "never seen here: all is read"
    read.clear()
    snapshot.check(published.root)
    assert not read
    (published.root / "probes.json").touch()
    snapshot.check(published.root)
    assert read, "touched: all is read"
    read.clear()
    told: list[int] = []
    snapshot.verify(published.root, told.append)
    assert sum(told) == sum(file.size for file in snapshot.read_manifest(published.root).files.values())


NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)


def test_ids_sort_by_age_whatever_the_clock_says() -> None:
    first = snapshot.new_id("ffffffff0000", NOW)
    assert first == "20260504T030201Z-ffffffff"
    same_second = snapshot.new_id("00000000ffff", NOW, after=first)
    assert same_second == "20260504T030202Z-00000000"
    set_back = snapshot.new_id("00000000ffff", NOW - datetime.timedelta(days=400), after=same_second)
    assert set_back == "20260504T030203Z-00000000"
    assert snapshot.new_id("0000", NOW + datetime.timedelta(days=1), after=set_back) > set_back
