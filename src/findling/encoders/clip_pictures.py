"""Pictures as CLIP wants them: resized, cut to the middle, as bytes.

Follows CLIPImageProcessor of the transformers library with Pillow's filters, from preprocessor_config.json.
Scaling and normalising the bytes is left to the network's first matrix (see `Preprocessing.scale`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from findling.errors import EncoderError

if TYPE_CHECKING:
    from PIL.Image import Image

DRAFT = 4
"""A JPEG may be decoded at a reduced scale that leaves it this many times as large as it is made then."""

LONGEST = 16
"""Pictures longer than this many times their width (or higher) are resized and cut in one step."""


class Preprocessing(msgspec.Struct, frozen=True):
    """What a preprocessor_config.json says; sizes in pixels, `scale` per channel."""

    shortest: int | None
    exact: tuple[int, int] | None
    crop: tuple[int, int] | None
    filter: int
    scale: tuple[list[float], list[float]]

    @classmethod
    def read(cls, config: dict[str, Any], side: int, where: Path) -> Preprocessing:
        """For a network that takes pictures of `side` pixels; raises EncoderError for what is not known."""
        size = _size(config.get("size"), where, square=False)
        crop = _size(config.get("crop_size"), where, square=True)
        shortest, exact = size.get("shortest_edge"), None
        if {"height", "width"} <= size.keys():
            shortest, exact = None, (size["width"], size["height"])
        if not config.get("do_resize", True) or (shortest is None and exact is None):
            raise EncoderError(f"{where} says nothing of how to resize pictures")
        cut: tuple[int, int] | None = None
        if config.get("do_center_crop", True):
            cut = crop.get("width", side), crop.get("height", side)
        if (result := cut or exact) != (side, side):
            raise EncoderError(f"{where} makes pictures of {result}, but the network takes {side}x{side}")
        if cut and min(exact or (shortest or 0, side)) < side:
            raise EncoderError(f"{where} makes pictures smaller than the part it cuts out of them")
        mean, deviation = np.zeros(3), np.ones(3)
        if config.get("do_normalize", True):
            mean, deviation = (
                np.asarray(config.get(name, default), np.float64)
                for name, default in (("image_mean", _MEAN), ("image_std", _DEVIATION))
            )
        factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
        scale = [float(each) for each in factor / deviation], [float(each) for each in -mean / deviation]
        return cls(shortest, exact, cut, int(config.get("resample", 3)), scale)

    @property
    def jpeg_side(self) -> int:
        """See `EncoderSpec.jpeg_side`."""
        return DRAFT * (max(self.exact) if self.exact else self.shortest or 1)

    def __call__(self, image: Image) -> NDArray[np.uint8]:
        """(side, side, 3) uint8 of one picture of any size and mode."""
        import PIL.Image

        picture = image if image.mode == "RGB" else image.convert("RGB")
        width, height = picture.size
        resized = self.exact or _with_shortest(width, height, self.shortest or 1)
        wide, high = self.crop or resized
        left, top = (resized[0] - wide) // 2, (resized[1] - high) // 2
        how = PIL.Image.Resampling(self.filter)
        if max(resized) > LONGEST * max(wide, high):
            # A picture so long would be enormous before it is cut; this computes only what is kept.
            share_x, share_y = width / resized[0], height / resized[1]
            box = left * share_x, top * share_y, (left + wide) * share_x, (top + high) * share_y
            return np.asarray(picture.resize((wide, high), how, box=box))
        if resized != (width, height):
            picture = picture.resize(resized, how)
        if (wide, high) != resized:
            picture = picture.crop((left, top, left + wide, top + high))
        return np.asarray(picture)


_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def _size(given: Any, where: Path, *, square: bool) -> dict[str, int]:
    """A size as newer files write it; in older ones a number is the shortest edge, or a square's side."""
    if isinstance(given, int):
        return {"height": given, "width": given} if square else {"shortest_edge": given}
    try:
        return msgspec.convert(given or {}, dict[str, int])
    except msgspec.ValidationError as error:
        raise EncoderError(f"{where}: {error}") from None


def _with_shortest(width: int, height: int, shortest: int) -> tuple[int, int]:
    """The size with its shortest edge so long; the other is rounded down, as transformers does."""
    if width <= height:
        return shortest, int(shortest * height / width)
    return int(shortest * width / height), shortest
