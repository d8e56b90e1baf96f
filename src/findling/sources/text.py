"""Lines out of plain and gzipped text files, anywhere fsspec reaches, in batches of some megabytes.

Plain files are cut into byte ranges, so that every worker has its own; a gzip file cannot be cut, so its
inflation runs in a thread beside whoever parses. A batch has one binary column `line`: a view of the bytes
as they were read, each line with its own line break.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from findling import storage
from findling.errors import SourceError, StorageError
from findling.sources.base import Split

LINES = pa.schema([("line", pa.binary())])
SPLIT_BYTES = 64 << 20
CHUNK_BYTES = 8 << 20
_KEPT_BUFFERS = 2
_MARGIN = 64 << 10  # read beyond a split, so that its last line is whole
_LONGEST_LINE = 1 << 30  # a batch's offsets have 31 bits
_BLOCK = 1 << 20  # what fits in a core's cache while it is searched
_BOM = b"\xef\xbb\xbf"
_GZIP = (".gz", ".gzip")

Positions = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]


def find_files(patterns: str | Sequence[str], base: str, key: str) -> list[str]:
    """The files that a path or glob (or a list of them) names, relative ones below `base`.

    Raises SourceError naming the option `key` where nothing is there or a directory is.
    """
    found: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        url = storage.join(base, pattern)
        with told(url):
            files = storage.glob(url)
            globbed = any(mark in url for mark in "*?[")
            kept = [file for file in files if not (globbed and is_directory(file))]
        if not kept:
            raise SourceError(f"source.{key}: there is no {url}", todo="check the path")
        for file in kept:
            if is_directory(file):
                raise SourceError(
                    f"source.{key}: {file} is a directory", todo="name a file, or a glob such as DIR/*.txt.gz"
                )
        found += kept
    return list(dict.fromkeys(found))


def is_directory(url: str) -> bool:
    """Whether a directory is there."""
    files, path = storage.filesystem(url)
    return bool(files.isdir(path))


def is_gzip(path: str) -> bool:
    """Whether a name says that the file is gzipped."""
    return path.lower().endswith(_GZIP)


def bare_name(path: str) -> str:
    """A path in lower case without the suffix of compression."""
    lower = path.lower()
    return next((lower.removesuffix(suffix) for suffix in _GZIP if lower.endswith(suffix)), lower)


def line_splits(table: str, paths: Sequence[str], first: int = 0) -> list[Split]:
    """Byte ranges of plain files and whole gzip files, named by table and place (from `first` on)."""
    splits: list[Split] = []
    for path in paths:
        if is_gzip(path):
            splits.append(Split(table, path, f"{table}-{first + len(splits):05d}"))
            continue
        with told(path):
            total = storage.size(path)
        for start in range(0, max(total, 1), SPLIT_BYTES):
            length = min(SPLIT_BYTES, total - start)
            splits.append(Split(table, path, f"{table}-{first + len(splits):05d}", start, length))
    return splits


def whole_splits(table: str, paths: Sequence[str], first: int = 0) -> list[Split]:
    """One split for each file, for formats whose rows may span lines."""
    return [Split(table, path, f"{table}-{place:05d}") for place, path in enumerate(paths, first)]


def read_lines(split: Split) -> Iterator[pa.RecordBatch]:
    """The lines that begin in the split's byte range; at least one batch, if need be an empty one."""
    empty = True
    with open_text(split.path) as file:
        for octets in _chunks(file, split):
            empty = False
            yield _lines(octets)
    if empty:
        yield pa.record_batch([pa.array([], pa.binary())], schema=LINES)


@contextlib.contextmanager
def open_text(path: str) -> Iterator[BinaryIO]:
    """A file opened for reading, inflated where its name says gzip; its failures are SourceErrors."""
    with told(path), storage.open_read(path) as raw:
        if not is_gzip(path):
            yield raw
            return
        from isal import igzip_threaded

        opened: Any = igzip_threaded.open
        with opened(raw, "rb", threads=1, block_size=_BLOCK) as inflated:
            yield inflated


def positions(octets: Octets, octet: int) -> Positions:
    """Where a byte stands, found block by block in cache."""
    found = [
        _positions(octets[start : start + _BLOCK], octet) + start for start in range(0, len(octets), _BLOCK)
    ]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _positions(block: Octets, octet: int) -> Positions:
    """Eight answers are looked at together, since most are no: NumPy takes as long for each."""
    answers = block == octet
    in_words = len(block) // 8 * 8
    words = answers[:in_words].view("<u8")
    places = np.flatnonzero(words != 0)
    hits = words[places]
    if (hits & (hits - 1)).any() or answers[in_words:].any():  # two in one word, or one behind the last
        return np.flatnonzero(answers)
    # Below the only bit that is set there are eight for each byte before it.
    found: Positions = places * 8 + (np.bitwise_count(hits - 1) >> 3)
    return found


