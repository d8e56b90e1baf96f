"""Pictures ready for an encoder, fetched and decoded in other threads while it works on the ones before."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from findling.fetch.fetcher import Fetched, Fetcher
from findling.pictures import PictureError, content_hash, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_AHEAD = 4
_LEAST_AHEAD = 64
_PIXELS_AHEAD = 200_000_000
_BYTES_AHEAD = 128_000_000
_FIRST_GUESS = 8_000_000
_FADING = 0.9


class Loaded(NamedTuple):
    """A picture, or the reason why there is none; `digest` is the 16-byte hash of its file's content."""

    reference: str
    image: Image | None = None
    reason: str | None = None
    digest: bytes | None = None


class PictureLoader:
    """Turns references into pictures, in their order, ahead of whoever asks.

    `at_least` allows JPEGs to be decoded at a reduced scale, as `findling.pictures.open_picture` has it.
    `prepare` is called on each picture in the thread that decoded it (an encoder's resizing, say). Decoded
    pictures that wait hold about 200 megapixels at most, files that wait to be decoded some 128 MB. `waited`
    and `worked` are the seconds that the consumer of `stream` spent waiting for pictures, and on them. The
    fetcher stays the caller's to close. For one consumer at a time.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        threads: int = 2,
        at_least: int | None = None,
        prepare: Callable[[Image], Image] | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._at_least = at_least
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="findling-decode")
        self._size = float(_FIRST_GUESS)  # bytes that a picture to come may have: the largest of late
        self.waited = 0.0
        self.worked = 0.0

    def __enter__(self) -> PictureLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown(cancel_futures=True)

    def load(self, references: Iterable[str]) -> list[Loaded]:
        """All of these pictures at once; raises only as `Fetcher.fetch_many` does."""
        return [loaded for batch in self.stream(references, 1) for loaded in batch]

    def stream(self, references: Iterable[str], size: int) -> Iterator[list[Loaded]]:
        """The pictures in lists of `size`, the last perhaps shorter, those to come being made meanwhile."""
        left = iter(references)
        under_way: deque[Future[Loaded]] = deque()
        ahead = max(_AHEAD * size, _LEAST_AHEAD)
        try:
            while True:
                started = time.perf_counter()
                batch: list[Loaded] = []
                while len(batch) < size:
                    self._top_up(under_way, left, ahead)
                    if not under_way:
                        break
                    batch.append(under_way.popleft().result())
                self._top_up(under_way, left, ahead)
                ended = time.perf_counter()
                self.waited += ended - started
                if not batch:
                    return
                yield batch
                self.worked += time.perf_counter() - ended
        finally:
            for future in under_way:
                future.cancel()

    def _top_up(self, under_way: deque[Future[Loaded]], left: Iterator[str], ahead: int) -> None:
        """Begin further pictures; none while those that wait to be taken fill the memory set aside."""
        undecoded = sum(not future.done() for future in under_way)
        wanted = min(ahead - len(under_way), int(_BYTES_AHEAD / self._size) - undecoded)
        if wanted <= 0 or _pixels(under_way) > _PIXELS_AHEAD:
            return
        under_way.extend(self._begin(reference) for reference in itertools.islice(left, wanted))

    def _begin(self, reference: str) -> Future[Loaded]:
        loaded: Future[Loaded] = Future()
        fetching = self._fetcher.start(reference)

        def fetched(done: Future[Fetched]) -> None:
            if not done.cancelled() and not done.exception() and (content := done.result().content):
                self._size = max(len(content), self._size * _FADING, 1.0)
            try:
                self._pool.submit(self._finish, done, loaded)
            except RuntimeError:  # closed meanwhile
                loaded.cancel()

        fetching.add_done_callback(fetched)
        return loaded

    def _finish(self, done: Future[Fetched], loaded: Future[Loaded]) -> None:
        if not loaded.set_running_or_notify_cancel():
            return
        try:
            loaded.set_result(self._decoded(done.result()))
        except (Exception, CancelledError) as error:  # noqa: BLE001 - told to who takes it
            loaded.set_exception(error)

    def _decoded(self, fetched: Fetched) -> Loaded:
        if fetched.content is None:
            return Loaded(fetched.reference, reason=fetched.reason)
        digest = content_hash(fetched.content)
        try:
            image = open_picture(fetched.content, self._at_least)
        except PictureError as error:
            return Loaded(fetched.reference, reason=error.reason, digest=digest)
        return Loaded(fetched.reference, self._prepare(image) if self._prepare else image, None, digest)


def _pixels(under_way: Iterable[Future[Loaded]]) -> int:
    """How many pixels are decoded and wait to be taken."""
    done = (future.result() for future in under_way if future.done() and not future.exception())
    return sum(loaded.image.width * loaded.image.height for loaded in done if loaded.image is not None)
