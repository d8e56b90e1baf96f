"""References in, pictures' bytes out: from the cache, a folder, an archive or the web, each failure named."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from findling import pictures, storage
from findling.archives import MemberError
from findling.errors import ConfigError, SourceError
from findling.fetch import addresses, reasons
from findling.fetch.cache import Entry, PictureCache
from findling.fetch.covers import Covers
from findling.fetch.local import Local
from findling.fetch.options import FetchOptions, Timing
from findling.fetch.pace import Pace
from findling.fetch.reasons import Failed
from findling.fetch.web import Held, Web

_AHEAD = 256
_DAY = 86_400.0
_STORAGE = frozenset({"file", "s3", "s3a", "gs", "gcs"})


class Fetched(NamedTuple):
    """A picture's bytes as they came, or the reason why there are none."""

    reference: str
    content: bytes | None = None
    reason: str | None = None


class Fetcher:
    """Gets pictures; for one process, used by any of its threads.

    `cache_dir` keeps what came from the web, and may be shared by processes. Relative paths start at `base`;
    files must lie below it, below one of `roots`, or below one of the options' `allow_paths`. With
    `retry_failed`, pictures are asked for again that earlier runs could not have. Nothing is asked of a host
    before the first web address comes. Use it as a context manager, or close it.
    """

    def __init__(
        self,
        options: FetchOptions,
        cache_dir: Path,
        *,
        base: str = "",
        roots: Sequence[str] = (),
        retry_failed: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self._options = options
        self._timing = timing or Timing()
        self._retry_failed = retry_failed
        self._base = base
        allowed = [storage.join(base, path) for path in options.allow_paths]
        self._local = Local(base, [*([base] if base else []), *roots, *allowed])
        self._cache = PictureCache(cache_dir)
        self._pace = Pace(cache_dir / "pace", self._timing)
        self._covers = Covers(_bulk_archives(options, base))
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="findling-fetch")
        self._lock = threading.Lock()
        self._asking: _Asking | None = None
        self._failures: Counter[str] = Counter()

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failures(self) -> Counter[str]:
        """How many pictures could not be had so far, by reason."""
        return Counter(self._failures)

    def failed(self) -> Iterator[Entry]:
        """Each address of the cache, of this and earlier runs, that gave no picture, with its reason."""
        return (entry for entry in self._cache.failures() if not entry.url.endswith("/robots.txt"))

    def fetch_many(self, references: Iterable[str], ahead: int = _AHEAD) -> Iterator[Fetched]:
        """What each reference stands for, in their order; at most `ahead` are under way at once.

        No picture's failure ends it. Raises ConfigError where web addresses come without `fetch.contact`, and
        StorageError where the cache cannot be written.
        """
        waiting: deque[Future[Fetched]] = deque()
        known: dict[str, Future[Fetched]] = {}
        try:
            for reference in references:
                if (future := known.get(reference)) is None:
                    future = known[reference] = self.start(reference)
                waiting.append(future)
                if len(waiting) >= ahead:
                    yield _taken(waiting, known)
            while waiting:
                yield _taken(waiting, known)
        finally:
            for future in waiting:
                future.cancel()

    def start(self, reference: str) -> Future[Fetched]:
        """Begin to get one picture; the future never raises but as `fetch_many` does."""
        if addresses.is_web(reference):
            return self._asked(reference)
        return self._pool.submit(self._from_here, reference)

    def close(self) -> None:
        """End what is under way and let go of connections, files and threads."""
        with self._lock:
            asking, self._asking = self._asking, None
        if asking is not None:
            asking.end()
        self._pool.shutdown(cancel_futures=True)
        self._local.close()
        self._covers.close()
        self._pace.close()
        self._cache.close()

    def _from_here(self, reference: str) -> Fetched:
        try:
            if not reference:
                raise Failed(reasons.NO_REFERENCE)
            scheme, is_url, _ = reference.partition("://")
            if (is_url and scheme.lower() not in _STORAGE) or reference[:5].lower() == "data:":
                raise Failed(reasons.SCHEME)
            return self._told(reference, self._local.read(reference))
        except Failed as failed:
            return self._told(reference, None, failed.reason)

    async def _from_web(self, web: Web, url: str) -> Fetched:
        loop = asyncio.get_running_loop()
        known = await loop.run_in_executor(self._pool, self._already, url)
        if isinstance(known, Fetched):
            return known
        entry, held = known
        try:
            held_tags = Held(entry.etag, entry.modified) if entry and held is not None else None
            answer = await web.get(url, held_tags)
            content = held if answer.content is None else answer.content
            reason = pictures.refusal(content or b"")
            found = Entry(url, self._timing.now(), etag=answer.etag, modified=answer.modified)
        except Failed as failed:
            if held is not None and failed.reason in reasons.PASSING:
                return self._told(url, held)  # it was due to be asked for again, and still is
            content, reason, found = None, failed.reason, Entry(url, self._timing.now())
        await loop.run_in_executor(self._pool, self._put_down, found, content, reason)
        return self._told(url, None if reason else content, reason)

    def _already(self, url: str) -> Fetched | tuple[Entry | None, bytes | None]:
        """What needs no request; else what is known and held, if anything."""
        if (cover := self._from_bulk(url)) is not None:
            return cover
        entry = self._cache.find(url)
        if entry is None or entry.reason is not None:
            if entry is not None and entry.lasting and not self._retry_failed:
                return self._told(url, None, entry.reason)
            return None, None
        content = self._cache.content(entry)
        days = self._options.refresh_days
        if content is not None and (days is None or self._timing.now() - entry.at < days * _DAY):
            return self._told(url, content)
        return entry, content

    def _from_bulk(self, url: str) -> Fetched | None:
        """The cover out of an archive; a damaged archive leaves it to be asked for."""
        try:
            content = self._covers.read(url, pictures.MAX_BYTES) if len(self._covers) else None
        except (MemberError, SourceError):
            return None
        return None if content is None else self._told(url, content)

    def _put_down(self, entry: Entry, content: bytes | None, reason: str | None) -> None:
        if reason is None and content is not None:
            self._cache.keep(entry, content)
        else:
            lasting = reason not in reasons.PASSING | reasons.BY_RULE
            self._cache.note(Entry(entry.url, entry.at, reason=reason, lasting=lasting))

    def _told(self, reference: str, content: bytes | None, reason: str | None = None) -> Fetched:
        reason = reason or pictures.refusal(content or b"")
        if reason is not None:
            with self._lock:
                self._failures[reason] += 1
            return Fetched(reference, None, reason)
        return Fetched(reference, content)

    def _asked(self, url: str) -> Future[Fetched]:
        with self._lock:
            if self._asking is None:
                self._asking = _Asking(self._options, self._cache, self._pace, self._timing)
            asking = self._asking
            return asyncio.run_coroutine_threadsafe(self._from_web(asking.web, url), asking.loop)


class _Asking:
    """An event loop in a thread of its own, with the connections that live in it."""

    def __init__(self, *made_of: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="findling-fetch", daemon=True)
        self._thread.start()
        self.web = asyncio.run_coroutine_threadsafe(self._begin(made_of), self.loop).result()
        atexit.register(self.end)  # a step that opened a fetcher is never told that it was the last batch

    async def _begin(self, made_of: tuple[Any, ...]) -> Web:
        return Web(*made_of)

    def end(self) -> None:
        """Cancel what is under way and close the connections."""
        atexit.unregister(self.end)
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _stop(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self.web.close()


def _taken(waiting: deque[Future[Fetched]], known: dict[str, Future[Fetched]]) -> Fetched:
    fetched = waiting.popleft().result()
    known.pop(fetched.reference, None)  # from now on it comes from the cache
    return fetched


def _bulk_archives(options: FetchOptions, base: str) -> list[str]:
    patterns = [options.archives] if isinstance(options.archives, str) else options.archives or []
    found = [path for pattern in patterns for path in storage.glob(storage.join(base, pattern))]
    if patterns and not found:
        raise ConfigError(
            f"fetch.archives: there is no {', '.join(patterns)}", todo="check the path, or take the key out"
        )
    return found
