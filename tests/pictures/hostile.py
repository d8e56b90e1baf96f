"""Pictures that strangers could send: each with the reason that it must have, or None where it is taken.

All are made here, so that nothing hostile lies in the repository.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from findling import pictures
from findling.pictures import (
    CUT_SHORT,
    DAMAGED,
    EMPTY,
    NOT_A_PICTURE,
    PLACEHOLDER,
    TOO_MANY_BYTES,
    TOO_MANY_PARTS,
    TOO_MANY_PIXELS,
    TOO_MANY_SCANS,
    WEB_PAGE,
)

SIZE = (60, 40)
RED, BLUE = (200, 30, 40), (20, 40, 180)


class Case(NamedTuple):
    """A file, why it is refused (one of these), and what an accepted one must look like."""

    make: Callable[[], bytes]
    reasons: frozenset[str]
    size: tuple[int, int] | None = None
    corner: tuple[int, int, int] | None = None


def scene(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Red with a blue lower right quarter, so that a turned picture is told from an upright one."""
    picture = Image.new("RGB", size, RED)
    ImageDraw.Draw(picture).rectangle((size[0] // 2, size[1] // 2, *size), fill=BLUE)
    return picture.convert(mode)


def noise(size: tuple[int, int] = (200, 150)) -> Image.Image:
    return Image.frombytes("RGB", size, random.Random(3).randbytes(size[0] * size[1] * 3))


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def jpeg(**options: Any) -> bytes:
    return saved(scene(), "JPEG", **options)


def png(**options: Any) -> bytes:
    return saved(scene(), "PNG", **options)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif.tobytes(), quality=95)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(
    width: int, height: int, rows: bytes, depth: int = 8, colour: int = 2, extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), extra, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_bomb(side: int) -> bytes:
    """A black picture whose pixels take far more room than its file."""
    squeeze = zlib.compressobj(1)
    row = bytes(side * 3 + 1)
    rows = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    return raw_png(side, side, rows)


def deep_grey() -> bytes:
    """16 bits a pixel, half of the full range."""
    rows = b"".join(b"\0" + struct.pack(">H", 0x8000) * 40 for _ in range(30))
    return raw_png(40, 30, zlib.compress(rows), 16, 0)


def deep_colour() -> bytes:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0xC800, 0x1E00, 0x2800) * 40 for _ in range(30))
    return raw_png(40, 30, zlib.compress(rows), 16, 2)


def text_bomb() -> bytes:
    """Megabytes of zeros in a compressed comment."""
    comment = b"Comment\0\0" + zlib.compress(bytes(20_000_000), 1)
    return raw_png(40, 30, zlib.compress(bytes(30 * 121)), extra=chunk(b"zTXt", comment))


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", SIZE, colour) for colour in (RED, BLUE, (0, 90, 0))]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, loop=0, lossless=True)


def animated_gif() -> bytes:
    frames = [Image.new("RGB", SIZE, colour) for colour in (RED, BLUE)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


def clear_png() -> bytes:
    return saved(Image.new("RGBA", SIZE, (0, 0, 0, 0)), "PNG")


def clear_palette() -> bytes:
    picture = Image.new("P", SIZE, 0)
    picture.putpalette([0, 0, 0, *RED] + [0] * 762)
    return saved(picture, "PNG", transparency=0)


def partly_clear_palette() -> bytes:
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([0, 0, 0, *RED] + [0] * 762)
    return saved(picture, "PNG", transparency=bytes([0, 255] + [128] * 254))


def clear_gif() -> bytes:
    picture = Image.new("P", SIZE, 0)
    picture.putpalette([0, 0, 0, *RED] + [0] * 762)
    return saved(picture, "GIF", transparency=0)


def clear_grey() -> bytes:
    return saved(Image.new("LA", SIZE, (0, 0)), "PNG")


def many_scans() -> bytes:
    """A progressive JPEG that says it has 48 megapixels, followed by scans of next to nothing."""
    content = bytearray(saved(scene(size=(64, 64)), "JPEG", progressive=True))
    frame = content.index(b"\xff\xc2")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 6000, 8000)
    scan = bytes.fromhex("ffda0008010100003f00") + b"\x00"
    return bytes(content[:-2]) + scan * 500 + b"\xff\xd9"


