"""Random access into gzip files without unpacking them: the inflater's state is kept every few megabytes.

A deflated stream can only be read forwards, but zlib can copy an inflater in the middle of its work. A copy
holds the last 32 KiB, which is all that what follows may refer to (RFC 1951, section 3.2.5).
"""

from __future__ import annotations

import bisect
import io
import zlib
from typing import Any, BinaryIO, NamedTuple

_SPACING = 16 << 20
_CHUNK = 1 << 18
_GZIP = zlib.MAX_WBITS | 16


class _Mark(NamedTuple):
    """A place to go on from: bytes read, bytes inflated, and the inflater as it was there."""

    read: int
    inflated: int
    inflater: Any


class SeekableGzip(io.RawIOBase):
    """The inflated content of a gzip file of one or more members, seekable; owns `file`. Not thread-safe."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._marks = [_Mark(0, 0, zlib.decompressobj(_GZIP))]
        self._wanted = 0
        self._go_to(0)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place, in inflated bytes, where the next read begins."""
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is inflated before a read asks for it."""
        if whence == io.SEEK_END:
            while self._more():
                pass
            offset += self._start + len(self._buffer)
        elif whence == io.SEEK_CUR:
            offset += self._wanted
        self._wanted = max(offset, 0)
        return self._wanted

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end; raises zlib.error or EOFError where it is damaged."""
        if not self._start <= self._wanted:
            self._go_to(self._wanted)
        else:
            ahead = self._marks[self._last_mark(self._wanted)]
            if ahead.inflated > self._start + len(self._buffer):
                self._go_to(self._wanted)
        parts: list[bytes] = []
        left = size if size >= 0 else None
        while left is None or left > 0:
            skip = self._wanted - self._start
            if skip >= len(self._buffer):
                if not self._more():
                    break
                continue
            part = self._buffer[skip : None if left is None else skip + left]
            parts.append(part)
            self._wanted += len(part)
            left = None if left is None else left - len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()

    def _last_mark(self, place: int) -> int:
        return bisect.bisect_right(self._marks, place, key=lambda mark: mark.inflated) - 1

    def _go_to(self, place: int) -> None:
        """Stand at the last mark before a place."""
        mark = self._marks[self._last_mark(place)]
        self._file.seek(mark.read)
        self._read = mark.read  # bytes of the file that the inflater has been given and has used up
        self._start = mark.inflated  # where the buffer begins
        self._buffer = b""
        self._inflater = mark.inflater.copy()
        self._input = b""

    def _more(self) -> bool:
        """Put the next inflated bytes into the buffer; False at the end."""
        self._start += len(self._buffer)
        self._buffer = b""
        while not self._buffer:
            if self._inflater.eof and not self._next_member():
                return False
            if not self._input:
                self._input = self._file.read(_CHUNK)
                if not self._input:
                    raise EOFError("it ends in the middle of its compressed data")
            given = len(self._input)
            self._buffer = self._inflater.decompress(self._input, _CHUNK)
            rest = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            self._input = rest
            self._read += given - len(rest)
        end = self._start + len(self._buffer)
        if end - self._marks[-1].inflated >= _SPACING and not self._inflater.eof:
            self._marks.append(_Mark(self._read, end, self._inflater.copy()))
        return True

    def _next_member(self) -> bool:
        """Begin the gzip member that follows; zeros that pad the file are none (RFC 1952 allows neither)."""
        while True:
            rest = self._input.lstrip(b"\0")
            self._read += len(self._input) - len(rest)
            self._input = rest or self._file.read(_CHUNK)
            if rest:
                break
            if not self._input:
                return False
        self._inflater = zlib.decompressobj(_GZIP)
        return True
