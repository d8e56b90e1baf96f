"""The snapshot: an immutable directory with a manifest, the only thing that passes from batch to online.

A snapshot is complete when its manifest is there, and whole when every file has the size and sha256 that
the manifest says.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from findling import storage
from findling.encoders.base import EncoderSpec
from findling.errors import FindlingError, SnapshotError

FORMAT = 1
MANIFEST = "manifest.json"
_STAMP = "%Y%m%dT%H%M%SZ"
_CHECKSUM = re.compile(rb'\A(\{\s*"format": \d+,\s*"checksum": ")([0-9a-f]{64})"')
_ZEROS = b"0" * 64


@dataclass(frozen=True)
class SnapshotPaths:
    """Who owns which file of a snapshot."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The description; its being there makes the snapshot complete."""
        return self.root / MANIFEST

    @property
    def documents(self) -> Path:
        """The documents in row order."""
        return self.root / "documents.arrow"

    @property
    def lexical(self) -> Path:
        """The BM25 index."""
        return self.root / "lexical"

    @property
    def probes(self) -> Path:
        """Queries with their exact answers."""
        return self.root / "probes.json"

    @property
    def versions(self) -> Path:
        """A number for each document, uint64, that changes when anything of it does."""
        return self.root / "versions.npy"

    @property
    def gone(self) -> Path:
        """Of a delta: the base's document rows that are removed or replaced, int64, ascending."""
        return self.root / "gone.npy"

    def base(self, manifest: Manifest) -> SnapshotPaths | None:
        """The whole snapshot that a delta stands on; None for a snapshot that is whole itself."""
        return SnapshotPaths(self.root.with_name(manifest.base.id)) if manifest.base else None

    def field(self, name: str) -> Path:
        """A vector field's directory, which its index fills with the index and the full vectors."""
        return self.root / "vectors" / name

    def instant(self, name: str) -> Path:
        """A vector field's instant queries; absent where there are none."""
        return self.field(name) / "instant"

    def rows(self, name: str) -> Path:
        """Which document row each vector belongs to, int64; absent where every document has a vector."""
        return self.field(name) / "rows.npy"


class InstantManifest(Struct, frozen=True, kw_only=True):
    """Instant queries as fitted; `used` says whether they find enough of the encoder's top 10 to be there."""

    method: int
    words: int
    overlap_at_10: float
    queries: str
    used: bool


class FieldManifest(Struct, frozen=True, kw_only=True):
    """A vector field as built: its encoder, under the name configured, its index, and how that measured."""

    encoder: str
    options: dict[str, Any]
    spec: EncoderSpec
    kind: str
    params: dict[str, Any]
    search: dict[str, Any]
    count: int
    bytes: int
    recall_at_10: float
    queries: str
    latency_ms: dict[str, float] = {}
    curve: list[dict[str, Any]] = []
    instant: InstantManifest | None = None


class LexicalManifest(Struct, frozen=True, kw_only=True):
    """The BM25 side as built."""

    input: list[str]
    weights: dict[str, float]
    language: str


class BaseManifest(Struct, frozen=True, kw_only=True):
    """The whole snapshot that a delta stands on, and how many documents the delta changes of it."""

    id: str
    checksum: str
    added: int
    replaced: int
    removed: int


class FileManifest(Struct, frozen=True):
    """What a file must be."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """All that is known of a snapshot; `digest` names its content, whenever and wherever it was built.

    `shape` names the settings and encoders that made it: a delta may stand on a snapshot of its own shape.
    With a `base`, documents, vectors and words are only what differs from that snapshot. `checksum` is the
    sha256 of manifest.json itself, taken with zeros in the place of its 64 digits.
    """

    format: int = FORMAT
    checksum: str = ""
    id: str
    digest: str
    collection: str
    created: str
    findling: str
    source: dict[str, Any]
    where: str
    title: str
    columns: list[str]
    facets: list[str]
    picture: str | None
    fields: dict[str, FieldManifest]
    lexical: LexicalManifest | None
    recall: float
    latency_ms: float | None = None
    records: dict[str, Any]
    documents: int
    shape: str = ""
    store: str = "arrow"
    store_options: dict[str, Any] = {}
    base: BaseManifest | None = None
    files: dict[str, FileManifest] = {}


class Probe(Struct, frozen=True, kw_only=True):
    """A question whose answer is known: the exact neighbours of a document in a vector field."""

    part: str
    like: str
    ids: list[str]


def new_id(digest: str, now: datetime.datetime, after: str = "") -> str:
    """A snapshot's id: when it was built, to sort by, and of what; it sorts behind the id `after`."""
    identity = f"{now:{_STAMP}}-{digest[:8]}"
    if identity > after:
        return identity
    # Two builds in one second, or a clock that was set back.
    then = datetime.datetime.strptime(after.partition("-")[0], _STAMP).replace(tzinfo=datetime.UTC)
    return f"{then + datetime.timedelta(seconds=1):{_STAMP}}-{digest[:8]}"


def seal(aside: Path, manifest: Manifest) -> Manifest:
    """Complete a directory that is filled: sizes and checksums of all files, then the manifest."""
    files = {
        str(path.relative_to(aside)): FileManifest(path.stat().st_size, storage.sha256(path))
        for path in sorted(aside.rglob("*"))
        if path.is_file()
    }
    sealed = msgspec.structs.replace(manifest, files=files, checksum=_ZEROS.decode())
    content = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
    checksum = hashlib.sha256(content).hexdigest()
    SnapshotPaths(aside).manifest.write_bytes(_CHECKSUM.sub(rb'\g<1>%s"' % checksum.encode(), content))
    _open_to_readers(aside, files)
    return msgspec.structs.replace(sealed, checksum=checksum)


