"""Strangers' pictures: taken upright and in plain RGB, or refused for the reason that fits."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from findling import pictures
from findling.errors import QueryError
from pictures import hostile
from pictures.hostile import CASES, Case


def reason_of(content: bytes) -> str | None:
    try:
        pictures.open_picture(content)
    except pictures.PictureError as error:
        return error.reason
    return None


def test_there_are_enough_kinds() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_is_taken_or_has_its_reason(case: Case, recwarn: pytest.WarningsRecorder) -> None:
    content = case.make()
    if case.reasons:
        assert reason_of(content) in case.reasons
        return
    picture = pictures.open_picture(content)
    assert picture.mode == "RGB"
    assert picture.size == case.size
    if case.corner is not None:
        found = np.asarray(picture)[1, 1].astype(int)
        assert np.abs(found - case.corner).max() <= 12
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = hostile.saved(hostile.noise((30, 20)), kind, exif=exif.tobytes())
    opened = Image.open(__import__("io").BytesIO(content))
    expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert np.array_equal(np.asarray(pictures.open_picture(content)), np.asarray(expected))


def test_a_jpeg_may_come_smaller_but_not_smaller_than_asked_for() -> None:
    content = hostile.saved(hostile.scene(size=(1200, 900)), "JPEG")
    assert pictures.open_picture(content).size == (1200, 900)
    assert pictures.open_picture(content, at_least=225).size == (300, 225)
    assert pictures.open_picture(content, at_least=226).size == (600, 450)
    assert pictures.open_picture(content, at_least=451).size == (1200, 900)
    assert pictures.decode(content, at_least=225).size == (300, 225)
    whole = hostile.saved(hostile.scene(size=(1200, 900)), "PNG")
    assert pictures.open_picture(whole, at_least=224).size == (1200, 900)


def test_a_jpeg_is_not_stretched_by_a_part_of_a_pixel() -> None:
    """libjpeg rounds sides up that a scale does not divide."""
    content = hostile.saved(hostile.scene(size=(1204, 902)), "JPEG")
    assert pictures.open_picture(content, at_least=100).size == (602, 451)
    content = hostile.saved(hostile.scene(size=(1203, 902)), "JPEG")
    assert pictures.open_picture(content, at_least=100).size == (1203, 902)


def test_a_query_learns_the_reason_and_the_remedy() -> None:
    with pytest.raises(QueryError, match=r"a web page; send one of JPEG, PNG, WEBP, GIF"):
        pictures.decode(hostile.html())
    with pytest.raises(QueryError, match=r"too many pixels; at most 50,000,000"):
        pictures.decode(hostile.raw_png(50_000, 50_000, b""))


def test_threads_leave_the_warnings_as_they_were() -> None:
    contents = [CASES[name].make() for name in ("jpeg with broken exif", "png", "gif scrambled")] * 20
    pictures.open_picture(contents[0])
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reason_of, contents))
    assert list(warnings.filters) == before


def test_a_content_hash_names_the_bytes() -> None:
    assert len(pictures.content_hash(b"x")) == 16
    assert pictures.content_hash(b"x") != pictures.content_hash(b"y")


@settings(max_examples=60)
@given(
    name=st.sampled_from(["jpeg", "png", "gif", "webp", "jpeg on its side", "animated gif"]),
    place=st.integers(0, 400),
    octets=st.binary(min_size=1, max_size=8),
)
def test_no_change_of_bytes_gets_past_the_reasons(name: str, place: int, octets: bytes) -> None:
    content = CASES[name].make()
    place %= len(content)
    reason_of(content[:place] + octets + content[place + len(octets) :])
