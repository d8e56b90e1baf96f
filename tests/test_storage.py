from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from findling import storage
from findling.errors import ConfigError, StorageError


@pytest.fixture(params=["path", "file", "local", "memory"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A directory's URL: two ways to name one on this machine, and two that count as remote."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    prefix = {"path": "", "file": "file://", "local": "local://"}[request.param]
    return f"{prefix}{tmp_path}/home"


def test_a_file_is_written_read_listed_and_removed(home: str) -> None:
    url = storage.join(home, "below", "a.txt")
    assert not storage.exists(url)
    assert storage.listing(home) == []
    storage.write_bytes(url, b"first")
    before = storage.version(url)
    storage.write_bytes(url, b"the second")
    assert storage.read_bytes(url) == b"the second"
    assert storage.size(url) == 10
    assert storage.version(url) != before
    assert storage.listing(home) == ["below"]
    assert storage.listing(storage.join(home, "below")) == ["a.txt"]
    assert [storage.read_bytes(found) for found in storage.glob(storage.join(home, "below", "*.txt"))] == [
        b"the second"
    ]
    storage.remove(storage.join(home, "below"))
    storage.remove(storage.join(home, "below"))
    assert not storage.exists(url)


def test_a_failed_write_leaves_what_was_there(home: str) -> None:
    url = storage.join(home, "a.txt")
    storage.write_bytes(url, b"old")
    with pytest.raises(ZeroDivisionError), storage.stage_file(url) as file:  # noqa: PT012
        file.write(b"half of the ne")
        file.flush()
        assert storage.read_bytes(url) == b"old"
        _ = 1 / 0
    assert storage.read_bytes(url) == b"old"
    assert storage.listing(home) == ["a.txt"]


def test_a_directory_appears_whole_or_not_at_all(home: str) -> None:
    url = storage.join(home, "snapshot")
    with (  # noqa: PT012 - the error is raised within
        pytest.raises(ZeroDivisionError),
        storage.stage_directory(url, last="z.json") as aside,
    ):
        (aside / "z.json").write_bytes(b"{}")
        _ = 1 / 0
    assert storage.listing(home) == []
    with storage.stage_directory(url, last="a.json") as aside:
        (aside / "a.json").write_bytes(b"{}")
        (aside / "deep").mkdir()
        (aside / "deep" / "b").write_bytes(b"bytes")
        assert not storage.exists(url)
    assert storage.listing(url) == ["a.json", "deep"]
    assert storage.read_bytes(storage.join(url, "deep", "b")) == b"bytes"
    assert storage.listing(home) == ["snapshot"]


def test_the_last_file_of_a_remote_directory_is_sent_last(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    files, _ = storage.filesystem(url)
    sent: list[str] = []
    put = type(files).put_file

    def noted(self: object, here: str, there: str, **options: object) -> None:
        sent.append(there.rpartition("/")[2])
        put(self, here, there, **options)

    monkeypatch.setattr(type(files), "put_file", noted)
    with storage.stage_directory(url, last="a.json") as aside:
        for name in ("a.json", "b", "c"):
            (aside / name).write_bytes(b"x")
    assert sent == ["b", "c", "a.json"]


def test_a_remote_directory_that_breaks_off_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://{uuid.uuid4().hex}"
    files, _ = storage.filesystem(url)
    put = type(files).put_file

    def broken(self: object, here: str, there: str, **options: object) -> None:
        if there.endswith("b"):
            raise ConnectionError("the line is cut")
        put(self, here, there, **options)

    monkeypatch.setattr(type(files), "put_file", broken)
    with (  # noqa: PT012 - the error is raised at its end
        pytest.raises(StorageError, match="the line is cut"),
        storage.stage_directory(url, last="c") as aside,
    ):
        for name in ("a", "b", "c"):
            (aside / name).write_bytes(b"x")
    assert storage.listing(url) == []


def test_sweeping_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".left.12345678.tmp").write_bytes(b"half")
    (tmp_path / ".also.12345678.tmp").mkdir()
    (tmp_path / ".also.12345678.tmp" / "file").write_bytes(b"half")
    (tmp_path / ".hidden").write_bytes(b"a person's")
    (tmp_path / "plain.tmp").write_bytes(b"a person's")
    with (
        storage.stage_file(str(tmp_path / "file")) as file,
        storage.stage_directory(str(tmp_path / "directory"), last="a") as aside,
    ):
        file.write(b"whole")
        (aside / "a").write_bytes(b"whole")
        storage.sweep(str(tmp_path))
    assert storage.listing(str(tmp_path)) == [".hidden", "directory", "file", "plain.tmp"]
    storage.sweep(str(tmp_path / "not there"))


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("data", "a", "b"), "data/a/b"),
        (("data/", "a"), "data/a"),
        (("", "a"), "a"),
        ((".", "a"), "a"),
        (("data", "/there/a"), "/there/a"),
        (("data", "s3://bucket/a", "b"), "s3://bucket/a/b"),
        (("s3://bucket", "a"), "s3://bucket/a"),
    ],
)
def test_joining(parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(*parts) == joined


def test_errors_say_what_happened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="is a directory; name a file"):
        storage.open_read(str(tmp_path))
    with pytest.raises(StorageError, match="not there"):
        storage.read_bytes(str(tmp_path / "nothing"))
    with pytest.raises(StorageError, match="a file is in the way"):
        storage.write_bytes(str(tmp_path / "file" / "below"), b"")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        storage.write_bytes(str(tmp_path / "file" / "below" / "it"), b"")
    with pytest.raises(StorageError, match="a file is in the way"):
        storage.make_directory(str(tmp_path / "file"))
    with pytest.raises(StorageError, match="name is too long"):
        storage.write_bytes(str(tmp_path / ("x" * 300)), b"")
    with pytest.raises(StorageError, match="cannot be reached"):
        storage.exists("nosuch://bucket/a")
    with pytest.raises(StorageError, match="the disk is full"):
        storage.check_room(tmp_path, 1 << 62)


def test_a_store_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("no", name="s3fs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ConfigError, match=r"'s3fs'.*pip install 'findling\[aws\]'"):
        storage.exists("s3://bucket/a")
