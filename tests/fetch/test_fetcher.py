"""What is had once is not asked for again, whatever ends a run; and files come only from where they may."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fetch.conftest import Clock, Open
from fetch.server import Host, Request
from fetch.test_web import PICTURE, give
from findling.archives import ENCRYPTED
from findling.errors import ConfigError, StorageError
from findling.fetch import reasons
from findling.fetch.cache import FILE, PictureCache
from findling.pictures import DAMAGED, EMPTY, TOO_MANY_BYTES, WEB_PAGE
from pictures import hostile


def change(home: Path, statement: str) -> list[Any]:
    """Do something to the cache behind its back."""
    with closing(sqlite3.connect(home / "cache" / FILE)) as file, file:
        return file.execute(statement).fetchall()


def reasons_of(made, references: list[str]) -> list[str | None]:
    return [got.reason for got in made.fetch_many(references)]


def test_a_second_run_asks_for_nothing(host: Host, fetcher: Open) -> None:
    host.default = lambda request: request.answer("200 OK", PICTURE + request.path.encode())
    urls = [host.url(f"/{n}.jpg") for n in range(30)]
    first, second = ([got.content for got in fetcher().fetch_many(urls)] for _ in range(2))
    assert first == second == [PICTURE + f"/{n}.jpg".encode() for n in range(30)]
    assert host.asked.total() == 30


def test_a_picture_of_two_addresses_is_kept_once(host: Host, fetcher: Open, tmp_path: Path) -> None:
    host.default = give()
    assert reasons_of(fetcher(), [host.url(f"/{n}.jpg") for n in range(5)]) == [None] * 5
    assert change(tmp_path, "SELECT count(*) FROM pictures") == [(1,)]


def test_lasting_failures_are_remembered_and_passing_ones_tried_again(host: Host, fetcher: Open) -> None:
    host.routes |= {
        "/gone.jpg": give(b"", "404 Not Found"),
        "/page.jpg": give(hostile.html()),
        "/busy.jpg": give(b"", "503 Busy"),
    }
    urls = [host.url(path) for path in host.routes]
    told = [reasons.NOT_FOUND, WEB_PAGE, reasons.SERVER]
    for _ in range(2):
        made = fetcher(attempts=1)
        assert reasons_of(made, urls) == told
        assert made.failures == dict.fromkeys(told, 1)
        assert {(entry.url, entry.reason) for entry in made.failed()} == set(zip(urls, told, strict=True))
    assert host.asked == {"/gone.jpg": 1, "/page.jpg": 1, "/busy.jpg": 2}
    for path in host.routes:
        host.routes[path] = give()
    made = fetcher(retry_failed=True)
    assert reasons_of(made, urls) == [None] * 3
    assert list(made.failed()) == []


def test_other_rules_need_no_second_word(host: Host, fetcher: Open) -> None:
    """What was refused by our own rules is tried anew, since they may have been changed to allow it."""
    host.default = give()
    host.routes["/robots.txt"] = give(b"User-agent: *\nDisallow: /")
    url = host.url("/x.jpg")
    assert reasons_of(fetcher(allow_hosts=[]), [url]) == [reasons.PRIVATE]
    assert reasons_of(fetcher(robots=True), [url]) == [reasons.ROBOTS]
    assert reasons_of(fetcher(robots=False), [url]) == [None]


def test_what_is_held_is_asked_for_again_only_if_changed(host: Host, fetcher: Open, clock: Clock) -> None:
    def tagged(request: Request) -> None:
        if request.headers.get("if-none-match") == '"one"':
            assert request.headers["if-modified-since"] == "Wed, 21 Oct 2015 07:28:00 GMT"
            request.send(b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\n\r\n')
        else:
            request.answer("200 OK", PICTURE, ETag='"one"', Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")

    host.routes["/x.jpg"] = tagged
    url = host.url("/x.jpg")
    for days, asked in ((0, 1), (6, 1), (8, 2), (8, 2), (16, 3)):
        clock.time = 1_700_000_000 + days * 86_400
        assert next(fetcher(refresh_days=7).fetch_many([url])).content == PICTURE
        assert host.asked["/x.jpg"] == asked
    host.routes["/x.jpg"] = give(PICTURE + b"new")
    clock.time += 8 * 86_400
    assert next(fetcher(refresh_days=7).fetch_many([url])).content == PICTURE + b"new"
    clock.time += 8 * 86_400
    host.routes["/x.jpg"] = give(b"", "503 Busy")
    assert next(fetcher(refresh_days=7, attempts=1).fetch_many([url])).content == PICTURE + b"new"


def test_damage_to_the_cache_costs_a_request_and_no_more(host: Host, fetcher: Open, tmp_path: Path) -> None:
    host.default = give()
    url = host.url("/x.jpg")
    list(fetcher().fetch_many([url]))
    for damage in (
        "UPDATE pictures SET content = zeroblob(length(content))",
        "UPDATE pictures SET content = x''",
        "DELETE FROM pictures",
        "DELETE FROM addresses",
    ):
        change(tmp_path, damage)
        asked = host.asked.total()
        for _ in range(2):
            assert next(fetcher().fetch_many([url])).content == PICTURE
        assert host.asked.total() == asked + 1


def test_a_cache_that_cannot_be_written_is_no_pictures_fault(
    host: Host, fetcher: Open, tmp_path: Path
) -> None:
    host.default = give()
    made = fetcher()
    change(tmp_path, "DROP TABLE pictures")
    with pytest.raises(StorageError, match=r"cache .* cannot be used"):
        list(made.fetch_many([host.url("/x.jpg")]))


@pytest.mark.parametrize("content", [b"no database" * 1000, b""])
def test_a_cache_that_is_none_is_told_and_an_empty_one_taken(
    content: bytes, host: Host, fetcher: Open, tmp_path: Path
) -> None:
    host.default = give()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).write_bytes(content)
    if content:
        with pytest.raises(StorageError, match="a damaged file can be removed"):
            fetcher()
        return
    assert reasons_of(fetcher(), [host.url("/x.jpg")]) == [None]
    change(tmp_path, "PRAGMA user_version = 2")
    with pytest.raises(StorageError, match="another version"):
        fetcher()


RUN = """
import sys
from pathlib import Path
from findling.fetch import Fetcher, FetchOptions
options = FetchOptions.read({"allow_hosts": ["127.0.0.1"], "robots": False, "per_minute": 0})
fetcher = Fetcher(options, Path(sys.argv[1]))
for got in fetcher.fetch_many(sys.argv[2] % n for n in range(int(sys.argv[3]))):
    assert got.content.endswith(got.reference.encode()), got.reason
    print(got.reference, flush=True)
