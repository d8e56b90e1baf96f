"""Searches wait here for a thread; those that wait together are embedded together, where that is cheaper."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from findling.errors import ClientGone, EncoderError, Overloaded
from findling.records import Answer, Query
from findling.searcher import Searcher
from findling.stages import Stages

T = TypeVar("T")
PENDING = 256  # requests that may wait for a thread, per process
TOGETHER = 16  # queries that are embedded in one call, at most
_WATCHED = 16  # from so many waiting on, a client has time to lose patience
_ROUNDS = 3
_CHEAPER = 0.7  # of embedding alone; where less is saved, threads that wait for a batch cost more


@dataclass(frozen=True)
class _Waiting:
    """One search on its way to a thread."""

    searcher: Searcher
    query: Query
    stages: Stages
    answer: Future[Answer] = field(default_factory=Future)


class Batcher:
    """A bounded queue in front of a few threads. `waits` is told of each request that comes and goes."""

    def __init__(self, threads: int, waits: Callable[[int], None]) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="findling-search")
        self._waits = waits
        self._pending = 0
        self._queue: deque[_Waiting] = deque()

    async def search(
        self, searcher: Searcher, query: Query, stages: Stages, gone: Callable[[], Awaitable[object]]
    ) -> Answer:
        """The answer to a query.

        Raises Overloaded where too many wait already, and ClientGone where `gone` returns first.
        """
        with self._place():
            waiting = _Waiting(searcher, query, stages)
            self._queue.append(waiting)
            self._pool.submit(self._turn)
            answer = asyncio.wrap_future(waiting.answer)
            if len(self._queue) < _WATCHED:
                return await answer
            return await _unless(gone, answer)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run anything else on a thread; raises Overloaded where too many wait already."""
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

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

    def _turn(self) -> None:
        """One turn comes for each search; it takes what waits, so that others may find nothing to do."""
        batch = self._take()
        if len(batch) > 1:
            _embed(batch)
        for waiting in batch:
            try:
                answer = waiting.searcher.search(waiting.query, waiting.stages)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told, whatever it is
                waiting.answer.set_exception(error)
            else:
                waiting.answer.set_result(answer)

    def _take(self) -> list[_Waiting]:
        """The next searches whose clients still wait: as many as their snapshot gains from."""
        batch: list[_Waiting] = []
        while not batch or len(batch) < batch[0].searcher.together:
            try:
                waiting = self._queue.popleft()
            except IndexError:
                break
            if waiting.answer.set_running_or_notify_cancel():
                batch.append(waiting)
        return batch


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
    watch = asyncio.ensure_future(gone())
    either: set[asyncio.Future[Any]] = {watch, answer}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGone("the client did not wait for its answer")
        return answer.result()
    finally:
        watch.cancel()
        answer.cancel()
