"""The archive itself: the same files give the same bytes, and it appears only when it is whole."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from findling import storage
from findling.pack.installed import Entry
from findling.progress import Progress

_TIME = 315_532_800  # 1980-01-01, the oldest time that no tool finds odd
_LEVEL = 2  # of isal's, which end at 3


def write(entries: Iterable[Entry], out: str, progress: Progress) -> int:
    """Write a .tar.gz of the entries to a path or URL, by name; gives the number of files.

    Owners, times and permissions but one are left out: they say where it was made, not what is in it.
    """
    from isal import igzip

    ordered = sorted({entry.name: entry for entry in entries}.values(), key=lambda entry: entry.name)
    total = sum(map(_size, ordered))
    with (
        progress.task("pack", total, "bytes") as task,
        storage.stage_file(out) as file,
        igzip.IGzipFile("", "wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in ordered:
            member = tarfile.TarInfo(entry.name)
            member.size, member.mtime = _size(entry), _TIME
            member.mode = 0o755 if entry.executable else 0o644
            if isinstance(entry.source, bytes):
                archive.addfile(member, io.BytesIO(entry.source))
            else:
                with entry.source.open("rb") as content:
                    archive.addfile(member, content)
            task.advance(member.size)
    return len(ordered)


def _size(entry: Entry) -> int:
    return len(entry.source) if isinstance(entry.source, bytes) else entry.source.stat().st_size


def lay_out(entries: Iterable[Entry], root: Path) -> None:
    """The same files in a directory."""
    for entry in entries:
        path = root / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(entry.source if isinstance(entry.source, bytes) else entry.source.read_bytes())
