"""A delta: a small snapshot on top of a large one, so that a daily update is published in seconds.

It holds the documents that are new or changed, and which of the base's are gone. The base's index stays as
it is and a small exact one stands beside it; the base's words are kept and its documents marked as gone. A
delta always stands on a whole snapshot, never on another delta, so it grows until a full build folds it in.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import findling
from findling import registry, snapshot, storage, versions, writer
from findling.catalog import Catalog
from findling.errors import FindlingError
from findling.indexes.base import Index
from findling.indexes.scan import score
from findling.lexical import Lexical
from findling.snapshot import BaseManifest, FieldManifest, Manifest, Probe, SnapshotPaths
from findling.stores.mapped import open_documents
from findling.writer import Draft

LARGEST = 0.1  # of the base's documents; a larger delta is folded in by a full build


@dataclass(frozen=True)
class Changes:
    """What differs between a draft's documents and a whole snapshot.

    `fresh` (documents,) says which documents the delta holds, `gone` which rows the base has lost.
    """

    base: Manifest
    paths: SnapshotPaths
    fresh: NDArray[np.bool_]
    gone: NDArray[np.int64]
    replaced: int

    @property
    def told(self) -> BaseManifest:
        """The changes as a manifest tells them."""
        added = int(self.fresh.sum()) - self.replaced
        removed = len(self.gone) - self.replaced
        checksum = self.base.checksum
        return BaseManifest(
            id=self.base.id, checksum=checksum, added=added, replaced=self.replaced, removed=removed
        )


def compare(draft: Draft, home: Catalog) -> Changes | str:
    """How the draft differs from what is published, or in words why no delta can tell it."""
    current = home.current()
    if current is None:
        return "nothing is published yet"
    try:
        newest = home.manifest(current)
        base = home.manifest(newest.base.id) if newest.base else newest
        paths = SnapshotPaths(home.local(base.id))
        snapshot.check(paths.root)
    except FindlingError as error:
        return error.what
    if base.shape != writer.shape_digest(draft):
        return "settings or encoders have changed"
    changes = _compared(draft, base, paths)
    if len(changes.gone) + int(changes.fresh.sum()) > LARGEST * base.documents:
        return f"more than {LARGEST:.0%} of {base.documents:,} documents have changed since {base.id}"
    return changes


def _compared(draft: Draft, base: Manifest, paths: SnapshotPaths) -> Changes:
    known = open_documents(paths.documents).column("id").cast(pa.large_string())
    before = np.load(paths.versions, mmap_mode="r", allow_pickle=False)
    now = versions.of(draft.documents(), draft.pictures(), draft.settings.base)
    ids = [batch.column("id").cast(pa.large_string()) for batch in draft.documents()]
    found = pc.index_in(pa.chunked_array(ids, pa.large_string()), value_set=known)
    rows = found.fill_null(-1).to_numpy().astype(np.int64)
    there = rows >= 0
    same = there.copy()
    same[there] = before[rows[there]] == now[there]
    kept = np.zeros(base.documents, np.bool_)
    kept[rows[same]] = True
    return Changes(base, paths, ~same, np.flatnonzero(~kept), int((there & ~same).sum()))


def write(draft: Draft, home: Catalog, changes: Changes) -> Manifest:
    """Write the changes as a snapshot on their base, or find that this very state is there already."""
    small = _fresh_only(draft, changes)
    digest = _digest(small, changes)
    if not small.count and not len(changes.gone):
        draft.progress.say(f"nothing changed: {changes.base.id} holds exactly this")
        return changes.base
    if known := writer.same_as(draft, home, digest):
        return known
    now = datetime.datetime.now(datetime.UTC)
    identity = snapshot.new_id(digest, now, after=max(home.ids(), default=""))
    with storage.stage_directory(home.path(identity), last=snapshot.MANIFEST) as aside:
        paths = SnapshotPaths(aside)
        writer.write_documents(small, paths)
        np.save(paths.gone, changes.gone)
        _write_lexical(small, changes, paths)
        fields = {name: _write_field(small, changes, paths, name) for name in draft.encoders}
        snapshot.write_probes(paths, list(_probes(changes, paths)))
        manifest = msgspec.structs.replace(
            changes.base,
            id=identity,
            digest=digest,
            created=now.isoformat(timespec="seconds"),
            findling=findling.__version__,
            records=draft.records,
            documents=draft.count,
            fields=fields,
            base=changes.told,
        )
        return snapshot.seal(aside, manifest)


def _fresh_only(draft: Draft, changes: Changes) -> Draft:
    def documents() -> Iterator[pa.RecordBatch]:
        at = 0
        for batch in draft.documents():
            part = changes.fresh[at : at + batch.num_rows]
            if part.any():
                yield batch.filter(pa.array(part))
            at += batch.num_rows

    return dataclasses.replace(
        draft, documents=documents, count=int(changes.fresh.sum()), is_delta=True, seconds={}
    )


def _digest(small: Draft, changes: Changes) -> str:
    digest = hashlib.sha256(changes.base.checksum.encode())
    digest.update(changes.gone.tobytes())
    digest.update(writer.digest_of(small).encode())
    return digest.hexdigest()


def _write_lexical(small: Draft, changes: Changes, paths: SnapshotPaths) -> None:
    if changes.base.lexical is not None:
        texts = writer.lexical_texts(small, list(changes.base.lexical.weights))
        Lexical.extend(changes.paths.lexical, paths.lexical, changes.gone.tolist(), texts)


def _write_field(small: Draft, changes: Changes, paths: SnapshotPaths, name: str) -> FieldManifest:
    """The fresh documents' vectors in an exact index; what was measured of the base's still holds."""
    directory = paths.field(name)
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=small.workspace, prefix="gather-") as aside:
        vectors = writer.gather(small, paths, name, Path(aside) / "vectors.npy")
        with writer.naming_documents(paths, name):
            registry.load("index", "exact").build(vectors, directory, {})
        many = len(vectors)
    known, rows = changes.base.fields[name], snapshot.open_rows(changes.paths, name)
    lost = len(changes.gone) if rows is None else int(np.isin(rows, changes.gone).sum())
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return msgspec.structs.replace(known, count=known.count - lost + many, bytes=known.bytes + size)


def _probes(changes: Changes, paths: SnapshotPaths) -> Iterator[Probe]:
    """The base's questions, answered anew by what is left of each answer and by the delta."""
    old, new = open_documents(changes.paths.documents), open_documents(paths.documents)
    gone = {int(row) for row in changes.gone}
    opened: dict[str, tuple[Index, Index, NDArray[np.int64] | None, NDArray[np.int64] | None]] = {}
    for probe in snapshot.read_probes(changes.paths):
        if old.row_of(probe.like) in gone:
            continue
        if probe.part not in opened:
            first = registry.load("index", changes.base.fields[probe.part].kind)
            opened[probe.part] = (
                first.open(changes.paths.field(probe.part)),
                registry.load("index", "exact").open(paths.field(probe.part)),
                snapshot.open_rows(changes.paths, probe.part),
                snapshot.open_rows(paths, probe.part),
            )
        first, second, first_rows, second_rows = opened[probe.part]
        left = [name for name in probe.ids if old.row_of(name) not in gone]
        places = _places([old.row_of(name) for name in [probe.like, *left]], first_rows)
        vector = np.asarray(first.vectors[places[:1]], np.float32)
        answers = list(zip(score(first.vectors, places[1:], vector[0]).tolist(), left, strict=True))
        rows, scores = second.search(vector, max(len(left), 1), {})
        for row, value in zip(rows[0].tolist(), scores[0].tolist(), strict=True):
            if row >= 0:
                answers += [(value, *new.ids([row if second_rows is None else int(second_rows[row])]))]
        answers.sort(key=lambda answer: -answer[0])
        yield Probe(part=probe.part, like=probe.like, ids=[name for _, name in answers[: len(left)]])


def _places(rows: list[int | None], of: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Where the vectors of some documents stand."""
    wanted = np.array(rows, np.int64)
    return wanted if of is None else np.searchsorted(of, wanted)
