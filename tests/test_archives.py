"""Members out of archives: anywhere, in any order, also in the middle of a gzipped tar."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from findling import archives, inflate
from findling.archives import Archive, Archives, MemberError
from findling.errors import SourceError
from findling.inflate import SeekableGzip

RNG = random.Random(7)
FILES = {f"d/{n:04d}.jpg": RNG.randbytes(RNG.randrange(1, 9000)) for n in range(120)}


@pytest.fixture(autouse=True)
def near_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_SPACING", 1 << 16)
    monkeypatch.setattr(inflate, "_CHUNK", 1 << 12)


def packed(home: Path, name: str) -> str:
    path = home / name
    if name.endswith("zip"):
        method = zipfile.ZIP_STORED if name.startswith("stored") else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as file:
            for member, content in FILES.items():
                file.writestr(member, content)
        return str(path)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member, content in FILES.items():
            info = tarfile.TarInfo(f"./{member}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    content = plain.getvalue()
    if name == "parts.tgz":
        content = gzip.compress(content[:100_000]) + gzip.compress(content[100_000:]) + bytes(100)
    elif name.endswith("gz"):
        content = gzip.compress(content)
    path.write_bytes(content)
    return str(path)


NAMES = ["x.zip", "stored.zip", "x.tar", "x.tar.gz", "parts.tgz"]


@pytest.mark.parametrize("name", NAMES)
def test_members_are_read_in_any_order_by_several_at_once(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path, name)
    opened = Archive(path)
    assert [(member.name, member.size) for member in opened.members] == [
        (n, len(c)) for n, c in FILES.items()
    ]
    order = list(FILES) * 2
    random.Random(1).shuffle(order)
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda member: opened.read(opened.by_name[member], 10_000), order)
        assert list(read) == [FILES[member] for member in order]
    opened.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_kept(name: str, tmp_path: Path) -> None:
    opened = Archives()
    with pytest.raises(MemberError, match="too many bytes"):
        opened.read(packed(tmp_path, name), "d/0001.jpg", 1)


def test_a_zip_that_understates_a_member_gains_nothing(tmp_path: Path) -> None:
    path = packed(tmp_path, "x.zip")
    opened = Archive(path)
    member = opened.by_name["d/0003.jpg"]._replace(size=10)
    with pytest.raises(MemberError, match="too many bytes"):
        opened.read(member, 100)


def test_few_archives_stay_open(tmp_path: Path) -> None:
    for place in range(9):
        with zipfile.ZipFile(tmp_path / f"{place}.zip", "w") as file:
            for n in range(10):
                file.writestr(str(n), str(place))
    opened = Archives(files=3, members=25)
    for place in (*range(9), 0, 5, 8):
        assert opened.read(str(tmp_path / f"{place}.zip"), "7", 100) == str(place).encode()
    assert len(opened._open) <= 3


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\5\6" + bytes(10), bytes(2000)])
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_what_is_no_archive_is_told_or_empty(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "x.tar" and content == bytes(2000):
        assert Archive(str(tmp_path / name)).members == []
        return
    with pytest.raises(SourceError, match="damaged or no archive"):
        _ = Archive(str(tmp_path / name)).members


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("/a/b.zip!c/d.jpg", ("/a/b.zip", "c/d.jpg")),
        ("b.TAR!wow!.jpg", ("b.TAR", "wow!.jpg")),
        ("a.tar.gz!x", ("a.tar.gz", "x")),
        ("wow!.jpg", None),
        ("b.zip!", None),
        ("b.zip", None),
    ],
)
def test_references(reference: str, parts: tuple[str, str] | None) -> None:
    assert archives.parts_of(reference) == parts
    assert parts is None or archives.refer(*parts) == reference


CONTENT = RNG.randbytes(150_000) + bytes(150_000) + RNG.randbytes(50_000)
SQUEEZED = gzip.compress(CONTENT[:200_000], 1) + gzip.compress(CONTENT[200_000:])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 360_000), st.integers(0, 70_000)), max_size=8))
def test_any_place_of_a_gzip_file_can_be_read(wanted: list[tuple[int, int]]) -> None:
    file = SeekableGzip(io.BytesIO(SQUEEZED))
    for start, length in wanted:
        assert file.seek(start) == start
        assert file.read(length) == CONTENT[start : start + length]
        assert file.tell() == start + len(CONTENT[start : start + length])
    assert file.seek(0, io.SEEK_END) == len(CONTENT)
    file.seek(-10, io.SEEK_END)
    assert file.read() == CONTENT[-10:]


@pytest.mark.parametrize(("content", "error"), [(SQUEEZED[:-5], EOFError), (b"\x1f\x8bxx", zlib.error)])
def test_a_damaged_gzip_file_is_told(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        SeekableGzip(io.BytesIO(content)).read()
