"""Pictures that were had, on disk by content, and what is known of each address beside them.

    pictures/ab/<sha256>      the bytes as they came
    addresses/ab/<sha256>     JSON: the address, its picture or why there is none, ETag, when

Both appear under their names when whole, the picture first: a killed run has either had a picture or not. A
crash of the machine may leave empty files, since nothing is synced; content that does not fit its hash is
as good as not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from findling.errors import StorageError

_STALE = 3600.0


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an address: the picture's `sha256`, or the `reason` why there is none."""

    url: str
    at: float
    sha256: str | None = None
    etag: str | None = None
    modified: str | None = None
    reason: str | None = None
    lasting: bool = False


class PictureCache:
    """A directory of pictures that any number of processes may read and add to at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._staging = directory / "staging"
        with _told(directory):
            self._staging.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def find(self, url: str) -> Entry | None:
        """What is known of an address; None where nothing is, or what was known is damaged."""
        try:
            entry = msgspec.json.decode(self._address(url).read_bytes(), type=Entry)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return entry if entry.url == url else None

    def content(self, entry: Entry) -> bytes | None:
        """The bytes of an entry's picture; None where they are not there whole."""
        if entry.sha256 is None:
            return None
        try:
            content = self._picture(entry.sha256).read_bytes()
        except FileNotFoundError:
            return None
        return content if hashlib.sha256(content).hexdigest() == entry.sha256 else None

    def keep(self, entry: Entry, content: bytes) -> Entry:
        """Hold a picture under its address."""
        digest = hashlib.sha256(content).hexdigest()
        self._write(self._picture(digest), content)
        return self.note(msgspec.structs.replace(entry, sha256=digest, reason=None, lasting=False))

    def note(self, entry: Entry) -> Entry:
        """Put down what is known of an address."""
        self._write(self._address(entry.url), msgspec.json.encode(entry))
        return entry

    def failures(self) -> Iterator[Entry]:
        """The addresses without a picture, in no particular order."""
        for path in (self._directory / "addresses").glob("*/*"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                entry = msgspec.json.decode(path.read_bytes(), type=Entry)
                if entry.reason is not None:
                    yield entry

    def _address(self, url: str) -> Path:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        return self._directory / "addresses" / name[:2] / name

    def _picture(self, digest: str) -> Path:
        return self._directory / "pictures" / digest[:2] / digest

    def _write(self, path: Path, content: bytes) -> None:
        aside = self._staging / uuid.uuid4().hex
        with _told(path):
            try:
                aside.write_bytes(content)
                try:
                    aside.replace(path)
                except FileNotFoundError:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what killed runs left half-written."""
        for path in self._staging.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}",
            todo="pictures that were had are kept: free some space, or check the folder, and run it again",
        ) from error
