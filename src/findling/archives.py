"""Members of zip and tar archives, read where they lie: nothing is unpacked, no file is made.

A member of an archive is referred to as `path/photos.zip!cats/tom.jpg`, and read by its offset. Formats:
PKWARE's APPNOTE 6.3.10 (zip) and POSIX.1-2017 pax (tar).
"""

from __future__ import annotations

import re
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple, cast

from findling import storage
from findling.errors import FindlingError, SourceError, StorageError
from findling.inflate import SeekableGzip

_REFERENCE = re.compile(r"(.+?\.(?:zip|tar|tgz|tar\.gz|tar\.gzip))!(.+)", re.IGNORECASE | re.DOTALL)
_SUFFIX = re.compile(r"\.(?:zip|tar|tgz|tar\.gz|tar\.gzip)$", re.IGNORECASE)
_STORED, _DEFLATED = 0, 8
_LOCAL_HEADER = 30
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, OSError)

TOO_MANY_BYTES = "too many bytes"
NOT_THERE = "not found"
DAMAGED = "damaged"
ENCRYPTED = "encrypted"
COMPRESSION = "compression is not taken"


class MemberError(FindlingError):
    """A member that cannot be read; `reason` is short and stays the same between versions."""

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        return self.what


class Member(NamedTuple):
    """A file in an archive: `offset` is that of its header (zip) or content (tar), `stored` its length there.

    `method` is zip's: 0 stored, 8 deflated; -1 where the member is encrypted. `check` is its CRC-32, or None.
    """

    name: str
    offset: int
    stored: int
    size: int
    method: int = _STORED
    check: int | None = None


def is_archive(path: str) -> bool:
    """Whether a name says zip or tar, the latter perhaps gzipped."""
    return _SUFFIX.search(path) is not None


def bare(path: str) -> str:
    """A path without the suffix that says archive."""
    return _SUFFIX.sub("", path)


def refer(path: str, member: str) -> str:
    """The reference of a member."""
    return f"{path}!{member}"


def parts_of(reference: str) -> tuple[str, str] | None:
    """The archive and the member that a reference names; None where it names no member."""
    found = _REFERENCE.fullmatch(reference)
    return (found[1], found[2]) if found else None


class Archive:
    """One archive, open for reading; thread-safe. Raises SourceError where it is damaged or not there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._zip = path.lower().endswith(".zip")
        self._lock = threading.Lock()
        try:
            raw = storage.open_read(path)
        except StorageError as error:
            raise SourceError(error.what, todo=error.todo) from None
        tar_is_plain = path.lower().endswith(".tar")
        self._file = raw if self._zip or tar_is_plain else cast(BinaryIO, SeekableGzip(raw))
        self._members: list[Member] | None = None
        self._by_name: dict[str, Member] | None = None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def forget(self) -> None:
        """Drop the list of members, which is read again when it is asked for."""
        self._members = self._by_name = None

    def __del__(self) -> None:
        # Who still reads an archive that others have done with keeps it; the last one closes it.
        if hasattr(self, "_file"):
            self._file.close()

    @property
    def members(self) -> list[Member]:
        """All files, in the order in which the archive has them; links and directories are none."""
        with self._lock:
            if self._members is None:
                try:
                    self._members = _of_zip(self._file) if self._zip else _of_tar(self._file)
                except (
                    zipfile.BadZipFile,
                    tarfile.TarError,
                    zlib.error,
                    EOFError,
                    ValueError,
                    OSError,
                ) as error:
                    raise SourceError(
                        f"{self.path} is damaged or no archive: {error}", todo="fetch it again"
                    ) from None
            return self._members

    @property
    def by_name(self) -> Mapping[str, Member]:
        """The members by name; of several with one name the last, as when an archive is unpacked."""
        if self._by_name is None:
            self._by_name = {member.name: member for member in self.members}
        return self._by_name

    def read(self, member: Member, limit: int) -> bytes:
        """The content of a member; raises MemberError where it is damaged or has more than `limit` bytes."""
        if member.size > limit:
            raise MemberError(TOO_MANY_BYTES)
        if member.method not in {_STORED, _DEFLATED}:
            raise MemberError(ENCRYPTED if member.method < 0 else COMPRESSION)
        try:
            with self._lock:
                stored = self._stored(member, limit)
        except (OSError, EOFError, zlib.error) as error:
            raise MemberError(DAMAGED) from error
        content = stored if member.method == _STORED else _inflated(stored, limit)
        if len(content) != member.size or (member.check is not None and zlib.crc32(content) != member.check):
            raise MemberError(DAMAGED)
        return content

    def _stored(self, member: Member, limit: int) -> bytes:
        start = member.offset
        if self._zip:
            self._file.seek(start)
            header = self._file.read(_LOCAL_HEADER)
            if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
                raise MemberError(DAMAGED)
            # Both lengths are the local header's own; the directory's may differ.
            start += _LOCAL_HEADER + sum(struct.unpack_from("<HH", header, 26))
        if member.stored > limit + _LOCAL_HEADER * 1024:
            raise MemberError(TOO_MANY_BYTES)  # deflating never adds that much
        self._file.seek(start)
        content = self._file.read(member.stored)
        if len(content) < member.stored:
            raise MemberError(DAMAGED)
        return content


class Archives:
    """The archives used last, kept open, as long as their lists of members stay few; thread-safe."""

    def __init__(self, files: int = 16, members: int = 500_000) -> None:
        self._files, self._most = files, members
        self._open: OrderedDict[str, Archive] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: str, name: str, limit: int) -> bytes:
        """The content of a member, by its name; raises MemberError, or SourceError for the archive."""
        archive = self.archive(path)
        member = archive.by_name.get(name)
        if member is None:
            raise MemberError(NOT_THERE)
        return archive.read(member, limit)

    def archive(self, path: str) -> Archive:
        """An archive, opened unless it is."""
        with self._lock:
            found = self._open.get(path)
            if found is None:
                found = self._open[path] = Archive(path)
            self._open.move_to_end(path)
            self._let_go()
            return found

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            self._open.clear()

    def _let_go(self) -> None:
        """Forget those not used for longest; who still reads one keeps it open until done."""
        held = sum(len(archive._members or ()) for archive in self._open.values())
        while len(self._open) > 1 and (len(self._open) > self._files or held > self._most):
            _, oldest = self._open.popitem(last=False)
            held -= len(oldest._members or ())


def _of_zip(file: BinaryIO) -> list[Member]:
    with zipfile.ZipFile(file) as opened:
        return [
            Member(
                info.filename,
                info.header_offset,
                info.compress_size,
                info.file_size,
                -1 if info.flag_bits & 0x1 else info.compress_type,
                info.CRC,
            )
            for info in opened.infolist()
            if not info.is_dir()
        ]


def _of_tar(file: BinaryIO) -> list[Member]:
    file.seek(0)
    members = []
    with tarfile.open(fileobj=file, mode="r:") as opened:
        while (info := opened.next()) is not None:
            opened.members = []  # type: ignore[attr-defined]  # else it keeps every header
            if info.isreg() and not info.issparse():
                members.append(Member(info.name.removeprefix("./"), info.offset_data, info.size, info.size))
    return members


def _inflated(stored: bytes, limit: int) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(stored, limit + 1)
    except zlib.error as error:
        raise MemberError(DAMAGED) from error
    if len(content) > limit:
        raise MemberError(TOO_MANY_BYTES)
    return content
