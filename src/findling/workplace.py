"""A build's work directory: what its stages leave, under a name that tells what it was made from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import findling
from findling import config, storage
from findling.catalog import Catalog
from findling.config import Settings
from findling.engines.base import Shards
from findling.errors import StorageError
from findling.sources.base import Split

DOCUMENTS, RECORDS = "documents", "records.json"


@dataclass(frozen=True)
class Workplace:
    """One directory for one input: another file, filter or column makes another."""

    path: Path

    def at(self, *names: str) -> str:
        """A path below the work directory."""
        return str(self.path.joinpath(*names))

    @property
    def documents(self) -> Shards:
        """The documents, sorted by id, each id once."""
        return Shards(self.at(DOCUMENTS))

    def records(self) -> dict[str, Any] | None:
        """The counts of a finished extract stage; None where it is not finished."""
        path = self.path / RECORDS
        return json.loads(path.read_text()) if path.exists() else None

    def finish(self, records: Mapping[str, Any]) -> None:
        """Mark the extract stage as finished, and drop what only led there."""
        storage.write_bytes(self.at(RECORDS), json.dumps(records).encode())
        for path in self.path.iterdir():
            if path.name not in {DOCUMENTS, RECORDS}:
                shutil.rmtree(path, ignore_errors=True)

    def tidy(self) -> None:
        """Remove the work of builds over other input, and of this one all but its documents."""
        for path in self.path.parent.iterdir():
            if path.is_dir() and path != self.path:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.path.iterdir():
            if path.is_dir() and path.name != DOCUMENTS:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def workplace(
    settings: Settings, catalog: Catalog, splits: list[Split], limit: int | None
) -> Iterator[Workplace]:
    """The work directory of a build, held by this process alone until the block ends."""
    base = _base(catalog)
    storage.make_directory(str(base))
    with _held(base / "lock", settings.collection):
        work = Workplace(base / _fingerprint(settings, splits, limit))
        storage.make_directory(str(work.path))
        yield work


def _base(catalog: Catalog) -> Path:
    if storage.is_local(catalog.root):
        return storage.local_path(catalog.root) / "work"
    return config.user_cache() / "work" / hashlib.sha256(catalog.root.encode()).hexdigest()[:16]


def _fingerprint(settings: Settings, splits: list[Split], limit: int | None) -> str:
    """A name for all that decides which documents come out."""
    made_from = {
        "findling": findling.__version__,
        "source": settings.source,
        "where": settings.filter.where,
        "columns": needed_columns(settings),
        "limit": limit,
        "splits": [[split.table, split.path, split.start, split.length] for split in splits],
        "versions": {path: storage.version(path) for path in sorted({s.path for s in splits if s.path})},
    }
    return hashlib.sha256(msgspec.json.encode(made_from, order="sorted")).hexdigest()[:16]


def needed_columns(settings: Settings) -> list[str]:
    """The columns that anything downstream reads, `id` first."""
    inputs = [name for field in settings.vectors.values() for name in field.input]
    images = [field.image for field in settings.vectors.values() if field.image]
    lexical = settings.lexical.input if settings.lexical else []
    return list(dict.fromkeys(["id", *settings.document.columns, *inputs, *images, *lexical]))


@contextlib.contextmanager
def _held(path: Path, collection: str) -> Iterator[None]:
    """A lock that the operating system lets go when its holder dies."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"another build of {collection!r} is running", todo="wait until it is done"
            ) from None
        yield
