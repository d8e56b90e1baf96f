"""The build's index stage: documents and vectors in, a sealed snapshot out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling import config, delta, writer
from findling.catalog import Catalog
from findling.config import Settings
from findling.embeddings import Embeddings
from findling.encoders.base import Encoder
from findling.engines.local import Local
from findling.engines.texts import vectors_of
from findling.errors import SourceError
from findling.progress import Progress
from findling.snapshot import Manifest
from findling.steps import EmbedStep
from findling.workplace import Workplace


@dataclass(frozen=True)
class Indexing:
    """What the stage works with; `incremental` writes only what differs from what is published."""

    settings: Settings
    catalog: Catalog
    encoders: Mapping[str, Encoder]
    work: Workplace
    local: Local
    incremental: bool
    progress: Progress

    def write(self, records: dict[str, Any], seconds: dict[str, float]) -> Manifest:
        """The snapshot of what was extracted, with the counts of its `records`; `seconds` learns the times.

        Raises SourceError where no document was kept.
        """
        documents, root = self.work.documents, self.catalog.root
        if not documents.count():
            why = ", ".join(f"{count:,} {reason}" for reason, count in records["dropped"].items())
            raise SourceError(
                f"no document was kept of {records['read']} records, so there is nothing to search",
                todo=f"look at why they were dropped: {why}" if why else "check the path in [source]",
            )
        draft = writer.Draft(
            settings=self.settings,
            documents=documents.batches,
            count=documents.count(),
            encoders=self.encoders,
            embeddings={n: Embeddings.of(root, n, e.spec.id) for n, e in self.encoders.items()},
            records=records,
            workspace=self.work.scratch(),
            progress=self.progress,
            embed_queries=functools.partial(_embed_queries, self),
            seconds=seconds,
        )
        if self.incremental:
            changes = delta.compare(draft, self.catalog)
            if isinstance(changes, delta.Changes):
                return delta.write(draft, self.catalog, changes)
            self.progress.say(f"a full build: {changes}")
        caches = {name: cache.version() for name, cache in draft.embeddings.items()}
        shape = writer.shape_of(self.settings, self.encoders)
        made_from = [shape, self.work.documents_version(), caches]
        digest = self.work.recall("index", made_from) or writer.digest_of(draft)
        self.work.remember("index", made_from, digest)
        return writer.write(draft, self.catalog, digest)


def _embed_queries(stage: Indexing, name: str, queries: list[str]) -> NDArray[np.float16]:
    """Vectors of queries, (n, dim), through a cache of their own: a prefix may set them apart from texts."""
    options, spec = stage.settings.vectors[name], stage.encoders[name].spec
    cache = Embeddings.of(stage.catalog.root, name, f"{spec.id}-queries")
    step = EmbedStep(options.encoder, options.options, config.models_cache(), "query")
    return vectors_of(stage.local, cache, step, queries, f"embed queries of {name}", spec.dim)


def told(manifest: Manifest, seconds: dict[str, float]) -> dict[str, dict[str, Any]]:
    """What a build tells of each field's index; its time moves here from `seconds`."""
    return {
        name: {
            "kind": built.kind,
            "params": {**built.params, **built.search},
            "bytes": built.bytes,
            "seconds": round(seconds.pop(f"index {name}", 0.0), 3),
            "recall_at_10": built.recall_at_10,
        }
        for name, built in manifest.fields.items()
    }
