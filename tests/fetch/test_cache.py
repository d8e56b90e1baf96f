"""The pictures' cache among processes that all come to it at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from findling.fetch.cache import FILE, PictureCache

TOGETHER = """
import multiprocessing, sys
from pathlib import Path
from findling.errors import StorageError
from findling.fetch.cache import Entry, PictureCache

def use(name):
    for place in places:
        start.wait()
        try:
            cache = PictureCache(place)
            cache.keep(Entry(f"http://example.org/{name}", 1.0), name.encode())
            cache.close()
            told.put((place.name, "kept"))
        except StorageError as error:
            told.put((place.name, str(error)))

processes, places = 8, [Path(sys.argv[1], str(number)) for number in range(int(sys.argv[2]))]
forking = multiprocessing.get_context("fork")
start, told = forking.Barrier(processes), forking.Queue()
running = [forking.Process(target=use, args=(str(number),)) for number in range(processes)]
for process in running:
    process.start()
for _ in range(processes * len(places)):
    print(*told.get())
for process in running:
    process.join()
"""


def test_many_processes_make_a_cache_together(tmp_path: Path) -> None:
    """SQLite refuses the change to a write-ahead log at once, not after its patience, while others read."""
    command = [sys.executable, "-c", TOGETHER, str(tmp_path), "100"]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    assert Counter(told.splitlines()) == {f"{place} kept": 8 for place in range(100)}
    for place in range(100):
        with closing(PictureCache(tmp_path / str(place))) as cache:
            entries = [cache.find(f"http://example.org/{number}") for number in range(8)]
            assert [cache.content(entry) for entry in entries if entry] == [b"%d" % n for n in range(8)]


def test_a_cache_whose_making_was_cut_off_is_made(tmp_path: Path) -> None:
    """A kill may come between the change of mode and the tables."""
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        file.execute("PRAGMA journal_mode = WAL")
    with closing(PictureCache(tmp_path)) as cache:
        assert cache.find("http://example.org/1") is None