def _open_to_readers(aside: Path, files: Iterable[str]) -> None:
    """Give all files the permissions of a file made here; some libraries make theirs for the owner alone."""
    usual = SnapshotPaths(aside).manifest.stat().st_mode & 0o777
    for name in files:
        (aside / name).chmod(usual)


def read_manifest(root: Path) -> Manifest:
    """The manifest in a directory; raises SnapshotError where it is missing, damaged or of another format."""
    path = SnapshotPaths(root).manifest
    return parse_manifest(path.read_bytes() if path.is_file() else b"", str(root))


def parse_manifest(content: bytes, at: str) -> Manifest:
    """A manifest's content; `at` names the snapshot in errors."""
    if not content:
        raise SnapshotError(f"{at} is not a complete snapshot: {MANIFEST} is missing", todo="build again")
    try:
        found = json.loads(content).get("format")
        if found != FORMAT:
            raise SnapshotError(
                f"{at}: {MANIFEST} has snapshot format {found!r}, this findling reads {FORMAT}",
                todo="build it again",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (ValueError, AttributeError, RecursionError, msgspec.ValidationError) as error:
        raise SnapshotError(f"{at}: {MANIFEST} is damaged: {error}", todo="build again") from None
    whole = hashlib.sha256(_CHECKSUM.sub(rb'\g<1>%s"' % _ZEROS, content)).hexdigest()
    if whole != manifest.checksum:
        raise SnapshotError(
            f"{at}: {MANIFEST} is damaged: it has sha256 {whole[:12]}…, it says {manifest.checksum[:12]}…",
            todo="run 'findling rollback', or build again",
        )
    astray = [name for name in manifest.files if name.startswith("/") or ".." in name.split("/")]
    if astray:
        raise SnapshotError(f"{at}: {MANIFEST} names {astray[0]!r}, which is no part of it")
    return manifest


def verify(root: Path, told: Callable[[int], object] = bool, *, remember: bool = True) -> Manifest:
    """Read every file; raises SnapshotError naming the first that is not what the manifest says.

    `told` hears of the size of each file that was read; with `remember`, `check` knows of it later.
    """
    manifest = read_manifest(root)
    _check_files(root, manifest)
    for name, wanted in manifest.files.items():
        found = storage.sha256(root / name)
        if found != wanted.sha256:
            raise SnapshotError(
                f"snapshot {manifest.id} is damaged: {name} has sha256 {found[:12]}…, "
                f"the manifest says {wanted.sha256[:12]}…",
                todo="run 'findling rollback', or build again",
            )
        told(wanted.size)
    if manifest.base:
        _fits(manifest, verify(root.with_name(manifest.base.id), told, remember=remember))
    if remember:
        _remember(root, manifest)
    return manifest


def check(root: Path) -> Manifest:
    """`verify`, but for files that have not been touched since they were last verified here."""
    manifest = read_manifest(root)
    _check_files(root, manifest)
    if manifest.base:
        _fits(manifest, check(root.with_name(manifest.base.id)))
    with contextlib.suppress(OSError, ValueError):
        if json.loads(_memory(root).read_text()) == _touched(root, manifest):
            return manifest
    return verify(root)


def _fits(manifest: Manifest, base: Manifest) -> None:
    if manifest.base and base.checksum != manifest.base.checksum:
        raise SnapshotError(
            f"snapshot {manifest.id} stands on another {base.id} than is there", todo="build it again"
        )


def open_gone(paths: SnapshotPaths) -> NDArray[np.int64]:
    """Of a delta: the base's document rows that nothing may find any more, ascending."""
    found: NDArray[np.int64] = np.load(paths.gone, allow_pickle=False)
    return found


def open_rows(paths: SnapshotPaths, field: str) -> NDArray[np.int64] | None:
    """The document row of each of a field's vectors, mapped; None where it is the same."""
    path = paths.rows(field)
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None


def write_probes(paths: SnapshotPaths, probes: list[Probe]) -> None:
    """Write the probes of a snapshot that is being filled."""
    paths.probes.write_bytes(msgspec.json.format(msgspec.json.encode(probes), indent=1))


def read_probes(paths: SnapshotPaths) -> list[Probe]:
    """The probes of a snapshot."""
    return msgspec.json.decode(paths.probes.read_bytes(), type=list[Probe])


@contextlib.contextmanager
def complaining_of(manifest: Manifest) -> Iterator[None]:
    """Failures of the libraries that open a snapshot's files, told as the snapshot's."""
    try:
        yield
    except FindlingError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise SnapshotError(
            f"snapshot {manifest.id} cannot be opened: {error}", todo="run 'findling verify'"
        ) from error


def _check_files(root: Path, manifest: Manifest) -> None:
    for name, wanted in manifest.files.items():
        path = root / name
        found = path.stat().st_size if path.is_file() else None
        if found != wanted.size:
            what = "is missing" if found is None else f"has {found} bytes, the manifest says {wanted.size}"
            raise SnapshotError(
                f"snapshot {manifest.id} is damaged: {name} {what}",
                todo="run 'findling rollback', or build again",
            )


def _memory(root: Path) -> Path:
    """Where it is noted, beside the snapshot, that its files were whole when they looked as they do."""
    return root.with_name(f".{root.name}.verified")


def _touched(root: Path, manifest: Manifest) -> dict[str, list[int]]:
    stats = {name: (root / name).stat() for name in [MANIFEST, *manifest.files]}
    return {n: [s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for n, s in stats.items()}


def _remember(root: Path, manifest: Manifest) -> None:
    # A read-only home only means that the next opening verifies again.
    with contextlib.suppress(OSError, FindlingError):
        storage.write_bytes(str(_memory(root)), json.dumps(_touched(root, manifest)).encode())
