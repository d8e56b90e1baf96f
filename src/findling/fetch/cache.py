"""Pictures that were had, by content, and what is known of each address, in one SQLite file.

A file for each picture would be simpler to look at, but millions of covers would be millions of files, and
where making one takes a millisecond it would cost more than fetching it. A write is there whole once it
returns, also after a kill, since the system holds the log (https://www.sqlite.org/wal.html); a crash of the
machine may lose the last few, and never more. For local disks: SQLite's shared memory works on no others.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from findling.errors import StorageError

FILE = "pictures.sqlite"
_VERSION = 1
_PATIENCE = 60.0
_TABLES = """
    CREATE TABLE IF NOT EXISTS pictures (sha256 BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS addresses (
        url BLOB PRIMARY KEY, at REAL NOT NULL, sha256 BLOB, etag TEXT, modified TEXT, reason TEXT,
        lasting INTEGER NOT NULL
    ) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """What is known of an address: the picture's `sha256`, or the `reason` why there is none."""

    url: str
    at: float
    sha256: bytes | None = None
    etag: str | None = None
    modified: str | None = None
    reason: str | None = None
    lasting: bool = False


class PictureCache:
    """A cache that any number of threads and processes of one machine may read and add to at once."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._lock = threading.Lock()
        with self._told():
            directory.mkdir(parents=True, exist_ok=True)
            with _alone(directory):
                self._file = sqlite3.connect(
                    self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
                )
                try:
                    self._begin()
                except BaseException:
                    self._file.close()
                    raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def find(self, url: str) -> Entry | None:
        """What is known of an address, if anything."""
        row = self._ask("SELECT * FROM addresses WHERE url = ?", _key(url))
        return _entry(row) if row else None

    def content(self, entry: Entry) -> bytes | None:
        """The bytes of an entry's picture; None where they are not there whole."""
        if entry.sha256 is None:
            return None
        row = self._ask("SELECT content FROM pictures WHERE sha256 = ?", entry.sha256)
        return row[0] if row and hashlib.sha256(row[0]).digest() == entry.sha256 else None

    def keep(self, entry: Entry, content: bytes) -> Entry:
        """Hold a picture under its address."""
        digest = hashlib.sha256(content).digest()
        if self.content(entry._replace(sha256=digest)) is None:
            self._ask("INSERT OR REPLACE INTO pictures VALUES (?, ?)", digest, content)
        return self.note(entry._replace(sha256=digest, reason=None, lasting=False))

    def note(self, entry: Entry) -> Entry:
        """Put down what is known of an address."""
        values = (_key(entry.url), *entry[1:])
        self._ask("INSERT OR REPLACE INTO addresses VALUES (?, ?, ?, ?, ?, ?, ?)", *values)
        return entry

    def failures(self) -> Iterator[Entry]:
        """The addresses without a picture, in the order of their bytes."""
        after = b""
        while True:
            with self._told(), self._lock:
                rows = self._file.execute(
                    "SELECT * FROM addresses WHERE url > ? AND reason IS NOT NULL ORDER BY url LIMIT 1000",
                    (after,),
                ).fetchall()
            yield from map(_entry, rows)
            if not rows:
                return
            after = rows[-1][0]

    def _begin(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise StorageError(
                f"{self._path} was made by another version of findling", todo="remove it, or install that one"
            )
        if not version:  # a new file, or one whose making was cut off
            self._file.execute("PRAGMA page_size = 16384")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
        self._file.execute("PRAGMA synchronous = NORMAL")

    def _ask(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        with self._told(), self._lock:
            row: tuple[Any, ...] | None = self._file.execute(statement, values).fetchone()
            return row

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            full = "full" in str(error)
            raise StorageError(
                f"the pictures' cache {self._path} cannot be used: {error}",
                todo="free some space and run it again: what was had is kept"
                if full
                else "check the folder; a damaged file can be removed, and its pictures are fetched again",
            ) from error


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Nobody else opens the cache meanwhile; the system ends it with the process, however that ends.

    SQLite waits for others at every statement but the change to a write-ahead log, which it refuses at once
    where another process is reading (https://www.sqlite.org/c3ref/busy_handler.html).
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _key(url: str) -> bytes:
    return url.encode("utf-8", "surrogatepass")


def _entry(row: tuple[Any, ...]) -> Entry:
    url, at, digest, etag, modified, reason, lasting = row
    return Entry(url.decode("utf-8", "surrogatepass"), at, digest, etag, modified, reason, bool(lasting))
