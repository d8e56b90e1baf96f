"""Files anywhere fsspec reaches, and the one way of writing them: aside, synced, renamed.

Whoever reads a name sees the whole old content or the whole new one, whatever was killed in between.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import fsspec
import fsspec.core

from findling.errors import FindlingError, StorageError, extra

_EXTRAS = {"s3": "aws", "s3a": "aws", "gs": "gcp", "gcs": "gcp"}
_BLOCK = 1 << 20


def is_local(url: str) -> bool:
    """Whether a URL names a file on this machine."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """The path of a local URL."""
    return Path(url.removeprefix("file://"))


def join(base: str, *parts: str) -> str:
    """`parts` below `base`; an absolute path or URL stands for itself."""
    for part in parts:
        if "://" in part or part.startswith("/"):
            base = part
        else:
            base = f"{base.rstrip('/')}/{part}" if base and base != "." else part
    return base


def open_read(url: str) -> BinaryIO:
    """An open file to read bytes from; the caller closes it."""
    with explained(url, "read"):
        files, path = filesystem(url)
        if files.isdir(path):
            raise StorageError(f"{url} is a directory", todo="name a file")
        return cast(BinaryIO, files.open(path, "rb"))


def read_bytes(url: str) -> bytes:
    """The whole of a small file."""
    with open_read(url) as file, explained(url, "read"):
        return file.read()


def exists(url: str) -> bool:
    """Whether a file or directory is there."""
    with explained(url, "look for"):
        files, path = filesystem(url)
        return bool(files.exists(path))


def size(url: str) -> int:
    """The size of a file in bytes."""
    with explained(url, "look at"):
        files, path = filesystem(url)
        return int(files.size(path))


def version(url: str) -> str:
    """A text that changes when the file does: size with modification time or entity tag."""
    with explained(url, "look at"):
        files, path = filesystem(url)
        info = files.info(path)
        stamp = next(
            (info[key] for key in ("ETag", "etag", "mtime", "LastModified", "updated") if info.get(key)), ""
        )
        return f"{info.get('size', 0)}-{stamp}"


def glob(url: str) -> list[str]:
    """The files that a pattern names, sorted; a plain name that is there stands for itself."""
    with explained(url, "look for"):
        files, path = filesystem(url)
        if not any(mark in url for mark in "*?["):
            return [url] if files.exists(path) else []
        return [_like(url, files.unstrip_protocol(found)) for found in sorted(files.glob(path))]


def listing(url: str) -> list[str]:
    """The names directly in a directory, sorted; none where it is not there."""
    with explained(url, "list"):
        files, path = filesystem(url)
        if not files.isdir(path):
            return []
        files.invalidate_cache(path)
        return sorted(
            {str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in files.ls(path, detail=True)}
        )


def make_directory(url: str) -> None:
    """Make a directory with those above it, where it is missing."""
    with explained(url, "make"):
        files, path = filesystem(url)
        files.makedirs(path, exist_ok=True)


def remove(url: str) -> None:
    """Remove a file, or a directory with all in it, which is gone at once; not there is no error."""
    with explained(url, "remove"), contextlib.suppress(FileNotFoundError):
        if is_local(url):
            path = local_path(url)
            aside = _aside(path)
            path.rename(aside)
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()
            return
        files, name = filesystem(url)
        files.rm(name, recursive=True)


@contextlib.contextmanager
def stage_file(url: str, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is whole; nothing stays after an error.

    Without `durable` that holds as long as the machine runs: enough for what is made again after a crash.
    """
    if not is_local(url):
        # Closing a half-written remote file would complete it, so it is written here and sent when whole.
        with tempfile.TemporaryFile(prefix="findling-") as file, explained(url, "write"):
            yield cast(BinaryIO, file)
            file.seek(0)
            files, path = filesystem(url)
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            with files.open(path, "wb") as remote:
                shutil.copyfileobj(file, remote, _BLOCK)
        return
    target = local_path(url)
    with explained(url, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = _aside(target)
        try:
            with aside.open("wb") as file:
                _hold(file.fileno())
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                aside.replace(target)
            if durable:
                _sync_directory(target.parent)
        finally:
            aside.unlink(missing_ok=True)


def write_bytes(url: str, content: bytes) -> None:
    """Replace a file by `content` in one move."""
    with stage_file(url) as file:
        file.write(content)


@contextlib.contextmanager
def stage_directory(url: str, last: str) -> Iterator[Path]:
    """A local directory to fill, which becomes `url` when the block ends well; else nothing stays.

    On one machine that is a rename. To an object store the files are copied, `last` after all others, so
    that who finds `last` finds everything.
    """
    if is_local(url):
        target = local_path(url)
        aside = _aside(target)
        with explained(url, "write"):
            try:
                aside.mkdir(parents=True)
                with _opened_directory(aside) as held:
                    _hold(held)
                    yield aside
                    fsync_tree(aside)
                    aside.replace(target)
                _sync_directory(target.parent)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return
    with tempfile.TemporaryDirectory(prefix="findling-") as name, explained(url, "write"):
        aside = Path(name)
        yield aside
        names = sorted(str(file.relative_to(aside)) for file in aside.rglob("*") if file.is_file())
        files, path = filesystem(url)
        try:
            for each in [*(n for n in names if n != last), last]:
                files.makedirs(f"{path}/{each}".rpartition("/")[0], exist_ok=True)
                files.put_file(str(aside / each), f"{path}/{each}")
        except BaseException:
            with contextlib.suppress(Exception):
                files.rm(path, recursive=True)
            raise


def sweep(directory: str) -> None:
    """Remove what killed processes left aside in a local directory; what a living one writes stays."""
    if not is_local(directory):
        return  # nothing is written aside where uploads appear whole
    with contextlib.suppress(OSError):
        for path in local_path(directory).glob(".*.tmp"):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink()
                finally:
                    os.close(descriptor)


def check_room(path: Path, size: int) -> None:
    """Raises StorageError where the disk of a local directory has not `size` bytes left."""
    if shutil.disk_usage(path).free < size:
        raise StorageError(
            f"cannot write {size:,} bytes to {path}: the disk is full",
            todo="free some space and run the same command again",
        )


def fetch(url: str, path: Path) -> None:
    """Copy a file to this machine."""
    with explained(url, "fetch"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_read(url) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK)


def fsync_tree(path: Path) -> None:
    """Make all files and directories below `path` durable."""
    for directory, _, names in os.walk(path):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_directory(Path(directory))


def sha256(path: Path) -> str:
    """The hex digest of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The fsspec file system of a URL, and the path in it."""
    scheme = url.partition("://")[0] if "://" in url else "file"
    try:
        with extra(_EXTRAS.get(scheme), f"storage at {scheme}://"):
            files, path = fsspec.core.url_to_fs(url)
    except ValueError as error:
        raise StorageError(f"{url} cannot be reached: {error}", todo="use a path, s3:// or gs://") from None
    return files, path


def _like(pattern: str, found: str) -> str:
    """A found URL in the manner in which its pattern was written."""
    return found.removeprefix("file://") if not pattern.startswith("file://") else found


def _aside(target: Path) -> Path:
    """A name beside `target` that nobody else has."""
    return target.with_name(f".{target.name[:200]}.{uuid.uuid4().hex[:8]}.tmp")


def _hold(descriptor: int) -> None:
    """Say that what is aside is being written; the operating system lets go when this process dies."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _opened_directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    with _opened_directory(path) as descriptor:
        os.fsync(descriptor)


_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space and run the same command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run the same command again"),
    errno.EACCES: ("permission denied", "check who owns it"),
    errno.EPERM: ("permission denied", "check who owns it"),
    errno.EROFS: ("the file system is read-only", "choose another home"),
    errno.ENOENT: ("it is not there", "check the path"),
    errno.EISDIR: ("it is a directory", "name a file"),
    errno.ENOTDIR: ("a part of the path is a file", "check the path"),
    errno.EEXIST: ("a file is in the way", "check the path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


def is_full(error: Exception) -> bool:
    """Whether an error of a library that has none of its own for it tells of a full disk."""
    return os.strerror(errno.ENOSPC) in str(error)


@contextlib.contextmanager
def explained(url: str, verb: str) -> Iterator[None]:
    """Turn the operating system's errors, and only those, into one line for people."""
    try:
        yield
    except FindlingError:
        raise
    except OSError as error:
        what, todo = _REASONS.get(error.errno or 0, (str(error), "check the path and try again"))
        raise StorageError(f"cannot {verb} {url}: {what}", todo=todo) from error
    except (ValueError, RuntimeError) as error:
        if not is_full(error):
            raise
        what, todo = _REASONS[errno.ENOSPC]
        raise StorageError(f"cannot {verb} {url}: {what}", todo=todo) from error
