"""A build's work directory: what its stages leave, under a name that tells what it was made from."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
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
_SCRATCH = "scratch"


@dataclass(frozen=True)
class Workplace:
    """One directory for one input: another file, filter or column makes another.

    `shared` is a directory or URL of the chosen engine, where all its workers can read and write.
    """

    path: Path
    shared: str

    def at(self, *names: str) -> str:
        """A path below the work directory."""
        return str(self.path.joinpath(*names))

    def passing(self, name: str) -> str:
        """Where the engine leaves what only leads to something else."""
        return storage.join(self.shared, name)

    def made_from(self, name: str, what: Any) -> str:
        """The same for what is made from the documents and `what`."""
        return self.passing(f"{name}-{_named(what)}")

    def offered(self) -> Shards:
        """The documents where the engine's workers can read them."""
        if storage.is_local(self.shared):
            return self.documents
        out = self.made_from(DOCUMENTS, self.documents_version())
        if not storage.exists(out):
            with storage.stage_directory(out, last="part.parquet") as aside:
                for file in self.documents.files():
                    shutil.copy(file, aside / Path(file).name)
        return Shards(out)

    def scratch(self) -> Path:
        """A directory for what only a running build needs."""
        path = self.path / _SCRATCH
        path.mkdir(exist_ok=True)
        return path

    def documents_version(self) -> list[list[str]]:
        """What changes when the documents do."""
        return [[file, storage.version(file)] for file in self.documents.files()]

    @property
    def documents(self) -> Shards:
        """The documents, sorted by id, each id once."""
        return Shards(self.at(DOCUMENTS))

    def records(self) -> dict[str, Any] | None:
        """The counts of a finished extract stage; None where it is not finished."""
        path = self.path / RECORDS
        finished = path.exists() and (self.path / DOCUMENTS).is_dir()
        return json.loads(path.read_text()) if finished else None

    def begin(self, streams: list[str]) -> None:
        """Drop what an unfinished extract left of other streams: they held the same rows otherwise cut."""
        if streams and not self.recall("streams", streams):
            self._empty()
            self.remember("streams", streams, True)

    def finish(self, records: Mapping[str, Any]) -> None:
        """Mark the extract stage as finished, and drop what only led there."""
        storage.write_bytes(self.at(RECORDS), json.dumps(records).encode())
        self._empty()

    def remember(self, stage: str, made_from: Any, result: Any) -> None:
        """Note what a stage gave, and all that decided it."""
        note = {"made_from": _named(made_from), "result": result}
        storage.write_bytes(self.at(f"{stage}.json"), json.dumps(note).encode())

    def recall(self, stage: str, made_from: Any) -> Any:
        """What a stage gave when it was made from just this; None where that is not known."""
        path = self.path / f"{stage}.json"
        note = json.loads(path.read_text()) if path.exists() else {}
        return note.get("result") if note.get("made_from") == _named(made_from) else None

    def tidy(self) -> None:
        """Remove the work of builds over other input, and of this one all but its documents."""
        for path in self.path.parent.iterdir():
            if path.is_dir() and path != self.path:
                shutil.rmtree(path, ignore_errors=True)
        self._empty()

    def _empty(self) -> None:
        if not storage.is_local(self.shared):
            storage.remove(self.shared)
        for path in self.path.iterdir():
            if path.is_dir() and path.name != DOCUMENTS:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def workplace(
    settings: Settings, catalog: Catalog, splits: list[Split], limit: int | None, engine: str = "local"
) -> Iterator[Workplace]:
    """The work directory of a build, held by this process alone until the block ends.

    Engines cut work in their own ways, so each has its own place for what is under way.
    """
    base = _base(catalog)
    storage.make_directory(str(base))
    with _held(base / "lock", settings.collection):
        name = _fingerprint(settings, splits, limit)
        away = engine != "local" and not storage.is_local(catalog.root)
        shared = storage.join(catalog.root, "work", name, engine) if away else str(base / name / engine)
        work = Workplace(base / name, shared)
        storage.make_directory(str(work.path))
        _clear_up(catalog, work)
        yield work


def _clear_up(catalog: Catalog, work: Workplace) -> None:
    """Remove what a killed build was in the middle of; whatever was whole stays and is used."""
    catalog.sweep()
    for url in (catalog.root, storage.join(catalog.root, "failures")):
        storage.sweep(url)
    for directory in _directories(work.path) | _caches(catalog):
        storage.sweep(str(directory))
    shutil.rmtree(work.path / _SCRATCH, ignore_errors=True)


def _directories(path: Path) -> set[Path]:
    return {Path(directory) for directory, _, _ in os.walk(path)}


def _caches(catalog: Catalog) -> set[Path]:
    """The directories of embeddings, where they are on this machine."""
    local = storage.is_local(catalog.root)
    return set((storage.local_path(catalog.root) / "embeddings").glob("*/*")) if local else set()


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
        "splits": [[split.table, _place(split), split.start, split.length] for split in splits],
        "versions": {_place(split): _version(split) for split in splits if split.path},
    }
    return _named(made_from)


def _place(split: Split) -> str:
    """Where a split reads, by a name that stays; a stream has another each time."""
    return split.name if split.version else split.path


def _version(split: Split) -> str:
    return split.version or storage.version(split.path)


def _named(made_from: Any) -> str:
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
