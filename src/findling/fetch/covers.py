"""Open Library's covers in bulk: zip files of 10,000, in which a cover is found by its number.

The file `m_covers_0008_12.zip` holds, as `%010d-M.jpg`, the covers 8,120,000 to 8,129,999 in medium size;
`s_` and `l_` stand for small and large, no letter for the original (https://archive.org/details/ol_data).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.archives import Archives, Member

_ARCHIVE = re.compile(r"(?:([sml])_)?covers_(\d{4})_(\d{2})\.(?:zip|tar)$", re.IGNORECASE)
_MEMBER = re.compile(r"(?:.*/)?(\d{10})(?:-[SML])?\.jpe?g$", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://covers\.openlibrary\.org/b/id/(\d{1,10})(?:-([SML]))?\.jpg(?:\?.*)?$", re.I)
_BATCH = 10_000
_ROW = np.dtype(
    [("id", "i8"), ("offset", "i8"), ("stored", "i8"), ("size", "i8"), ("method", "i2"), ("check", "i8")]
)
# A larger picture stands in for one that is not there; a small one, of 58 pixels, for none.
_INSTEAD = {"s": "sml-", "m": "ml-", "l": "l-m", "-": "-lm"}


def is_bulk(path: str) -> bool:
    """Whether a file is named as a bulk archive of covers."""
    return _ARCHIVE.search(PurePosixPath(path).name) is not None


def number_of(member: str) -> int | None:
    """The number of the cover that a member of a bulk archive is."""
    found = _MEMBER.fullmatch(member)
    return int(found[1]) if found else None


class Covers:
    """Bulk archives and where in them each cover is; one list of members at a time is read, once."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths: dict[tuple[str, int], str] = {}
        for path in paths:
            if found := _ARCHIVE.search(PurePosixPath(path).name):
                batch = int(found[2]) * 100 + int(found[3])
                self._paths[(found[1] or "-").lower(), batch] = path
        self._rows: dict[str, NDArray[Any]] = {}
        self._archives = Archives(files=64)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, url: str, limit: int) -> bytes | None:
        """The cover that an address names; None where no archive has it, MemberError where it is damaged."""
        found = _ADDRESS.fullmatch(url)
        if found is None:
            return None
        number = int(found[1])
        for size in _INSTEAD[(found[2] or "-").lower()]:
            path = self._paths.get((size, number // _BATCH))
            if path is None:
                continue
            rows = self._places(path)
            place = int(np.searchsorted(rows["id"], number))
            if place < len(rows) and rows["id"][place] == number:
                row = rows[place]
                check = int(row["check"])
                offset, stored, length, method = (int(row[n]) for n in ("offset", "stored", "size", "method"))
                member = Member("", offset, stored, length, method, check if check >= 0 else None)
                return self._archives.archive(path).read(member, limit)
        return None

    def close(self) -> None:
        """Let go of all files."""
        self._archives.close()

    def _places(self, path: str) -> NDArray[Any]:
        """Where an archive's members are, by number: 42 bytes a cover, so that all fit in memory."""
        with self._lock:
            if path not in self._rows:
                archive = self._archives.archive(path)
                rows = [
                    (number, m.offset, m.stored, m.size, m.method, -1 if m.check is None else m.check)
                    for m in archive.members
                    if (number := number_of(m.name)) is not None
                ]
                archive.forget()
                self._rows[path] = np.sort(np.array(rows, _ROW), order="id")
            return self._rows[path]
