"""The live collections: each answers from one snapshot, and moves to the next without a pause.

CURRENT is watched. A new snapshot is opened aside, checked, probed and warmed; then one reference is
swapped, and the old one closes when its last request is done. Whatever fails on the way, the old one stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from findling.catalog import Catalog
from findling.config import Settings
from findling.encoders.queries import QueryVectors
from findling.errors import FindlingError, NotFound, SnapshotError
from findling.searcher import Searcher
from findling.serve.batcher import together

_log = logging.getLogger("findling.serve")
WATCH_SECONDS = 1.0


@dataclass
class Collection:
    """One collection being served."""

    settings: Settings
    models: Path
    _searcher: Searcher | None = None
    _refused: str | None = None
    _kept: QueryVectors = field(default_factory=QueryVectors)
    _swap: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """What it is called in URLs."""
        return self.settings.collection

    @property
    def searcher(self) -> Searcher:
        """Who answers now; keep the reference for the whole of a request. Raises until one is ready."""
        if self._searcher is None:
            error = SnapshotError(f"collection {self.name!r} is still opening", todo="try again in a moment")
            error.status = 503
            raise error
        return self._searcher

    @property
    def ready(self) -> bool:
        """Whether a snapshot has passed its probes and answers."""
        return self._searcher is not None

    def refresh(self, force: bool = False) -> bool:
        """Move to the snapshot that CURRENT names, if it is another; returns whether it moved.

        Raises FindlingError where the new one cannot be used; the old one then still answers. A snapshot
        that was refused is tried again only with `force`.
        """
        with self._swap:
            catalog = Catalog.of(self.settings)
            wanted = catalog.current()
            now = self._searcher.manifest.id if self._searcher else None
            if wanted == now or (wanted == self._refused and not force):
                return False
            try:
                searcher = Searcher.open(catalog.local(wanted), self.settings.rank, self.models, self._kept)
                searcher.probe()
                searcher.warm()
                searcher.together = together(searcher)
            except FindlingError:
                self._refused = wanted
                raise
            self._searcher, self._refused = searcher, None
            _log.info("%s: now answering from %s", self.name, searcher.manifest.id)
            return True


class Watcher:
    """A thread that keeps collections at their CURRENT.

    `asked` tells how often anyone asked for a reload, of whichever worker: then it also looks again at
    snapshots that it has refused.
    """

    def __init__(
        self, collections: list[Collection], asked: Callable[[], int], seconds: float = WATCH_SECONDS
    ) -> None:
        self._collections = collections
        self._asked = asked
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="findling-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look that is under way."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        before = self._asked()
        while not self._stop.wait(self._seconds):
            now = self._asked()
            force, before = now != before, now
            for collection in self._collections:
                try:
                    collection.refresh(force)
                except FindlingError as error:
                    _log.error("%s: %s", collection.name, error)


def find(collections: list[Collection], name: str) -> Collection:
    """A collection by name; raises NotFound."""
    for collection in collections:
        if collection.name == name:
            return collection
    raise NotFound(
        f"there is no collection {name!r}", todo=f"known are {', '.join(c.name for c in collections)}"
    )