def scans_of_one_colour() -> bytes:
    """The same without progression: each component has its own scan, and one has hundreds."""
    content = bytearray(saved(scene(size=(64, 64)), "JPEG", subsampling=0))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 6000, 8000)
    scans = b"".join(bytes.fromhex(f"ffda0008010{n}00003f00") + b"\x00" for n in (1, 2, 3, *[1] * 500))
    return bytes(content[: content.index(b"\xff\xda")]) + scans + b"\xff\xd9"


def gif_beginning_with(extensions: bytes) -> bytes:
    content = saved(scene("P"), "GIF")
    palette = 3 * (2 << (content[10] & 7))
    return content[: 13 + palette] + extensions + content[13 + palette :]


def webp_bomb() -> bytes:
    """Both sides have 14 bits in the header of a lossless file (RFC 9649, section 3.4)."""
    content = bytearray(saved(scene(), "WEBP", lossless=True))
    place = content.index(b"VP8L") + 9
    content[place : place + 4] = struct.pack("<I", (1 << 28) - 1)
    return bytes(content)


def lying_size(width: int, height: int) -> bytes:
    content = bytearray(jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def gif_frame_beyond_screen() -> bytes:
    """A screen of one pixel, on which a frame of 60 thousand by 60 thousand lies."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    return screen + frame + b"\x02\x02\x4c\x01\x00\x3b"


def broken_exif() -> bytes:
    block = b"Exif\0\0MM\0*" + b"\xff" * 40
    content = jpeg(quality=95)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


def looping_exif() -> bytes:
    """Directories that point at one another."""
    block = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)
    content = jpeg(quality=95)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


def wrong_crc() -> bytes:
    content = bytearray(png())
    content[-20] ^= 0xFF
    return bytes(content)


def scrambled(content: bytes, start: int, seed: int) -> bytes:
    mixed = bytearray(content)
    rng = random.Random(seed)
    for place in range(start, len(mixed)):
        mixed[place] = rng.randrange(256)
    return bytes(mixed)


def html() -> bytes:
    return b"\n  <!DOCTYPE html><html><head><title>404</title></head><body>Sorry</body></html>"


def svg() -> bytes:
    return b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'


def psd() -> bytes:
    return b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 40, 60, 8, 3) + bytes(200)


def taken(make: Callable[[], bytes], corner: tuple[int, int, int] | None = RED, size=SIZE) -> Case:
    return Case(make, frozenset(), size, corner)


def refused(make: Callable[[], bytes], *reasons: str) -> Case:
    return Case(make, frozenset(reasons))


WHITE = (255, 255, 255)

CASES: dict[str, Case] = {
    # What is taken, and how.
    "jpeg": taken(lambda: jpeg(quality=95)),
    "progressive jpeg": taken(lambda: jpeg(quality=95, progressive=True)),
    "grey jpeg": taken(lambda: saved(scene("L"), "JPEG"), None),
    "cmyk jpeg": taken(lambda: saved(scene("CMYK"), "JPEG", quality=95)),
    "jpeg with bytes after its end": taken(lambda: jpeg(quality=95) + random.Random(1).randbytes(5000)),
    "jpeg with bytes like scans after its end": taken(lambda: jpeg(quality=95) + b"\xff\xda" * 500_000),
    "gif with a long comment": taken(
        lambda: gif_beginning_with(b"\x21\xfe" + (b"\xff" + b"A" * 255) * 4000 + b"\0"), None
    ),
    "jpeg with broken exif": taken(broken_exif),
    "jpeg with looping exif": taken(looping_exif),
    # Decoders fill with grey what a well-ended file lacks, and nobody can tell.
    "jpeg that says more than it has": taken(lambda: lying_size(600, 800), None, (600, 800)),
    "jpeg on its side": taken(lambda: turned(6), RED, (40, 60)),
    "jpeg on its head": taken(lambda: turned(3), BLUE),
    "jpeg mirrored on its side": taken(lambda: turned(7), BLUE, (40, 60)),
    "jpeg with an orientation that is none": taken(lambda: turned(77)),
    "png": taken(png),
    "png of nine pixels": taken(lambda: saved(scene(size=(3, 3)), "PNG"), BLUE, (3, 3)),
    "one-bit png": taken(lambda: saved(Image.new("1", SIZE, 1), "PNG"), WHITE),
    "16-bit grey png": taken(deep_grey, (128, 128, 128), (40, 30)),
    "16-bit colour png": taken(deep_colour, RED, (40, 30)),
    "clear png": taken(clear_png, WHITE),
    "clear grey png": taken(clear_grey, WHITE),
    "palette with a clear colour": taken(clear_palette, WHITE),
    "palette with an alpha for each colour": taken(partly_clear_palette, RED),
    "animated png": taken(lambda: animated("PNG")),
    "gif": taken(lambda: saved(scene("P"), "GIF"), None),
    "clear gif": taken(clear_gif, WHITE),
    "animated gif": taken(animated_gif),
    "webp": taken(lambda: saved(scene(), "WEBP", lossless=True)),
    "clear webp": taken(lambda: saved(Image.new("RGBA", SIZE, (0, 0, 0, 0)), "WEBP", lossless=True), WHITE),
    "animated webp": taken(lambda: animated("WEBP")),
    # Bombs.
    "png of 52 megapixels in 700 kB": refused(lambda: png_bomb(7200), TOO_MANY_PIXELS),
    "png that says 2 gigapixels": refused(lambda: raw_png(50_000, 50_000, b""), TOO_MANY_PIXELS),
    "png that says 2**31 by 2**31": refused(lambda: raw_png(2**31 - 1, 2**31 - 1, b""), TOO_MANY_PIXELS),
    "webp that says 16,384 by 16,384": refused(webp_bomb, TOO_MANY_PIXELS),
    "jpeg that says 65,000 by 65,000": refused(lambda: lying_size(65_000, 65_000), TOO_MANY_PIXELS),
    "gif frame larger than its screen": refused(gif_frame_beyond_screen, TOO_MANY_PIXELS),
    "progressive jpeg of 500 scans": refused(many_scans, TOO_MANY_SCANS),
    "jpeg of 500 scans of one colour": refused(scans_of_one_colour, TOO_MANY_SCANS),
    "gif of a million comments": refused(
        lambda: gif_beginning_with(b"\x21\xfe\1A\0" * 1_000_000), TOO_MANY_PARTS
    ),
    "gif comment byte by byte": refused(
        lambda: gif_beginning_with(b"\x21\xfe" + b"\1A" * 1_000_000 + b"\0"), TOO_MANY_PARTS
    ),
    "jpeg of a million comments": refused(
        lambda: jpeg()[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg()[2:], TOO_MANY_PARTS
    ),
    "jpeg with filling between its parts": refused(
        lambda: jpeg()[:2] + b"\xff" * 1_000_000 + jpeg()[2:], TOO_MANY_PARTS
    ),
    "png of a million parts": refused(
        lambda: png()[:33] + chunk(b"aaAa", b"") * 1_000_000 + png()[33:], TOO_MANY_PARTS
    ),
    "png of a million parts after its pixels": refused(
        lambda: png()[:-12] + chunk(b"aaAa", b"") * 1_000_000 + png()[-12:], TOO_MANY_PARTS
    ),
    "png with a comment of 20 MB": refused(text_bomb, DAMAGED),
    "20 MB and one byte": refused(lambda: jpeg() + bytes(pictures.MAX_BYTES), TOO_MANY_BYTES),
    # Cut short and damaged.
    "jpeg cut in the middle": refused(lambda: saved(noise(), "JPEG")[:9000], CUT_SHORT),
    "jpeg cut in its header": refused(lambda: jpeg()[:100], CUT_SHORT, DAMAGED),
    "png cut in the middle": refused(lambda: saved(noise(), "PNG")[:9000], CUT_SHORT),
    "png cut after its header": refused(lambda: png()[:33], CUT_SHORT, DAMAGED),
    "gif cut in the middle": refused(lambda: saved(noise().convert("P"), "GIF")[:3000], CUT_SHORT, DAMAGED),
    "webp cut in the middle": refused(lambda: saved(noise(), "WEBP")[:3000], CUT_SHORT, DAMAGED),
    "png with a wrong checksum": refused(wrong_crc, DAMAGED, CUT_SHORT),
    "png with scrambled pixels": refused(lambda: scrambled(saved(noise(), "PNG"), 60, 1), DAMAGED, CUT_SHORT),
    "webp scrambled": refused(lambda: scrambled(saved(noise(), "WEBP"), 20, 2), DAMAGED, CUT_SHORT),
    "gif scrambled": refused(
        lambda: scrambled(saved(noise().convert("P"), "GIF"), 10, 4), DAMAGED, CUT_SHORT, TOO_MANY_PIXELS
    ),
    "png without pixels": refused(lambda: raw_png(40, 30, b""), DAMAGED, CUT_SHORT),
    "the first bytes of a jpeg": refused(lambda: b"\xff\xd8\xff\xe0", DAMAGED, CUT_SHORT),
    # Nothing, or next to it.
    "nothing": refused(lambda: b"", EMPTY),
    "zeros": refused(lambda: bytes(5000), NOT_A_PICTURE),
    "a gif of one pixel": refused(lambda: saved(Image.new("P", (1, 1)), "GIF", transparency=0), PLACEHOLDER),
    "a jpeg of one pixel": refused(lambda: saved(scene(size=(1, 1)), "JPEG"), PLACEHOLDER),
    "a line": refused(lambda: saved(Image.new("RGB", (500, 1)), "PNG"), PLACEHOLDER),
    # Something else under a picture's name.
    "a web page": refused(html, WEB_PAGE),
    "a web page in UTF-16": refused(lambda: html().decode().encode("utf-16"), WEB_PAGE),
    "an xml document": refused(lambda: b'<?xml version="1.0"?><Error/>', NOT_A_PICTURE),
    "json": refused(lambda: b'{"error": "not found"}', NOT_A_PICTURE),
    "svg": refused(svg, "SVG is not taken"),
    "tiff": refused(lambda: saved(scene(), "TIFF"), "TIFF is not taken"),
    "psd": refused(psd, "PSD is not taken"),
    "bmp": refused(lambda: saved(scene(), "BMP"), "BMP is not taken"),
    "ico": refused(lambda: saved(scene(), "ICO"), "ICO is not taken"),
    "pdf": refused(lambda: b"%PDF-1.7\n" + bytes(100), "PDF is not taken"),
    "postscript": refused(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript is not taken"),
    "avif": refused(lambda: b"\0\0\0\x20ftypavif" + bytes(100), "AVIF is not taken"),
    "mp4": refused(lambda: b"\0\0\0\x20ftypisom" + bytes(100), NOT_A_PICTURE),
    "a gzipped picture": refused(lambda: gzip.compress(jpeg()), NOT_A_PICTURE),
    "a program": refused(lambda: b"\x7fELF" + bytes(500), NOT_A_PICTURE),
    "text": refused(lambda: b"Bild nicht gefunden", NOT_A_PICTURE),
}
