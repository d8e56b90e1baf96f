"""Converted models on disk: made once, kept under a hash of what decides them, checked when used again."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from findling.encoders import hub
from findling.errors import EncoderError, StorageError
from findling.storage import fsync_tree

_MADE = "made.json"


def place(cache: Path, facts: Iterable[str]) -> Path:
    """Where the converted form of a model is kept, which is told by these facts and nothing else."""
    return cache / "converted" / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:24]


def intact(directory: Path) -> bool:
    """Whether a converted model is there, whole, and as it was written."""
    try:
        made = msgspec.json.decode((directory / _MADE).read_bytes(), type=dict[str, str])
        return all(hub.sha256(directory / name) == digest for name, digest in made.items())
    except (OSError, msgspec.DecodeError, EncoderError):
        return False


def or_made(target: Path | None, make: Callable[[Path], None], keep: ExitStack) -> Path:
    """The directory `target` as it is kept, or as `make` fills it now: aside, and then renamed.

    Without a target, or with one that cannot be written, the directory lasts until `keep` closes. Several
    processes may do this at once; the first to rename wins. Raises StorageError where the disk is full.
    """
    if target is not None and intact(target):
        return target
    try:
        parent = _writable(target.parent) if target is not None else None
        aside = keep.enter_context(tempfile.TemporaryDirectory(prefix=".converting-", dir=parent))
        made = Path(aside) / "model"
        made.mkdir()
        make(made)
        if parent is None or target is None:
            return made
        digests = {path.name: hub.sha256(path) for path in sorted(made.iterdir())}
        (made / _MADE).write_bytes(msgspec.json.format(msgspec.json.encode(digests)))
        fsync_tree(made)
        if target.exists() and not intact(target):
            shutil.rmtree(target, ignore_errors=True)
        try:
            made.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # another process was faster
                raise
        return target
    except OSError as error:
        raise StorageError(f"cannot keep the converted model: {error.strerror or error}") from error


def _writable(directory: Path) -> Path | None:
    """The directory, made if need be; None where this process may not write there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return None
        raise
    return directory if os.access(directory, os.W_OK) else None
