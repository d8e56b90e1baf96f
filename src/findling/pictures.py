"""Pictures from bytes that nobody vouches for: decoded under limits, turned upright, in plain RGB."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from findling.errors import QueryError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


def decode(content: bytes) -> Image:
    """An upright RGB picture, the first frame of an animation; raises QueryError saying what is wrong."""
    import PIL.Image
    import PIL.ImageOps

    if len(content) > MAX_BYTES:
        raise QueryError(f"the picture has {len(content)} bytes", todo=f"at most {MAX_BYTES} are taken")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            opened = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise QueryError(
                    f"the picture is {width}x{height}", todo=f"at most {MAX_PIXELS} pixels are taken"
                )
            return PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError, Warning) as error:
        raise QueryError(
            f"the picture cannot be decoded: {error}", todo=f"send one of {', '.join(FORMATS)}"
        ) from None