def octets_of(lines: pa.Array) -> tuple[Octets, Positions]:
    """The bytes under a binary array, and the n+1 places in them where lines begin and end."""
    _, offset_buffer, values = lines.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(lines) + 1, lines.offset * 4).astype(np.int64)
    data = np.frombuffer(values, np.uint8) if values is not None else np.empty(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


def _chunks(file: BinaryIO, split: Split) -> Iterator[Octets]:
    """The split's lines, some megabytes at a time: those that begin in its range, whole."""
    if split.length == 0:
        return
    end = split.start + split.length if split.length > 0 else None
    # The line over the left border is the neighbour's, so reading begins with the byte before it.
    skipping = split.start > 0
    offset = max(split.start - 1, 0)
    if skipping:
        file.seek(offset)
    carried = np.empty(0, np.uint8)
    while True:
        octets = _more(file, carried, None if end is None else end - offset - len(carried))
        ended = len(octets) == len(carried)
        first = 3 if offset == 0 and octets[:3].tobytes() == _BOM else 0
        if skipping:
            first = _after_break(octets, 0) or len(octets)
            skipping = first == len(octets) and octets[-1:].tobytes() != b"\n"
            if not skipping and end is not None and offset + first >= end:
                return
        stop = len(octets) if ended or skipping else _last_break(octets, first)
        if end is not None and offset + stop >= end and not skipping:
            stop = _after_break(octets, end - 1 - offset) or stop
            ended = True
        if stop > first:
            yield octets[first:stop]
        if ended:
            return
        carried = octets[stop:]
        offset += stop
        if len(carried) >= _LONGEST_LINE:
            raise SourceError(f"{split.path}: a line is longer than 1 GiB", todo="is it a text file?")


def _more(file: Any, carried: Octets, left: int | None) -> Octets:
    """What was carried over, followed by the next megabytes: less only where the file ends.

    `left` are the bytes up to the split's end; no more than a margin is read beyond them.
    """
    wanted = CHUNK_BYTES
    if left is not None and left < wanted * 3 // 2:
        wanted = max(left, 0) + _MARGIN
    octets = _buffer(len(carried) + max(wanted, len(carried)))
    octets[: len(carried)] = carried
    filled = len(carried)
    view = memoryview(octets)  # type: ignore[arg-type]  # arrays are buffers since Python 3.12
    while filled < len(view):
        got = file.readinto(view[filled:])
        if not got:
            break
        filled += got
    return octets[:filled]


_buffers: list[Octets] = []
_buffers_lock = threading.Lock()


def _buffer(size: int) -> Octets:
    """Room for `size` bytes; large memory that nobody refers to any more is used again.

    Fresh pages from the system cost more than reading into them.
    """
    with _buffers_lock:
        if size > 2 * CHUNK_BYTES + 2 * _MARGIN:
            return np.empty(size, np.uint8)
        for buffer in _buffers:
            if sys.getrefcount(buffer) == 3 and len(buffer) >= size:  # the list, this name and the call
                return buffer[:size]
        octets = np.empty(2 * CHUNK_BYTES + 2 * _MARGIN, np.uint8)
        if len(_buffers) < _KEPT_BUFFERS:
            _buffers.append(octets)
        return octets[:size]


def _after_break(octets: Octets, start: int) -> int:
    """The place after the first line break at or after `start`; 0 if there is none."""
    for begin in range(start, len(octets), _BLOCK):
        breaks = np.flatnonzero(octets[begin : begin + _BLOCK] == 10)
        if len(breaks):
            return begin + int(breaks[0]) + 1
    return 0


def _last_break(octets: Octets, first: int) -> int:
    for end in range(len(octets), first, -_MARGIN):
        start = max(end - _MARGIN, first)
        breaks = np.flatnonzero(octets[start:end] == 10)
        if len(breaks):
            return start + int(breaks[-1]) + 1
    return first


def _lines(octets: Octets) -> pa.RecordBatch:
    ends = positions(octets, 10) + 1
    if not len(ends) or ends[-1] != len(octets):
        ends = np.append(ends, len(octets))
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(octets)]
    return pa.record_batch([pa.Array.from_buffers(pa.binary(), len(ends), buffers)], schema=LINES)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """What goes wrong while a file is read, as one line for people."""
    from isal.igzip_lib import IsalError

    try:
        yield
    except StorageError as error:
        raise SourceError(error.what, todo=error.todo) from None
    except EOFError:
        raise SourceError(
            f"{path} ends in the middle of its compressed data", todo="it is cut short: fetch it again"
        ) from None
    except (IsalError, zlib.error) as error:
        raise SourceError(f"{path} is damaged: {error}", todo="fetch it again") from None
    except OSError as error:
        what = error.strerror or str(error)
        raise SourceError(f"cannot read {path}: {what}", todo="check the file, or fetch it again") from None
