"""Where pictures lie: folders and archives listed, cut into splits, and joined with what lies beside them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pyarrow as pa

from findling import archives, storage
from findling.archives import Archive
from findling.errors import SourceError
from findling.sources import text
from findling.sources.base import Split

NAME, REFERENCE, CAPTION, FACTS = "name", "reference", "caption", "facts"
RAW = pa.schema([(NAME, pa.string()), (REFERENCE, pa.string()), (CAPTION, pa.string()), (FACTS, pa.binary())])

_PICTURES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif"})
_SIDECARS = ("txt", "json")
_FOLDER_ROWS = 50_000
_ARCHIVE_ROWS = 10_000
_BATCH_ROWS = 2_000
_LARGEST_SIDECAR = 1_000_000
_BULK = re.compile(r"(?:^|/)(?:[sml]_)?covers_\d{4}_\d{2}/(?:.*/)?(\d{10})(?:-[SML])?\.jpe?g$", re.IGNORECASE)
_SPACES = re.compile(r"[\s_\-+.]+")
_MARKS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Row:
    """A file that is not a sidecar: its name below its place, and those of its sidecars."""

    name: str
    txt: str | None = None
    json: str | None = None


@dataclass(frozen=True)
class Places:
    """What a `path` names: folders with the files wanted of each (None: all), and archives with the part of
    their path that goes into ids."""

    folders: dict[str, tuple[str, ...] | None]
    archives: dict[str, str]

    def roots(self) -> list[str]:
        """The folders and the archives' folders."""
        return list(dict.fromkeys([*self.folders, *(_folder(path) for path in self.archives)]))

    def stamp(self) -> str:
        """A digest of the names, sizes and times of all loose files."""
        digest = hashlib.sha256()
        for folder, wanted in self.folders.items():
            for name in wanted if wanted is not None else _walk(folder):
                digest.update(f"{name}\0{storage.version(storage.join(folder, name))}\0".encode())
        return digest.hexdigest()[:16]

    def splits(self, table: str, *, with_sidecars: bool = False) -> list[Split]:
        """Runs of some ten thousand files; a gzipped tar, which can only be read forwards, is one.

        `with_sidecars` leaves out folders and archives that have none.
        """
        splits: list[Split] = []
        for path in [*self.folders, *self.archives]:
            rows = self._rows(path)
            if with_sidecars and not any(row.txt or row.json for row in rows):
                continue
            count = len(rows)
            step = _FOLDER_ROWS if path in self.folders else _ARCHIVE_ROWS
            if path.lower().endswith((".tgz", ".gz", ".gzip")):
                step = max(count, 1)
            for start in range(0, max(count, 1), step):
                name = f"{table}-{len(splits):05d}"
                splits.append(Split(table, path, name, start, min(step, count - start)))
        return splits

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The split's files with the content of their sidecars; at least one batch."""
        rows = self._rows(split.path)[split.start : split.start + split.length]
        archive = Archive(split.path) if split.path in self.archives else None
        prefix = self.archives.get(split.path, "")
        try:
            for start in range(0, max(len(rows), 1), _BATCH_ROWS):
                made = [
                    self._raw(split.path, prefix, row, archive) for row in rows[start : start + _BATCH_ROWS]
                ]
                yield pa.RecordBatch.from_pylist(made, schema=RAW)
        finally:
            if archive is not None:
                archive.close()

    def _rows(self, path: str) -> list[Row]:
        if path in self.archives:
            return list(_archive_rows(path, storage.version(path)))
        wanted = self.folders[path]
        return _without_sidecars(wanted if wanted is not None else _walk(path))

    def _raw(self, path: str, prefix: str, row: Row, archive: Archive | None) -> dict[str, Any]:
        caption = _content(path, row.txt, archive)
        return {
            NAME: f"{prefix}/{row.name}" if prefix else row.name,
            REFERENCE: storage.join(path, row.name) if archive is None else archives.refer(path, row.name),
            CAPTION: None if caption is None else caption.decode("utf-8-sig", "replace").strip() or None,
            FACTS: _content(path, row.json, archive),
        }


