"""Pictures for an encoder: in order, in time, and never the reason that a build stops."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from fetch.conftest import Open
from fetch.server import Host
from fetch.test_web import give
from findling.errors import ConfigError
from findling.fetch import Fetched, PictureLoader, loader, reasons
from findling.pictures import content_hash
from pictures import hostile
from pictures.hostile import CASES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every hostile picture as a file, by its place in CASES."""
    home = tmp_path / "photos"
    home.mkdir()
    for place, case in enumerate(CASES.values()):
        (home / f"{place}.jpg").write_bytes(case.make())
    return home


def test_every_hostile_file_is_a_picture_or_has_its_reason(folder: Path, fetcher: Open) -> None:
    names = [f"{place}.jpg" for place in range(len(CASES))]
    with PictureLoader(fetcher(base=str(folder))) as made:
        loaded = made.load([*names, "missing.jpg"])
    assert [each.reference for each in loaded] == [*names, "missing.jpg"]
    assert loaded[-1].reason == reasons.NOT_FOUND
    for got, case in zip(loaded, CASES.values(), strict=False):
        assert (
            (got.reason in case.reasons) if case.reasons else (got.reason is None and got.image is not None)
        )
        assert got.image is None or got.image.size == case.size
        if got.digest is not None:
            assert got.digest == content_hash((folder / got.reference).read_bytes())


def test_every_hostile_answer_too(folder: Path, host: Host, fetcher: Open) -> None:
    for place, case in enumerate(CASES.values()):
        host.routes[f"/{place}.jpg"] = give(case.make(), Content_Type="image/jpeg")
    with PictureLoader(fetcher(timeout=30)) as made:
        loaded = made.load(host.url(f"/{place}.jpg") for place in range(len(CASES)))
    for got, case in zip(loaded, CASES.values(), strict=True):
        assert (got.reason in case.reasons) if case.reasons else got.reason is None


def test_large_files_do_not_pile_up(tmp_path: Path, fetcher: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "0.jpg"
    first.write_bytes(hostile.jpeg())
    with first.open("r+b") as file:
        file.truncate(19_000_000)  # zeros behind its end, which take no room on the disk
    for n in range(1, 30):
        (tmp_path / f"{n}.jpg").hardlink_to(first)
    started, decoded, most = 0, 0, 0
    made = fetcher(base=str(tmp_path))
    start = made.start

    def begun(reference: str) -> Future[Fetched]:
        nonlocal started, most
        started += 1
        most = max(most, started - decoded)
        return start(reference)

    def prepared(image: Image.Image) -> Image.Image:
        nonlocal decoded
        decoded += 1
        return image

    monkeypatch.setattr(made, "start", begun)
    with PictureLoader(made, prepare=prepared, threads=1) as loader:
        assert sum(len(batch) for batch in loader.stream((f"{n}.jpg" for n in range(30)), 32)) == 30
    assert most <= 20


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_stream_comes_in_order_and_in_lists_of_a_size(size: int, tmp_path: Path, fetcher: Open) -> None:
    for n in range(150):
        (tmp_path / f"{n}.png").write_bytes(hostile.saved(Image.new("RGB", (10 + n, 10)), "PNG"))
    with PictureLoader(fetcher(base=str(tmp_path)), threads=4) as made:
        batches = list(made.stream((f"{n}.png" for n in range(150)), size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert [got.image.width for batch in batches for got in batch if got.image] == [
        10 + n for n in range(150)
    ]


def test_what_comes_next_is_made_while_the_consumer_works(tmp_path: Path, fetcher: Open) -> None:
    """The consumer holds its first picture until all later ones are decoded; they must not wait for it."""
    for n in range(20):
        (tmp_path / f"{n}.png").write_bytes(hostile.png())
    decoded = threading.Semaphore(0)

    def prepare(image: Image.Image) -> Image.Image:
        decoded.release()
        return image.resize((2, 2))

    with PictureLoader(fetcher(base=str(tmp_path)), prepare=prepare) as made:
        stream = made.stream([f"{n}.png" for n in range(20)], 1)
        first = next(stream)
        assert all(decoded.acquire(timeout=20) for _ in range(20))
        rest = [got for batch in stream for got in batch]
        assert made.waited > 0
        assert made.worked > 0
    assert [got.image.size for got in [*first, *rest] if got.image] == [(2, 2)] * 20


def test_pictures_that_wait_fill_no_more_memory_than_set_aside(
    tmp_path: Path, fetcher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_PIXELS_AHEAD", 5 * 60 * 40)
    monkeypatch.setattr(loader, "_LEAST_AHEAD", 4)
    for n in range(40):
        (tmp_path / f"{n}.png").write_bytes(hostile.png())
    most = 0
    with PictureLoader(fetcher(base=str(tmp_path))) as made:
        top_up = made._top_up

        def watched(under_way, left, ahead):
            nonlocal most
            top_up(under_way, left, ahead)
            most = max(most, len(under_way))

        monkeypatch.setattr(made, "_top_up", watched)
        assert sum(len(batch) for batch in made.stream([f"{n}.png" for n in range(40)], 2)) == 40
    assert most <= 8


def test_an_error_that_is_no_pictures_fault_is_raised(host: Host, fetcher: Open) -> None:
    host.default = give()
    with PictureLoader(fetcher(contact=None)) as made, pytest.raises(ConfigError, match="contact"):
        made.load([host.url("/x.jpg"), "https://example.org/x.jpg"])


def test_a_stream_that_is_left_early_can_be_followed_by_another(tmp_path: Path, fetcher: Open) -> None:
    for n in range(30):
        (tmp_path / f"{n}.png").write_bytes(hostile.png())
    names = [f"{n}.png" for n in range(30)]
    with PictureLoader(fetcher(base=str(tmp_path))) as made:
        stream = made.stream(names, 3)
        next(stream)
        stream.close()
        assert len(made.load(names)) == 30
