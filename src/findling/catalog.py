"""The snapshots of a collection: which there are, which is CURRENT, and the moves of it."""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from findling import config, snapshot, storage
from findling.errors import NotFound, SnapshotError, StorageError
from findling.indexes import measure, milvus_collection
from findling.snapshot import MANIFEST, Manifest, SnapshotPaths


@dataclass(frozen=True)
class Catalog:
    """The snapshots of one collection below a home directory or URL."""

    home: str
    collection: str

    @classmethod
    def of(cls, settings: config.Settings) -> Catalog:
        """The catalog that a configuration speaks of."""
        return cls(storage.join(settings.base, settings.home), settings.collection)

    @property
    def root(self) -> str:
        """The collection's directory."""
        return storage.join(self.home, self.collection)

    def path(self, identity: str) -> str:
        """Where a snapshot is, or will be."""
        return storage.join(self.root, "snapshots", identity)

    def ids(self) -> list[str]:
        """The complete snapshots, oldest first."""
        names = storage.listing(storage.join(self.root, "snapshots"))
        return [
            name
            for name in names
            if not name.startswith(".") and storage.exists(storage.join(self.path(name), MANIFEST))
        ]

    def manifest(self, identity: str) -> Manifest:
        """A snapshot's description, without looking at its files."""
        if identity not in self.ids():
            raise NotFound(
                f"collection {self.collection!r} has no snapshot {identity!r}",
                todo=f"there are: {', '.join(self.ids()) or 'none; run findling build'}",
            )
        content = storage.read_bytes(storage.join(self.path(identity), MANIFEST))
        return snapshot.parse_manifest(content, identity)

    def current(self) -> str | None:
        """The id of the published snapshot, if any."""
        url = storage.join(self.root, "CURRENT")
        if not storage.exists(url):
            return None
        return storage.read_bytes(url).decode(errors="replace").strip() or None

    def local(self, identity: str | None = None) -> Path:
        """A snapshot's directory on this machine, complete; from a remote home it is fetched once.

        Raises NotFound where none is published, SnapshotError where files do not fit their manifest.
        """
        identity = identity or self.current()
        if identity is None:
            raise NotFound(
                f"collection {self.collection!r} has nothing published", todo="run: findling build"
            )
        manifest = self.manifest(identity)
        url = self.path(identity)
        if storage.is_local(url):
            return storage.local_path(url)
        if manifest.base:
            self.local(manifest.base.id)
        below = hashlib.sha256(self.root.encode()).hexdigest()[:16]
        kept = config.user_cache() / "snapshots" / below / identity
        if not (kept / MANIFEST).exists():
            self._fetch(manifest, kept)
        return kept

    def _fetch(self, manifest: Manifest, kept: Path) -> None:
        """Bring a remote snapshot to the directory `kept`, and let go those that are no longer there."""
        url = self.path(manifest.id)
        try:
            with storage.stage_directory(str(kept), last=MANIFEST) as aside:
                for name in [*manifest.files, MANIFEST]:
                    storage.fetch(storage.join(url, name), aside / name)
                snapshot.verify(aside, remember=False)
        except StorageError:
            # Another process may have brought it here in the meantime.
            if not (kept / MANIFEST).exists():
                raise
        there = self.ids()
        for old in storage.listing(str(kept.parent)):
            if not old.startswith(".") and old not in there:
                storage.remove(str(kept.parent / old))

    def publish(self, identity: str) -> Manifest:
        """Make a snapshot CURRENT; refused when a file is damaged, or recall or latency miss a target."""
        self.manifest(identity)
        manifest = snapshot.verify(self.local(identity))
        for name, field in manifest.fields.items():
            if field.recall_at_10 < manifest.recall:
                raise SnapshotError(
                    f"snapshot {identity} is not published: recall@10 of {name!r} is "
                    f"{field.recall_at_10:.3f}, under the target {manifest.recall:g}",
                    todo='lower index.recall or let index.kind be "exact"',
                )
            if field.latency_ms and field.latency_ms["p95"] > (manifest.latency_ms or math.inf):
                near = measure.nearest(field.curve, manifest.recall, manifest.latency_ms)
                raise SnapshotError(
                    f"snapshot {identity} is not published: 95% of the searches of {name!r} take up to "
                    f"{field.latency_ms['p95']:.3g} ms, over the target {manifest.latency_ms:g}",
                    todo=f"change index.latency_ms or index.recall; the nearest: {near}",
                )
        paths = SnapshotPaths(self.local(identity))
        for name in manifest.fields:
            milvus_collection.follow((paths.base(manifest) or paths).field(name), self.collection, name)
        storage.write_bytes(storage.join(self.root, "CURRENT"), f"{identity}\n".encode())
        return manifest

    def rollback(self) -> Manifest:
        """Publish the newest snapshot that is older than the current one."""
        current = self.current()
        older = [identity for identity in self.ids() if current is not None and identity < current]
        if not older:
            raise SnapshotError(
                f"there is no snapshot older than {current or 'none'} to go back to",
                todo="see: findling status",
            )
        return self.publish(older[-1])

    def prune(self, keep: int = 3) -> list[str]:
        """Remove all but the newest `keep` snapshots, the current one, and what deltas among them stand on.

        Returns what went.
        """
        ids = self.ids()
        staying = {identity for identity in ids if identity == self.current()} | {*ids[-keep:]}
        staying |= {base for identity in staying if (base := self._base_of(identity))}
        going = [identity for identity in ids if identity not in staying]
        for identity in going:
            for about in self._held_by_milvus(identity):
                milvus_collection.drop(about)
        for identity in going:
            # Without its manifest a snapshot is no longer one, whatever interrupts the rest.
            storage.remove(storage.join(self.path(identity), MANIFEST))
            storage.remove(self.path(identity))
            storage.remove(storage.join(self.root, "snapshots", f".{identity}.verified"))
        self.sweep()
        return going

    def _base_of(self, identity: str) -> str | None:
        with contextlib.suppress(SnapshotError):  # a damaged one holds nothing
            base = self.manifest(identity).base
            return base.id if base else None
        return None

    def _held_by_milvus(self, identity: str) -> list[milvus_collection.About]:
        """The collections that a snapshot alone has in Milvus."""
        below = storage.join(self.path(identity), "vectors")
        with contextlib.suppress(SnapshotError):
            fields = self.manifest(identity).fields
            files = [storage.join(below, name, milvus_collection.ABOUT) for name in fields]
            return [
                milvus_collection.told(storage.read_bytes(file)) for file in files if storage.exists(file)
            ]
        return []

    def sweep(self) -> None:
        """Remove what killed builds left aside; what a running one writes stays."""
        storage.sweep(storage.join(self.root, "snapshots"))
