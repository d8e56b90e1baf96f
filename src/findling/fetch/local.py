"""Pictures from files and archives, within the folders that whoever configured the source has named."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from findling import archives, storage
from findling.archives import Archives, MemberError
from findling.errors import SourceError, StorageError
from findling.fetch import reasons
from findling.fetch.reasons import Failed
from findling.pictures import MAX_BYTES, TOO_MANY_BYTES


class Local:
    """Reads references that are paths: relative ones from `base`, all of them below one of `roots`."""

    def __init__(self, base: str, roots: Sequence[str]) -> None:
        self._base = base
        self._roots = [os.path.realpath(storage.local_path(root)) for root in roots if storage.is_local(root)]
        self._remote = [root.rstrip("/") + "/" for root in roots if not storage.is_local(root)]
        self._archives = Archives()

    def read(self, reference: str) -> bytes:
        """The bytes that a path or `archive!member` names; raises Failed."""
        member = archives.parts_of(reference)
        path = self._within(member[0] if member else reference)
        try:
            if member:
                return self._archives.read(path, member[1], MAX_BYTES)
            return _read_file(path) if storage.is_local(path) else _read_remote(path)
        except MemberError as error:
            raise Failed(error.reason) from error
        except (SourceError, StorageError) as error:
            reason = reasons.NOT_FOUND if not _is_there(path) else reasons.UNREADABLE
            raise Failed(reason) from error

    def close(self) -> None:
        """Let go of all files."""
        self._archives.close()

    def _within(self, path: str) -> str:
        """The path as it is opened, no link and no `..` leading out of the roots; raises Failed."""
        if "\0" in path or not path:
            raise Failed(reasons.BAD_ADDRESS)
        path = storage.join(self._base, path)
        if not storage.is_local(path):
            inside = any(path.startswith(root) for root in self._remote)
            if not inside or ".." in path.split("/") or path.count("::"):
                raise Failed(reasons.OUTSIDE)
            return path
        real = os.path.realpath(storage.local_path(path))
        if not any(os.path.commonpath((real, root)) == root for root in self._roots):
            raise Failed(reasons.OUTSIDE)
        return real


def _read_file(path: str) -> bytes:
    try:
        # A pipe or a device would be waited for; this way opening returns at once and tells what it is.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Failed(reasons.NO_FILE)
            if found.st_size > MAX_BYTES:
                raise Failed(TOO_MANY_BYTES)
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Failed(reasons.NOT_FOUND) from None
    except IsADirectoryError:
        raise Failed(reasons.NO_FILE) from None
    except OSError as error:
        raise Failed(reasons.UNREADABLE) from error


def _read_remote(path: str) -> bytes:
    if storage.size(path) > MAX_BYTES:
        raise Failed(TOO_MANY_BYTES)
    return storage.read_bytes(path)


def _is_there(path: str) -> bool:
    return Path(path).exists() if storage.is_local(path) else storage.exists(path)
