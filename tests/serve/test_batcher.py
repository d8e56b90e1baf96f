"""Searches that wait for a thread: embedded together, answered as if alone, dropped when nobody waits."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
from findling import build, config
from findling.catalog import Catalog
from findling.encoders.base import Encoder, Vectors
from findling.encoders.queries import QueryVectors
from findling.errors import ClientGone, EncoderError, QueryError
from findling.records import Answer, Query
from findling.searcher import Searcher
from findling.serve import batcher
from findling.serve.batcher import Batcher
from findling.serve.live import Collection
from findling.stages import Stages

WORDS = ["a whale", "a white whale", "the desert", "marriages", "the creature that he made", "dragons"]


class Watched:
    """An encoder whose calls are written down, and who waits or fails when told to."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.spec = encoder.spec
        self.calls: list[list[str]] = []
        self.broken = False
        self.free = threading.Event()
        self.free.set()
        self.begun = threading.Semaphore(0)

    def embed_texts(self, texts: list[str], role: Any = "document") -> Vectors:
        self.calls.append(texts)
        self.begun.release()
        assert self.free.wait(60)
        if self.broken:
            raise EncoderError("no weights")
        return self._encoder.embed_texts(texts, role)

    def embed_images(self, images: list[Any]) -> Vectors:
        return self._encoder.embed_images(images)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    found = config.load(small.write(tmp_path_factory.mktemp("batcher")))
    build.build(found)
    return found


@pytest.fixture
def searcher(settings: config.Settings) -> Searcher:
    opened = Searcher.open(Catalog.of(settings).local(), settings.rank)
    opened.fields = {
        name: dataclasses.replace(field, encoder=Watched(field.encoder))
        for name, field in opened.fields.items()
    }
    opened.together = batcher.TOGETHER
    return opened


@pytest.fixture
def encoder(searcher: Searcher) -> Iterator[Watched]:
    watched = searcher.fields["text"].encoder
    assert isinstance(watched, Watched)
    yield watched
    watched.free.set()


async def never() -> None:
    await asyncio.Event().wait()


def _told(more: int) -> None:
    del more


async def at_once(
    searcher: Searcher,
    encoder: Watched,
    queries: list[Query],
    gone: dict[int, Callable[[], Any]] | None = None,
) -> list[Answer | BaseException]:
    """What queries get that wait together behind one on whose encoding the only thread waits."""
    waits = Batcher(1, _told)
    encoder.free.clear()
    first = asyncio.create_task(waits.search(searcher, Query(q="the first"), Stages(), never))
    while not encoder.begun.acquire(blocking=False):
        await asyncio.sleep(0)
    encoder.calls.clear()
    others = [
        asyncio.create_task(waits.search(searcher, query, Stages(), (gone or {}).get(number, never)))
        for number, query in enumerate(queries)
    ]
    left = [others[number] for number in gone or {}]
    await asyncio.wait(left) if left else await asyncio.sleep(0)
    encoder.free.set()
    await asyncio.gather(first, return_exceptions=True)
    return await asyncio.gather(*others, return_exceptions=True)


def hits(answer: Answer | BaseException) -> list[tuple[str, float]]:
    assert isinstance(answer, Answer), answer
    return [(hit.id, hit.score) for hit in answer.hits]


def test_what_waits_together_is_embedded_together_and_answered_as_if_alone(
    searcher: Searcher, encoder: Watched, settings: config.Settings
) -> None:
    queries = [Query(q=words, mode=mode) for words in WORDS for mode in ("semantic", "hybrid")]
    answers = asyncio.run(at_once(searcher, encoder, queries))
    assert encoder.calls == [WORDS]
    alone = Searcher.open(Catalog.of(settings).local(), settings.rank)
    assert [hits(answer) for answer in answers] == [hits(alone.search(query)) for query in queries]