def find_places(patterns: str | list[str], base: str) -> Places:
    """What paths, globs, folders and archives there are; raises SourceError where nothing is."""
    folders: dict[str, tuple[str, ...] | None] = {}
    packed: dict[str, str] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        url = storage.join(base, pattern).rstrip("/")
        found = storage.glob(url)
        if not found:
            raise SourceError(f"source.path: there is no {url}", todo="check the path")
        fixed = _MARKS.split(url)[0] if _MARKS.search(url) and url not in found else url
        root = _folder(fixed)
        if found == [url] and text.is_directory(url):
            folders[url] = None
            continue
        loose = []
        for path in found:
            below = path.removeprefix(root).lstrip("/")
            if archives.is_archive(path) and not text.is_directory(path):
                packed[path] = archives.bare(below)
            elif not text.is_directory(path):
                loose.append(below)
        if loose:
            before = folders.get(root, ())
            folders[root] = None if before is None else tuple(dict.fromkeys([*before, *loose]))
    if not folders and not packed:
        raise SourceError("source.path: nothing but folders is there", todo="name one of them without a star")
    return Places(folders, packed)


def is_picture(name: str) -> bool:
    """Whether a file is named as a picture."""
    return name.rpartition(".")[2].lower() in _PICTURES


def id_of(name: str) -> str:
    """The id of a picture: its path below what the configuration names, archives counting as folders.

    Its suffix belongs to it, since two pictures may differ in nothing else. A cover of Open Library's bulk
    archives has its number.
    """
    bulk = _BULK.search(name)
    return str(int(bulk[1])) if bulk else name


def title_of(name: str) -> str:
    """Words out of a file's name; with its folder's where the name has no letters."""
    if bulk := _BULK.search(name):
        return f"Cover {int(bulk[1])}"
    member = archives.parts_of(name)
    path = member[1] if member else name
    if "://" in path:
        path = unquote(urlsplit(path).path)
    stem = PurePosixPath(path)
    words = _words(stem.stem)
    if words and not any(mark.isalpha() for mark in words):
        words = f"{_words(stem.parent.name)} {words}".strip()
    return words


def facts(content: bytes) -> dict[str, Any] | None:
    """The object in a .json file; None where there is none."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _words(stem: str) -> str:
    return _SPACES.sub(" ", stem).strip()


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")


@lru_cache(maxsize=64)
def _archive_rows(path: str, version: str) -> tuple[Row, ...]:  # noqa: ARG001 - part of the key
    """The files of an archive; kept, since counting them and reading them are two steps."""
    archive = Archive(path)
    try:
        return tuple(_without_sidecars(member.name for member in archive.members))
    finally:
        archive.close()


def _walk(folder: str) -> list[str]:
    """All files below a folder, sorted, but hidden ones."""
    if not storage.is_local(folder):
        files, path = storage.filesystem(folder)
        below = (str(each).removeprefix(path).lstrip("/") for each in files.find(path))
        return sorted(name for name in below if not any(part.startswith(".") for part in name.split("/")))
    top = str(storage.local_path(folder))
    found = []
    for directory, inner, names in os.walk(top):
        inner[:] = [name for name in inner if not name.startswith(".")]
        place = os.path.relpath(directory, top)
        prefix = "" if place == "." else f"{place}/"
        found += [prefix + name for name in names if not name.startswith(".")]
    return sorted(found)


def _without_sidecars(names: Iterable[str]) -> list[Row]:
    """The files, each with its sidecars, which are no rows of their own.

    A sidecar has the picture's name up to its last dot, or, in webdataset's way, up to its first.
    """
    every = list(names)
    sidecars = {name for name in every if name.rpartition(".")[2].lower() in _SIDECARS}
    taken: set[str] = set()
    rows = []
    for name in every:
        beside: dict[str, str] = {}
        if sidecars and is_picture(name):
            folder, _, file = name.rpartition("/")
            prefix = f"{folder}/" if folder else ""
            for stem in (file.rpartition(".")[0], file.partition(".")[0]):
                for suffix in _SIDECARS:
                    if (candidate := f"{prefix}{stem}.{suffix}") in sidecars:
                        beside.setdefault(suffix, candidate)
            taken.update(beside.values())
        rows.append(Row(name, beside.get("txt"), beside.get("json")))
    return [row for row in rows if row.name not in taken]


def _content(path: str, name: str | None, archive: Archive | None) -> bytes | None:
    """A sidecar; raises SourceError where it is damaged, like everything that a source cannot read."""
    if name is None:
        return None
    if archive is None:
        with text.told(path), storage.open_read(storage.join(path, name)) as file:
            return file.read(_LARGEST_SIDECAR)
    try:
        return archive.read(archive.by_name[name], _LARGEST_SIDECAR)
    except archives.MemberError as error:
        raise SourceError(f"{archives.refer(path, name)}: {error.reason}", todo="fetch it again") from error