"""


@pytest.mark.parametrize("after", [1, 25, 70])
def test_a_killed_run_asks_for_nothing_twice(after: int, host: Host, tmp_path: Path) -> None:
    """Whatever it had when it was killed; what was on its way may be asked for again."""
    host.default = lambda request: request.answer("200 OK", PICTURE + host.url(request.path).encode())
    cache, pattern = tmp_path / "cache", host.url("/%d.jpg")
    command = [sys.executable, "-c", RUN, str(cache), pattern, "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        told = [run.stdout.readline().strip() for _ in range(after)]
        os.kill(run.pid, signal.SIGKILL)
    held = PictureCache(cache)
    had = {url for n in range(100) if (entry := held.find(url := pattern % n)) and held.content(entry)}
    held.close()
    assert set(told) <= had
    host.asked.clear()
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.count(b"\n") == 100
    assert {host.url(path) for path in host.asked} == {pattern % n for n in range(100)} - had


def test_files_come_from_the_folders_only(fetcher: Open, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    for folder in (inside, outside):
        (folder / "x.jpg").write_bytes(PICTURE)
    (inside / "link.jpg").symlink_to(outside / "x.jpg")
    (inside / "near.jpg").symlink_to("x.jpg")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    (inside / "empty.jpg").touch()
    (inside / "page.jpg").write_bytes(hostile.html())
    with (inside / "huge.jpg").open("wb") as file:
        file.truncate(20_000_001)
    os.mkfifo(inside / "pipe.jpg")
    expected = {
        "x.jpg": None,
        f"{inside}/x.jpg": None,
        f"file://{inside}/x.jpg": None,
        "../in/x.jpg": None,
        "near.jpg": None,
        "": reasons.NO_REFERENCE,
        "y.jpg": reasons.NOT_FOUND,
        "x.jpg/y.jpg": reasons.UNREADABLE,
        "../out/x.jpg": reasons.OUTSIDE,
        f"{outside}/x.jpg": reasons.OUTSIDE,
        "/etc/passwd": reasons.OUTSIDE,
        "link.jpg": reasons.OUTSIDE,
        "loop.jpg": reasons.UNREADABLE,
        "pipe.jpg": reasons.NO_FILE,
        ".": reasons.NO_FILE,
        "empty.jpg": EMPTY,
        "page.jpg": WEB_PAGE,
        "huge.jpg": TOO_MANY_BYTES,
        "a\0b.jpg": reasons.BAD_ADDRESS,
        "a" * 5000: reasons.UNREADABLE,
        "ftp://example.org/x.jpg": reasons.SCHEME,
        "data:image/png;base64,AAAA": reasons.SCHEME,
        "s3://bucket/x.jpg": reasons.OUTSIDE,
        "gs://bucket/../x.jpg": reasons.OUTSIDE,
    }
    made = fetcher(base=str(inside))
    assert dict(zip(expected, reasons_of(made, list(expected)), strict=True)) == expected
    assert reasons_of(fetcher(roots=(str(outside),), base=str(inside)), ["link.jpg", "/etc/passwd"]) == [
        None,
        reasons.OUTSIDE,
    ]
    assert reasons_of(fetcher(allow_paths=["../out"], base=str(inside)), [f"{outside}/x.jpg"]) == [None]


def test_members_are_read_where_they_lie(fetcher: Open, tmp_path: Path) -> None:
    files = {
        "a/x.jpg": PICTURE,
        "wow!.jpg": PICTURE,
        "page.jpg": hostile.html(),
        "huge.jpg": bytes(20_000_001),
    }
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
        packed.writestr("bz.jpg", PICTURE, zipfile.ZIP_BZIP2)
    for name in ("p.tar", "p.tar.gz"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as packed:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    (tmp_path / "broken.zip").write_bytes(b"nothing")
    expected = {
        **{
            f"{packed}!{member}": reason
            for packed in ("p.zip", "p.tar", "p.tar.gz")
            for member, reason in [
                ("wow!.jpg", None), ("a/x.jpg", None), ("page.jpg", WEB_PAGE), ("huge.jpg", TOO_MANY_BYTES),
                ("no.jpg", reasons.NOT_FOUND), ("../x.jpg", reasons.NOT_FOUND),
            ]
        },
        "p.zip!bz.jpg": "compression is not taken",
        "q.zip!x.jpg": reasons.NOT_FOUND,
        "broken.zip!x.jpg": reasons.UNREADABLE,
        "/x/../etc/p.zip!x.jpg": reasons.OUTSIDE,
    }  # fmt: skip
    made = fetcher(base=str(tmp_path))
    assert dict(zip(expected, reasons_of(made, list(expected)), strict=True)) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"p.zip", "p.tar", "p.tar.gz", "broken.zip", "cache"}


def test_damaged_and_encrypted_members_are_told(fetcher: Open, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed:
        packed.writestr("x.jpg", PICTURE)
    whole = bytearray((tmp_path / "p.zip").read_bytes())
    changed = whole.copy()
    changed[60] ^= 0xFF
    (tmp_path / "crc.zip").write_bytes(changed)
    locked = whole.copy()
    locked[locked.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    lying = whole.copy()
    lying[lying.rindex(b"PK\1\2") + 42] = 200
    (tmp_path / "lying.zip").write_bytes(lying)
    made = fetcher(base=str(tmp_path))
    told = reasons_of(made, ["crc.zip!x.jpg", "locked.zip!x.jpg", "lying.zip!x.jpg"])
    assert told == [DAMAGED, ENCRYPTED, DAMAGED]


COVER = "https://covers.openlibrary.org/b/id/{}.jpg?default=false"


def bulk(path: Path, size: str, *numbers: int) -> None:
    with zipfile.ZipFile(path, "a") as packed:
        for number in numbers:
            packed.writestr(f"{number:010d}{size}.jpg", PICTURE + f"{number}{size}".encode())


def test_covers_in_bulk_are_found_without_a_request(fetcher: Open, tmp_path: Path) -> None:
    home = tmp_path / "bulk"
    home.mkdir()
    bulk(home / "m_covers_0008_12.zip", "-M", 8_129_999, 8_120_000, 8_120_005)
    bulk(home / "l_covers_0008_12.zip", "-L", 8_120_000, 8_120_007)
    bulk(home / "s_covers_0008_13.zip", "-S", 8_130_000)
    bulk(home / "covers_0000_00.zip", "", 7)
    (home / "m_covers_0008_14.zip").write_bytes(b"damaged")
    made = fetcher(archives="bulk/*.zip", base=str(tmp_path), contact=None)
    found = {
        "8120000-M": "8120000-M", "8120000-L": "8120000-L", "8129999-M": "8129999-M",
        "8120005-L": "8120005-M", "8120007-M": "8120007-L", "8120007-S": "8120007-L",
        "7": "7", "7-M": "7", "8130000-S": "8130000-S",
    }  # fmt: skip
    got = list(made.fetch_many(COVER.format(asked) for asked in found))
    assert [each.content for each in got] == [PICTURE + name.encode() for name in found.values()]
    for other in ("8120001-M", "8130000-M", "8140000-M", "9000000-M"):
        with pytest.raises(ConfigError, match=r"fetch\.contact"):
            list(made.fetch_many([COVER.format(other)]))


def test_archives_that_are_not_there_are_told(fetcher: Open, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.archives: there is no"):
        fetcher(archives="bulk/*.zip", base=str(tmp_path))


def test_ending_early_leaves_nothing_behind(host: Host, fetcher: Open) -> None:
    host.default = Request.hang
    host.routes["/0.jpg"] = give()
    with fetcher(timeout=30) as made:
        stream = made.fetch_many([host.url(f"/{n}.jpg") for n in range(50)], ahead=20)
        assert next(stream).content == PICTURE
        stream.close()


def test_a_fetcher_that_nobody_closes_ends_with_its_process(host: Host, tmp_path: Path) -> None:
    host.default = lambda request: request.answer("200 OK", PICTURE + host.url(request.path).encode())
    command = [sys.executable, "-X", "dev", "-c", RUN, str(tmp_path), host.url("/%d.jpg"), "5"]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert ended.stdout.count(b"\n") == 5
    assert b"nclosed client" not in ended.stderr


def test_many_hosts_at_once_do_not_wait_in_vain(host: Host, fetcher: Open) -> None:
    """Who waits for one of few connections is not slow: its time has not begun."""
    host.default = give()
    made = fetcher(total_connections=1, connections=50, connect_timeout=0.2, timeout=2, attempts=1)
    assert reasons_of(made, [host.url(f"/{n}.jpg") for n in range(400)]) == [None] * 400
