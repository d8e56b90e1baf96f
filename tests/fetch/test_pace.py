"""Turns at a host, shared by all who share a directory."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fetch.conftest import Clock
from findling.fetch.pace import Pace


def turns(pace: Pace, count: int, interval: float = 1.0, host: str = "example.org") -> None:
    async def take() -> None:
        for _ in range(count):
            await pace.turn(host, interval)

    asyncio.run(take())


def test_two_share_one_rate(tmp_path: Path, clock: Clock) -> None:
    one, two = Pace(tmp_path, clock.timing), Pace(tmp_path, clock.timing)
    started = clock.time
    for pace in (one, two, one, two, one):
        turns(pace, 2)
    assert clock.time - started == 9


def test_hosts_do_not_wait_for_one_another(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(tmp_path, clock.timing)
    for host in ("a.example", "b.example", "c.example"):
        turns(pace, 1, host=host)
    assert not clock.slept


def test_more_hosts_than_files_may_be_open(tmp_path: Path, clock: Clock) -> None:
    pace = Pace(tmp_path, clock.timing)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        turns(pace, 1, interval=10, host=f"{number}.example")
    assert len(os.listdir("/proc/self/fd")) - before < 150
    turns(pace, 1, interval=10, host="0.example")
    assert clock.slept == [10], "whose file was closed is not forgotten"


def test_a_pause_holds_for_all_and_for_those_asleep(tmp_path: Path, clock: Clock) -> None:
    one, two = Pace(tmp_path, clock.timing), Pace(tmp_path, clock.timing)
    turns(one, 1, interval=10)
    started = clock.time

    async def pause_meanwhile(seconds: float) -> None:
        clock.time += seconds
        if clock.time - started == 10:
            two.pause("example.org", 60)

    clock.timing = type(clock.timing)(clock.timing.now, pause_meanwhile, clock.timing.random)
    turns(Pace(tmp_path, clock.timing), 1, interval=10)
    assert clock.time - started >= 70
    assert two.paused("other.example") <= 0


def test_a_clock_set_back_by_years_holds_nobody(tmp_path: Path, clock: Clock) -> None:
    turns(Pace(tmp_path, clock.timing), 3)
    clock.time -= 10 * 365 * 86_400
    clock.slept.clear()
    turns(Pace(tmp_path, clock.timing), 1)
    assert not clock.slept


def test_a_damaged_file_holds_nobody(tmp_path: Path, clock: Clock) -> None:
    turns(Pace(tmp_path, clock.timing), 1)
    for content in (b"", b"short", b"\xff" * 16):
        (file,) = tmp_path.iterdir()
        file.write_bytes(content)
        turns(Pace(tmp_path, clock.timing), 1)
    assert not clock.slept