def test_where_it_does_not_pay_each_is_embedded_alone(searcher: Searcher, encoder: Watched) -> None:
    searcher.together = 1
    asyncio.run(at_once(searcher, encoder, [Query(q=words) for words in WORDS]))
    assert encoder.calls == [[words] for words in WORDS]


def test_a_wrong_query_fails_alone_and_is_not_embedded(searcher: Searcher, encoder: Watched) -> None:
    queries = [
        Query(q="a whale"),
        Query(q="x" * 9000),
        Query(q="marriages", mode="lexical"),
        Query(q="dragons"),
    ]
    good, bad, lexical, last = asyncio.run(at_once(searcher, encoder, queries))
    assert encoder.calls == [["a whale", "dragons"]]
    assert isinstance(bad, QueryError)
    assert all(map(hits, (good, lexical, last)))


def test_an_encoder_that_fails_leaves_each_search_what_it_has_without(
    searcher: Searcher, encoder: Watched
) -> None:
    encoder.broken = True
    queries = [Query(q="whale"), Query(q="whale", mode="semantic"), Query(q="emma")]
    hybrid, semantic, other = asyncio.run(at_once(searcher, encoder, queries))
    assert isinstance(semantic, EncoderError)
    assert [isinstance(each, Answer) and each.degraded for each in (hybrid, other)] == [True, True]


def test_the_words_of_a_client_that_hung_up_in_a_long_queue_are_never_embedded(
    searcher: Searcher, encoder: Watched
) -> None:
    async def hangs_up() -> None:
        return None

    queries = [Query(q=f"whale {number}") for number in range(20)]
    answers = asyncio.run(at_once(searcher, encoder, queries, gone={18: hangs_up}))
    assert isinstance(answers.pop(18), ClientGone)
    assert all(map(hits, answers))
    embedded = [words for call in encoder.calls for words in call]
    assert "whale 18" not in embedded
    assert len(embedded) == 19


def test_whether_it_pays_is_measured(
    searcher: Searcher, encoder: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def take(each: float, call: float) -> Callable[..., Vectors]:
        def embed(texts: list[str], role: Any = "document") -> Vectors:
            nonlocal now
            now += call + each * len(texts)
            return np.empty((len(texts), encoder.spec.dim), np.float32)

        return embed

    monkeypatch.setattr(batcher.time, "perf_counter", lambda: now)
    monkeypatch.setattr(encoder, "embed_texts", take(each=1.0, call=0.01))
    assert batcher.together(searcher) == 1
    monkeypatch.setattr(encoder, "embed_texts", take(each=0.1, call=1.0))
    assert batcher.together(searcher) == batcher.TOGETHER


def test_the_vectors_of_queries_outlive_a_snapshot(
    settings: config.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = config.load(small.write(tmp_path))
    build.build(mine)
    collection = Collection(mine, tmp_path / "models")
    collection.refresh()
    before = collection.searcher
    encoder = type(before.fields["text"].encoder)
    found = hits(before.search(Query(q="a white whale")))
    small.write(tmp_path, small.BOOKS[:-1])
    build.build(mine)
    assert collection.refresh()
    assert collection.searcher is not before

    def never_again(*arguments: Any, **options: Any) -> Vectors:
        raise AssertionError("embedded again")

    monkeypatch.setattr(encoder, "embed_texts", never_again)
    assert hits(collection.searcher.search(Query(q="a white whale")))[0][0] == found[0][0]


def test_vectors_are_kept_up_to_a_number_of_bytes(searcher: Searcher, encoder: Watched) -> None:
    each = encoder.spec.dim * 4 + 300 + 1
    kept = QueryVectors(limit=3 * each)
    kept.embed(encoder, ["a", "b", "c", "a"])
    assert encoder.calls.pop() == ["a", "b", "c"]
    kept.embed(encoder, ["a"])  # now "b" is the least recently used
    kept.embed(encoder, ["d"])
    kept.embed(encoder, ["a", "c", "d", "b"])
    assert encoder.calls == [["d"], ["b"]]
    (vector,) = kept.embed(encoder, ["a"])
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1
