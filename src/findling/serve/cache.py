"""The query cache: in memory, in Redis, or in both; whoever asks the same at once waits for one search.

A key holds the snapshot, so a swap can never serve an old answer, and no entry need ever be removed for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Any, Protocol

import msgspec
import numpy as np

from findling.config import ServeOptions, bytes_of
from findling.errors import ClientGone, ConfigError, extra
from findling.records import Query
from findling.snapshot import Manifest

_log = logging.getLogger("findling.serve")
REDIS = "redis://"
SKIP_SECONDS = 5.0  # for which a Redis that failed is not asked
KEEP_SECONDS = 86_400  # in Redis; in memory the least used go first
_OVERHEAD = 200  # bytes that an entry takes beside its key and value
_beside_words = operator.attrgetter(*(name for name in Query.__struct_fields__ if name != "q"))


class Level(Protocol):
    """One place where answers are kept; `get` and `put` never raise."""

    @property
    def on(self) -> bool:
        """Whether it can be asked now."""
        ...

    async def get(self, key: bytes) -> bytes | None:
        """What is kept under a key."""
        ...

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Memory:
    """A bounded number of bytes of this process; the least recently used go first."""

    on = True

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    async def get(self, key: bytes) -> bytes | None:
        """What is kept under a key, which is now the most recently used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value, unless it alone is past the limit; others make room."""
        if (old := self._kept.pop(key, None)) is not None:
            self.bytes -= len(key) + len(old) + _OVERHEAD
        size = len(key) + len(value) + _OVERHEAD
        if size > self.limit:
            return
        self._kept[key] = value
        self.bytes += size
        while self.bytes > self.limit:
            gone, content = self._kept.popitem(last=False)
            self.bytes -= len(gone) + len(content) + _OVERHEAD

    async def close(self) -> None:
        """Nothing is held open."""

    def __len__(self) -> int:
        return len(self._kept)


class Redis:
    """A Redis that costs at most its timeout: after a failure it is not asked for a while."""

    def __init__(self, url: str, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        with extra("redis", "cache = redis://"):
            from redis import asyncio as redis
            from redis.exceptions import RedisError
        try:
            self._client: Any = redis.from_url(
                url,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                retry_on_timeout=False,
                retry=None,
            )
        except ValueError as error:
            raise ConfigError(f"serve.cache is no address of a Redis: {error}") from None
        self._failures = (RedisError, OSError, TimeoutError)
        self._seconds, self._now = seconds, now
        self._skip_until = 0.0

    @property
    def on(self) -> bool:
        """Whether it can be asked now."""
        return self._now() >= self._skip_until

    async def get(self, key: bytes) -> bytes | None:
        """What is kept under a key; None as well where it fails."""
        found: bytes | None = await self._asked(lambda: self._client.get(key))
        return found

    async def put(self, key: bytes, value: bytes) -> None:
        """Keep a value for a day."""
        await self._asked(lambda: self._client.set(key, value, ex=KEEP_SECONDS))

    async def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(*self._failures):
            await self._client.aclose()

    async def _asked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if not self.on:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                return await call()
        except self._failures as error:
            self._skip_until = self._now() + SKIP_SECONDS
            # The error's text may hold the address with its password.
            _log.warning(
                "the cache's Redis does not answer (%s): not asked for a while", type(error).__name__
            )
            return None


class Cache:
    """Levels of caches, the fastest first, and searches under way that others wait for."""

    def __init__(self, levels: list[Level]) -> None:
        self.levels = levels
        self._flights: dict[bytes, asyncio.Future[bytes]] = {}

    @classmethod
    def of(cls, options: ServeOptions) -> Cache:
        """The cache that [serve] describes: "off", "memory", "redis://…" or "memory+redis://…"."""
        said, levels = options.cache, list[Level]()
        if said == "memory" or said.startswith("memory+"):
            levels.append(Memory(bytes_of(options.cache_memory, "serve.cache_memory")))
            said = said.removeprefix("memory").removeprefix("+")
        if said.startswith((REDIS, "rediss://", "unix://")):
            levels.append(Redis(said, options.cache_seconds))
        elif said not in ("", "off"):
            raise ConfigError(
                f"serve.cache is {options.cache!r}",
                todo='write "memory", "redis://host", both with +, or "off"',
            )
        return cls(levels)

    async def found(self, key: bytes, search: Callable[[], Awaitable[bytes]]) -> tuple[bytes, str]:
        """What is kept under a key, else what the search gives; and "hit", "miss" or "off"."""
        if not (key and self.levels):
            return await search(), "off"
        for place, level in enumerate(self.levels):
            if (known := await level.get(key)) is not None:
                for faster in self.levels[:place]:
                    await faster.put(key, known)
                return known, "hit"
        on = any(level.on for level in self.levels)
        while (flight := self._flights.get(key)) is not None:
            try:
                return await asyncio.shield(flight), "hit" if on else "off"
            except asyncio.CancelledError:
                if not flight.cancelled():  # it is we who are told to stop
                    raise
        return await self._searched(key, search), "miss" if on else "off"

    async def keep(self, key: bytes, value: bytes) -> None:
        """Keep an answer in every level."""
        for level in self.levels:
            await level.put(key, value)

    async def close(self) -> None:
        """Let go of connections."""
        for level in self.levels:
            await level.close()

    async def _searched(self, key: bytes, search: Callable[[], Awaitable[bytes]]) -> bytes:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            value = await search()
        except BaseException as error:
            # A client that has gone must not fail those who waited for its search: they search themselves.
            if isinstance(error, asyncio.CancelledError | ClientGone):
                flight.cancel()
            else:
                flight.set_exception(error)
                flight.exception()  # it is no loss that nobody waits
            raise
        else:
            flight.set_result(value)
            return value
        finally:
            del self._flights[key]


def key_of(manifest: Manifest, query: Query) -> bytes:
    """The name of a query's answer: collection, snapshot, encoders, and all that was asked, in 24 bytes.

    Empty for what cannot be written down, like a k beyond 64 bits: the search says what is wrong with it.
    """
    encoders = {name: field.spec.id for name, field in manifest.fields.items()}
    words = unicodedata.normalize("NFC", " ".join(query.q.split()))
    made_from = [manifest.collection, manifest.id, manifest.digest, encoders, words, _beside_words(query)]
    try:
        content = msgspec.msgpack.encode(made_from, enc_hook=_packed, order="sorted")
    except (OverflowError, UnicodeEncodeError, RecursionError):
        return b""
    return b"findling:" + blake2b(content, digest_size=24).hexdigest().encode()


def _packed(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) else str(value)
