"""The query cache: bounded, shared, computed once, and never wrong after a swap."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import serving

import small
from findling import build, config
from findling.config import ServeOptions
from findling.errors import ConfigError
from findling.records import Answer, Hit
from findling.serve.cache import Cache, Memory, Redis
from findling.serve.kept import Kept


def search(value: bytes, asked: list[bytes]) -> Callable[[], Awaitable[bytes]]:
    async def run() -> bytes:
        asked.append(value)
        await asyncio.sleep(0)
        return value

    return run


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 400)), max_size=60), st.integers(0, 2000)
)
def test_memory_is_bounded_and_lets_the_least_used_go(puts: list[tuple[str, int]], limit: int) -> None:
    async def run() -> None:
        memory = Memory(limit)
        used: list[tuple[str, int]] = []  # what a plain list would keep, the least recently used first
        for name, size in puts:
            await memory.put(name.encode(), bytes(size))
            used = [each for each in used if each[0] != name]
            if size + 201 <= limit:
                used.append((name, size))
            while sum(each + 201 for _, each in used) > limit:
                used.pop(0)
            assert memory.bytes == sum(each + 201 for _, each in used) <= limit
            assert len(memory) == len(used)
        for name, size in used:
            assert await memory.get(name.encode()) == bytes(size)

    asyncio.run(run())


def test_a_hundred_equal_queries_at_once_are_one_search() -> None:
    async def run() -> None:
        cache, asked = Cache([Memory(10_000)]), list[bytes]()
        found = await asyncio.gather(*(cache.found(b"k", search(b"v", asked)) for _ in range(100)))
        assert {value for value, _ in found} == {b"v"}
        assert [state for _, state in found].count("miss") == len(asked) == 1

    asyncio.run(run())


def test_a_client_that_goes_away_does_not_fail_those_who_waited() -> None:
    async def run() -> None:
        cache, never = Cache([Memory(10_000)]), asyncio.Event()

        async def slow() -> bytes:
            await never.wait()
            return b""

        first = asyncio.create_task(cache.found(b"k", slow))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.found(b"k", search(b"v", [])))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == (b"v", "miss")

    asyncio.run(run())


def test_a_search_that_fails_fails_for_all_who_wait_and_is_tried_again() -> None:
    async def run() -> None:
        cache = Cache([Memory(10_000)])

        async def bad() -> bytes:
            await asyncio.sleep(0)
            raise ValueError("no")

        both = await asyncio.gather(*(cache.found(b"k", bad) for _ in range(2)), return_exceptions=True)
        assert [type(each) for each in both] == [ValueError, ValueError]
        assert await cache.found(b"k", search(b"v", [])) == (b"v", "miss")

    asyncio.run(run())


@pytest.mark.needs("redis")
def test_two_levels_fill_the_faster_from_the_slower(redis_server: str) -> None:
    async def run() -> None:
        near, far = Memory(10_000), Redis(redis_server, 2.0)
        await Cache([far]).keep(b"two", b"v")
        cache = Cache([near, far])
        assert await cache.found(b"two", search(b"w", [])) == (b"v", "hit")
        assert await near.get(b"two") == b"v"
        await cache.close()

    asyncio.run(run())


def test_a_redis_that_is_gone_is_left_alone_for_a_while(free_port: int) -> None:
    pytest.importorskip("redis", reason="needs redis: the extra redis")

    async def run() -> None:
        now = [0.0]
        redis = Redis(f"redis://127.0.0.1:{free_port}", 2.0, now=lambda: now[0])
        cache = Cache([redis])
        for _ in range(2):
            assert await cache.found(b"k", search(b"v", [])) == (b"v", "off")
            assert not redis.on
        now[0] = 6.0
        assert redis.on
        await cache.close()

    asyncio.run(run())


@pytest.mark.parametrize("said", ["disk", "http://x", "memory+file:///x", "memory redis://x"])
def test_what_is_no_cache_is_told(said: str) -> None:
    with pytest.raises(ConfigError, match=r"serve\.cache"):
        Cache.of(ServeOptions(cache=said))


def test_an_answer_comes_back_as_it_was() -> None:
    hit = Hit("a", 1, 0.5, {"text": 0.5}, b'{"id":"a"}', {"text": 1}, {"title": [(0, 2)]}, row=7)
    answer = Answer([hit], {"year": [(1, 2)]}, 0, 10, "s")
    kept = Kept.from_bytes(Kept.of(answer).to_bytes())
    assert kept is not None
    assert kept.rows == [7]
    assert json.loads(kept.to_json([hit.document], 1.5, "miss")) == json.loads(answer.to_json(1.5, "miss"))
    assert Kept.from_bytes(b"something else") is None


def told(running: Any, query: str, **more: Any) -> tuple[str, list[str]]:
    answer = running.call("/collections/small/search", {"q": query, "mode": "lexical", **more}).json()
    return answer["cache"], [hit["document"]["title"] for hit in answer["hits"]]


def test_the_service_says_hit_and_miss_and_a_swap_serves_nothing_old(tmp_path: Path) -> None:
    file = small.write(tmp_path)
    build.build(config.load(file))
    with serving(tmp_path) as running:
        assert told(running, "whale") == ("miss", ["Moby-Dick"])
        assert told(running, "  whale ") == ("hit", ["Moby-Dick"])
        assert told(running, "whale", k=3)[0] == "miss"
        books = [dict(book) for book in small.BOOKS]
        books[0]["title"] = "The Whale"
        small.write(tmp_path, books)
        build.build(config.load(file))
        assert running.call("/admin/collections/small/reload", {}).status == 200
        assert told(running, "whale") == ("miss", ["The Whale"])


@pytest.mark.slow
@pytest.mark.needs("redis")
def test_services_share_a_redis(tmp_path: Path, redis_server: str) -> None:
    more = f'cache = "{redis_server}"\ncache_seconds = 2.0\n'
    build.build(config.load(small.write(tmp_path, config=small.CONFIG + more)))
    with serving(tmp_path) as first:
        assert told(first, "whale")[0] == "miss"
    with serving(tmp_path) as second:
        assert told(second, "whale") == ("hit", ["Moby-Dick"])
