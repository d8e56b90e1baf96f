"""Pictures from bytes that nobody vouches for: decoded under limits, turned upright, in plain RGB.

What cannot be used is told by one of a few short reasons, which stay the same between versions, so that
failures can be counted by them.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import threading
import warnings
from typing import TYPE_CHECKING

from findling.errors import FindlingError, QueryError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

EMPTY = "no bytes"
TOO_MANY_BYTES = "too many bytes"
TOO_MANY_PIXELS = "too many pixels"
TOO_MANY_SCANS = "too many scans"
TOO_MANY_PARTS = "too many parts"
PLACEHOLDER = "placeholder"
CUT_SHORT = "cut short"
DAMAGED = "damaged"
WEB_PAGE = "a web page"
NOT_A_PICTURE = "not a picture"

_SMALLEST_SIDE = 3
"""Who has no picture often sends one of a pixel; nothing so small shows anything."""
_MAX_SCANNED = 1_000_000_000
"""A JPEG is decoded once per scan, and a scan of 50 megapixels may take 10 bytes."""
_MAX_READS = 20_000
"""Pillow reads a file's parts one by one, and joins GIF's comments in a time that grows with their square."""
_MAX_READS_LOADING = 200_000
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_SCALES = (8, 4, 2)
_HUGE = 12_000_000
_one_huge_at_a_time = threading.Lock()

_KINDS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"8BPS", "PSD"),
    (b"BM", "BMP"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC"}


class PictureError(FindlingError):
    """Bytes that are no usable picture; `reason` is short and stays the same between versions."""

    code, title = "picture", "The picture cannot be used"

    @property
    def reason(self) -> str:
        """Why, in a few words."""
        return self.what


def decode(content: bytes, at_least: int | None = None) -> Image:
    """The picture of a query, as `open_picture` gives it; raises QueryError saying what is wrong."""
    try:
        return open_picture(content, at_least)
    except PictureError as error:
        raise QueryError(
            f"the picture cannot be decoded: {error.reason}", todo=_advice(error.reason)
        ) from None


def open_picture(content: bytes, at_least: int | None = None) -> Image:
    """An upright RGB picture, the first frame of an animation, on white where it is transparent.

    With `at_least`, a JPEG comes at 1/2, 1/4 or 1/8 of its size, where both sides can be divided by that and
    neither gets shorter than so many pixels. Raises PictureError. Thread-safe.
    """
    _quieten()
    if reason := refusal(content):
        raise PictureError(reason)
    import PIL.Image

    try:
        file = _Counted(content)
        opened = PIL.Image.open(file, formats=FORMATS)
        file.left = _MAX_READS_LOADING
        _check_size(opened, content)
        if at_least and opened.format == "JPEG":
            opened.draft(None, _reduced(opened.size, at_least))
        if opened.width * opened.height <= _HUGE:
            return _upright(_plain(opened), opened.info.get("exif"))
        with _one_huge_at_a_time:
            return _upright(_plain(opened), opened.info.get("exif"))
    except PictureError:
        raise
    except PIL.Image.DecompressionBombError:
        raise PictureError(TOO_MANY_PIXELS) from None
    except Exception as error:
        # Decoders of damaged files raise whatever they stumble over, from IndexError to SyntaxError.
        short = isinstance(error, EOFError) or any(word in str(error).lower() for word in ("truncat", "eof"))
        raise PictureError(CUT_SHORT if short else DAMAGED) from error


def refusal(content: bytes) -> str | None:
    """Why bytes cannot be a picture that is taken, told by their beginning and number; None if they may."""
    if not content:
        return EMPTY
    if len(content) > MAX_BYTES:
        return TOO_MANY_BYTES
    kind = _kind(content)
    if kind in FORMATS:
        return None
    return kind if kind in {WEB_PAGE, NOT_A_PICTURE} else f"{kind} is not taken"


def content_hash(content: bytes) -> bytes:
    """16 bytes that name a picture's file wherever it is met (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _kind(content: bytes) -> str:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], NOT_A_PICTURE)
    for beginning, kind in _KINDS:
        if content.startswith(beginning):
            return kind
    head = content[:1024].decode(
        "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "latin-1", "ignore"
    )
    head = head.removeprefix("\xef\xbb\xbf").lstrip("\ufeff \t\r\n\0").lower()
    if head.startswith("<"):
        if "<svg" in head:
            return "SVG"
        if any(mark in head for mark in ("<!doctype html", "<html", "<head", "<body", "<title")):
            return WEB_PAGE
    return NOT_A_PICTURE


