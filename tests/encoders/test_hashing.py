"""The toy encoder: the same everywhere, and near for equal words and like colours."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from findling.encoders.hashing import Hashing
from findling.errors import ConfigError


def test_is_the_same_on_every_machine() -> None:
    vectors = Hashing().embed_texts(["Moby-Dick; or, The Whale", ""])
    assert hashlib.sha256(np.round(vectors, 4).tobytes()).hexdigest()[:16] == "5acda73552949ad6"


def test_equal_words_are_near_and_like_words_are_nearer_than_others() -> None:
    ship, ships, pasta = Hashing(256).embed_texts(["a red ship", "ships of red", "cooking with pasta"])
    assert ship @ ships > 0.3
    assert abs(ship @ pasta) < 0.2


def test_like_colours_are_near() -> None:
    pictures = [Image.new("RGB", (30, 30), colour) for colour in ("#f00000", "#ff0808", "#0000ff")]
    red, reddish, blue = Hashing().embed_images(pictures)
    assert red @ reddish > 0.99
    assert red @ blue < 0.5


@pytest.mark.parametrize("dim", [0, 7, 520, -8])
def test_odd_dimensions_are_refused(dim: int) -> None:
    with pytest.raises(ConfigError, match="dim"):
        Hashing.from_options(None, {"dim": dim}, None)
