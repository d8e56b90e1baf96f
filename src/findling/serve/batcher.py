"""Searches wait here for a thread; those that wait together are embedded together, where that is cheaper."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from findling.errors import ClientGone, EncoderError, Overloaded
from findling.records import Answer, Query
from findling.searcher import Searcher
from findling.stages import Stages

T = TypeVar("T")
PENDING = 256  # requests that may wait for a thread, per process
TOGETHER = 16  # queries that are embedded in one call, at most
_PATIENCE = 0.1  # seconds from which on a client is watched, as it may hang up
_ROUNDS = 3
_CHEAPER = 0.7  # of embedding alone; where less is saved, threads that wait for a batch cost more


@dataclass(frozen=True)
class _Waiting:
    """One search on its way to a thread, and who waits for it."""

    searcher: Searcher
    query: Query
    stages: Stages
    answer: asyncio.Future[Answer]

    def tell(self, settle: Callable[[Any], None], what: Any) -> None:
        """Have the event loop settle the answer, unless nobody waits for it any more."""

        def settled() -> None:
            if not self.answer.done():
                settle(what)

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.answer.get_loop().call_soon_threadsafe(settled)


class Batcher:
    """A bounded queue in front of a few threads. `waits` is told of each request that comes and goes.

    The threads are its own: a pool of Python's takes ten times as long to hand a search over and back.
    """

    def __init__(self, threads: int, waits: Callable[[int], None]) -> None:
        self._waits = waits
        self._pending = 0
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=_work, args=(self._queue,), name=f"findling-search-{at}", daemon=True)
            for at in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def search(
        self, searcher: Searcher, query: Query, stages: Stages, gone: Callable[[], Awaitable[object]]
    ) -> Answer:
        """The answer to a query.

        Raises Overloaded where too many wait already, and ClientGone where `gone` returns first.
        """
        with self._place():
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._queue.put(_Waiting(searcher, query, stages, answer))
            return await _unless(gone, answer)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run anything else on a thread; raises Overloaded where too many wait already."""
        with self._place():
            return await asyncio.to_thread(function, *arguments)

    def close(self) -> None:
        """End the threads, after the searches that wait."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._pending >= PENDING:
            raise Overloaded(f"{self._pending} requests are waiting", todo="try again in a second")
        self._pending += 1
        self._waits(+1)
        try:
            yield
        finally:
            self._pending -= 1
            self._waits(-1)


def together(searcher: Searcher) -> int:
    """How many queries this process should embed at once: measured, as processors differ."""
    texts = searcher.samples(TOGETHER)  # of a queue's many lengths, of which few are equal
    alone, at_once = [], []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        for text in texts:
            searcher.try_encoders([text])
        between = time.perf_counter()
        searcher.try_encoders(texts)
        alone.append(between - started)
        at_once.append(time.perf_counter() - between)
    return TOGETHER if min(at_once) < _CHEAPER * min(alone) else 1


def _embed(batch: list[_Waiting]) -> None:
    """Embed the words of all, to be found by the searches that follow."""
    for waiting in batch:
        waiting.stages.lap("wait")
    for searcher in {id(waiting.searcher): waiting.searcher for waiting in batch}.values():
        # An encoder that fails fails each search by itself, which knows how to go on without.
        with contextlib.suppress(EncoderError):
            searcher.embed([waiting.query for waiting in batch if waiting.searcher is searcher])
    for waiting in batch:
        waiting.stages.lap("encode")


async def _unless(gone: Callable[[], Awaitable[object]], answer: asyncio.Future[Answer]) -> Answer:
    """The answer, unless its client goes before it; what has not begun by then never does."""
    loop, watch = asyncio.get_running_loop(), list[asyncio.Future[object]]()

    def look() -> None:
        watch.append(asyncio.ensure_future(gone()))
        watch[0].add_done_callback(lambda _: answer.cancel())

    timer = loop.call_later(_PATIENCE, look)
    try:
        return await answer
    except asyncio.CancelledError:
        if watch and watch[0].done():
            raise ClientGone("the client did not wait for its answer") from None
        raise
    finally:
        timer.cancel()
        for task in watch:
            task.cancel()


def _work(queue: SimpleQueue[_Waiting | None]) -> None:
    """What each thread does until it is told to end."""
    while _turn(queue):
        pass  # between turns nothing may hold on to a snapshot


def _turn(queue: SimpleQueue[_Waiting | None]) -> bool:
    """Answer the next searches; False where no more will come."""
    first = queue.get()
    if first is None:
        return False
    batch = [waiting for waiting in _with_others(first, queue) if not waiting.answer.cancelled()]
    if len(batch) > 1:
        _embed(batch)
    for waiting in batch:
        try:
            answer = waiting.searcher.search(waiting.query, waiting.stages)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told, whatever it is
            waiting.tell(waiting.answer.set_exception, error)
        else:
            waiting.tell(waiting.answer.set_result, answer)
    return True


def _with_others(first: _Waiting, queue: SimpleQueue[_Waiting | None]) -> list[_Waiting]:
    """A search and those behind it: as many together as its snapshot gains from."""
    batch = [first]
    with contextlib.suppress(Empty):
        while len(batch) < first.searcher.together:
            waiting = queue.get_nowait()
            if waiting is None:  # for the next turn
                queue.put(None)
                break
            batch.append(waiting)
    return batch