def _check_size(opened: Image, content: bytes) -> None:
    width, height = opened.size
    if min(width, height) < _SMALLEST_SIDE:
        raise PictureError(PLACEHOLDER)
    if width * height > MAX_PIXELS:
        raise PictureError(TOO_MANY_PIXELS)
    most = _MAX_SCANNED // (width * height)
    if opened.format in {"JPEG", "MPO"} and content.count(b"\xff\xda") > most and _scans(content) > most:
        raise PictureError(TOO_MANY_SCANS)


def _scans(content: bytes) -> int:
    """How often a JPEG's decoder goes over the picture; previews and what follows its end do not count.

    Source: ITU-T T.81, annex B: all markers but the restarts have a length, and scans run to the next marker.
    """
    place = scans = 0
    while found := _JPEG_MARKER.search(content, place):
        place, marker = found.end(), content[found.end() - 1]
        if marker == _END_OF_IMAGE:
            break
        scans += marker == _START_OF_SCAN
        place += max(2, int.from_bytes(content[place : place + 2]))
    return scans


class _Counted(io.BytesIO):
    """A file out of which so many pieces may be read."""

    left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece; raises PictureError where the file has more parts than a picture needs."""
        self.left -= 1
        if self.left < 0:
            raise PictureError(TOO_MANY_PARTS)
        return super().read(size)


def _reduced(size: tuple[int, int], at_least: int) -> tuple[int, int]:
    """The smallest size at which a JPEG can be decoded that is as large as asked for.

    A side that cannot be divided is rounded up, and what it shows is stretched by a part of a pixel: that
    would change a picture ten times as much as its reduction.
    """
    width, height = size
    for scale in _SCALES:
        if width % scale == height % scale == 0 and min(size) >= scale * at_least:
            return width // scale, height // scale
    return size


def _plain(opened: Image) -> Image:
    """8-bit RGB; Pillow would clip 16-bit greys and drop transparency onto whatever colour lies under it."""
    import numpy as np
    import PIL.Image

    opened.load()
    if opened.mode == "RGB" and "transparency" not in opened.info:
        return opened
    if opened.mode.startswith("I"):
        greys = np.clip(np.asarray(opened), 0, 0xFFFF) >> 8
        return PIL.Image.fromarray(greys.astype(np.uint8)).convert("RGB")
    if opened.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in opened.info:
        coloured = opened.convert("RGBA")
        white = PIL.Image.new("RGB", coloured.size, "white")
        white.paste(coloured, mask=coloured.getchannel("A"))
        return white
    return opened.convert("RGB")


def _upright(picture: Image, exif: object) -> Image:
    """The picture turned as its EXIF orientation says; a damaged EXIF block says nothing."""
    import PIL.Image

    turns = PIL.Image.Transpose
    needed = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    turn = needed.get(_orientation(exif)) if isinstance(exif, bytes) else None
    upright = picture if turn is None else picture.transpose(turn)
    upright.info = {}
    return upright


def _orientation(exif: bytes) -> int:
    """Tag 274 of the first directory of an EXIF block (TIFF 6.0, page 15; Exif 2.3, 4.6.4); 1 if unknown."""
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    try:
        if order:
            (first,) = struct.unpack_from(f"{order}I", block, 4)
            (count,) = struct.unpack_from(f"{order}H", block, first)
            for place in range(min(count, 1000)):
                tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, first + 2 + 12 * place)
                if tag == 0x0112 and kind == 3:
                    return int(value)
    except struct.error:
        pass
    return 1


def _quieten() -> None:
    """What Pillow finds odd in a picture is no news for who runs this; what matters becomes a reason.

    `warnings.catch_warnings` would do for one thread: it puts back what another one has just changed.
    """
    if not any(getattr(entry[3], "pattern", None) == _PILLOW for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW)


_PILLOW = r"PIL\."


def _advice(reason: str) -> str:
    limits = {
        TOO_MANY_BYTES: f"at most {MAX_BYTES:,} bytes are taken",
        TOO_MANY_PIXELS: f"at most {MAX_PIXELS:,} pixels are taken",
        TOO_MANY_PARTS: "save it again without comments and the like",
    }
    return limits.get(reason, f"send one of {', '.join(FORMATS)}")
