"""Fitting instant queries: word vectors whose sum lands where the full encoder puts a text.

A text is the set of its words, each weighted by the square root of its idf, at length 1. Word vectors W are
fitted by ridge regression to what the encoder made of the documents, and of short runs of their words, which
are more like queries: they minimise

    sum over texts of weight * |features @ W - vector|^2  +  RIDGE * |W - PRIOR * (each word's own vector)|^2

and are found by conjugate gradients with a Jacobi preconditioner (Shewchuk, "An Introduction to the Conjugate
Gradient Method Without the Agonizing Pain", 1994), on samples of bounded size. docs/decisions/ tells what was
tried, and how it scored.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.embeddings import Hashes
from findling.encoders.base import Vectors
from findling.encoders.instant import Instant, words_of
from findling.indexes.measure import exact_answers
from findling.snapshot import InstantManifest

METHOD = 1
"""Changes with what follows, so that what another method fitted is fitted again."""
TEXTS, WINDOWS, WORDS, HELD_OUT = 100_000, 40_000, 50_000, 200
LONGEST = 3_000_000
"""Words of all sampled documents together, about; of longer documents fewer are sampled."""
RIDGE, PRIOR, STEPS = 2.0, 0.2, 12
DOCUMENT_WEIGHT = 2.0
"""How much a document counts against a run of words."""
ALIKE = 0.9
"""The likeness of two collections from which on one's fit serves the other."""

_SKETCH, _SKETCHED = "sketch.npy", 1024
_CHARACTERS = 20_000  # of a document that are looked at
_COLUMNS = 64  # dimensions solved at a time: they bound the memory, and fit the cache
_RUN, _BLOCK = 256, 1024  # word vectors added up, and gathered, at a time
_FEW = 100  # documents for each one held out, from which on those do not matter

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """What is fitted to: the texts of a field in the order of their vectors, and how queries are embedded.

    `texts` gives them block by block, again and again; `vectors` are (n, dim), `hashes` (n, 2) those of the
    texts; `embed` gives (m, dim) for m queries.
    """

    texts: Callable[[], Iterator[Sequence[str]]]
    vectors: NDArray[np.floating[Any]]
    hashes: Hashes
    embed: Callable[[list[str]], NDArray[np.floating[Any]]]


def write(path: Path, corpus: Corpus, least: float, before: Path | None = None) -> InstantManifest:
    """Instant queries for a corpus in the directory `path`, if they find `least` of the encoder's top 10.

    What was fitted `before`, by this method and for this encoder, is used again where the texts are nearly
    the same.
    """
    held = _held_out(len(corpus.vectors))
    if before is not None and is_like(before, corpus.hashes):
        instant, fitted = Instant.open(before), True
    else:
        instant, fitted = fit(corpus, held), False
    share, queries = overlap(instant, corpus, held)
    if share >= least:
        if not fitted and len(held) * _FEW > len(corpus.vectors):
            instant = fit(corpus)  # what was held out is missed by a small collection
        instant.write(path)
        sketch = np.load(before / _SKETCH) if fitted and before else _sketch(corpus.hashes)
        np.save(path / _SKETCH, sketch, allow_pickle=False)
    return InstantManifest(
        method=METHOD,
        words=len(instant),
        overlap_at_10=round(share, 4),
        queries=f"{queries} runs of words out of documents that were not fitted to",
        used=share >= least,
    )


def fit(corpus: Corpus, held: Iterable[int] = ()) -> Instant:
    """Word vectors fitted to the corpus, but for the rows that are `held` out."""
    rows, texts = _sample(corpus, set(held))
    windows = _windows(texts, WINDOWS)
    words, counts = _vocabulary(texts)
    own = corpus.embed(windows + words)
    targets = _Targets(corpus.vectors, rows, own[: len(windows)])
    scale = np.sqrt(np.log1p(len(texts) / (counts + 1))).astype(np.float32)
    places = {word: place for place, word in enumerate(words)}
    table = _solve(_Bags.of([*texts, *windows], places), scale, targets, own[len(windows) :])
    return Instant(words, table)


def is_like(path: Path, hashes: Hashes) -> bool:
    """Whether what is in `path` was fitted to nearly the same texts.

    The Jaccard likeness of the two sets of texts, estimated from the least hashes of each (Broder, "On the
    Resemblance and Containment of Documents", 1997).
    """
    if not (path / _SKETCH).exists():
        return False
    ours, theirs = _sketch(hashes), np.load(path / _SKETCH, allow_pickle=False)
    either = np.union1d(ours, theirs)[:_SKETCHED]
    shared = np.isin(either, ours) & np.isin(either, theirs)
    return len(either) > 0 and float(shared.mean()) >= ALIKE


def overlap(instant: Instant, corpus: Corpus, held: Numbers) -> tuple[float, int]:
    """The share of the full encoder's exact top 10 that instant queries find, and over how many queries.

    They are runs of words out of the documents `held` out. One that instant queries leave to the
    full encoder finds the same.
    """
    queries = [_window(text, random.Random(text)) for text in _each(corpus, held)]  # noqa: S311 - no secret
    full = np.asarray(corpus.embed(queries), np.float32)
    swift = np.array(
        [own if (own := instant.embed(q)) is not None else full[at] for at, q in enumerate(queries)]
    )
    k = min(10, len(corpus.vectors))
    wanted, _ = exact_answers(corpus.vectors, full, k)
    found, _ = exact_answers(corpus.vectors, swift, k)
    shares = [len({*a.tolist()} & {*b.tolist()}) / k for a, b in zip(wanted, found, strict=True)]
    return float(np.mean(shares)), len(queries)


def _held_out(count: int) -> Numbers:
    """Evenly spread rows that are not fitted to, a tenth at most."""
    return np.unique(np.linspace(0, count - 1, max(min(HELD_OUT, count // 10), 1), dtype=np.int64))


def _sample(corpus: Corpus, held: set[int]) -> tuple[Numbers, list[str]]:
    """Evenly spread rows and their texts, without those that are held out."""
    count = len(corpus.vectors)
    spread = np.unique(np.linspace(0, count - 1, min(TEXTS, count), dtype=np.int64))
    rows = np.array([row for row in spread.tolist() if row not in held] or [0], np.int64)
    kept: list[str] = []
    step = length = 1
    for at, text in enumerate(_each(corpus, rows)):
        if at % step == 0:
            kept.append(text)
            length += text.count(" ") + 1
        if length > LONGEST:  # every second one is enough
            kept, step, length = kept[::2], step * 2, length // 2
    return rows[::step][: len(kept)], kept


def _each(corpus: Corpus, rows: Numbers) -> Iterator[str]:
    at = 0
    for block in corpus.texts():
        low, high = np.searchsorted(rows, (at, at + len(block)))
        for row in rows[low:high].tolist():
            yield block[row - at][:_CHARACTERS]
        at += len(block)


def _windows(texts: Sequence[str], many: int) -> list[str]:
    """About `many` distinct runs of words, more out of longer texts; a text gives the same ones each time."""
    lengths = [text.count(" ") + 1 for text in texts]
    share = many / max(sum(lengths), 1)
    windows: dict[str, None] = {}
    for text, length in zip(texts, lengths, strict=True):
        chance = random.Random(text)  # noqa: S311 - a repeatable sample, no secret
        windows.update((_window(text, chance), None) for _ in range(int(length * share + chance.random())))
    return list(windows)


def _window(text: str, chance: random.Random) -> str:
    """A run of words about as long as a query."""
    words = text.split()
    wanted = chance.randint(3, 20) if len(words) > 40 else chance.randint(2, 9)
    width = max(min(wanted, len(words) - 1), 1)
    start = chance.randint(0, max(len(words) - width, 0))
    return " ".join(words[start : start + width])


def _vocabulary(texts: Sequence[str]) -> tuple[list[str], Numbers]:
    """The words that are in most texts, and in how many each is."""
    counts = Counter(word for text in texts for word in words_of(text))
    common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:WORDS]
    return [word for word, _ in common], np.array([count for _, count in common], np.int64)


def _sketch(hashes: Hashes) -> NDArray[np.uint64]:
    return np.unique(hashes[:, 0])[:_SKETCHED]


@dataclass(frozen=True)
class _Targets:
    """Where texts shall land: the documents of some rows, then windows."""

    documents: NDArray[np.floating[Any]]
    rows: Numbers
    windows: NDArray[np.floating[Any]]

    def columns(self, chosen: slice) -> Vectors:
        """(n, c) float32, some dimensions of all."""
        documents = self.documents[self.rows][:, chosen]
        return np.concatenate([documents, self.windows[:, chosen]]).astype(np.float32)

    def weights(self) -> Vectors:
        """(n,) float32."""
        parts = ((self.rows, DOCUMENT_WEIGHT), (self.windows, 1.0))
        return np.concatenate([np.full(len(part), weight, np.float32) for part, weight in parts])


@dataclass(frozen=True)
class _Bags:
    """Which columns each row has, as runs of `columns` of the given `lengths`: a sparse matrix of ones.

    numpy alone adds up word vectors as fast as scipy's sparse product, if runs of equal length are added
    together (0.16 s both, for half a million words of 384 dimensions).
    """

    columns: Numbers
    lengths: Numbers

    @classmethod
    def of(cls, texts: Sequence[str], places: dict[str, int]) -> _Bags:
        """A row for each text."""
        rows = [
            [place for word in words_of(text) if (place := places.get(word)) is not None] for text in texts
        ]
        lengths = np.array([len(row) for row in rows], np.int64)
        return cls(np.fromiter((place for row in rows for place in row), np.int64, lengths.sum()), lengths)

    def transposed(self, count: int) -> _Bags:
        """Which of its rows have each of `count` columns."""
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return _Bags(
            rows[np.argsort(self.columns, kind="stable")], np.bincount(self.columns, minlength=count)
        )

    def sums(self, vectors: Vectors) -> Vectors:
        """(rows, c): for each row the sum of the `vectors` (columns, c) of its columns."""
        ends = np.cumsum(self.lengths)
        pieces = -(-self.lengths // _RUN)  # long rows are added up piece by piece
        row_of = np.repeat(np.arange(len(pieces)), pieces)
        nth = np.arange(len(row_of)) - (np.cumsum(pieces) - pieces)[row_of]
        starts = (ends - self.lengths)[row_of] + nth * _RUN
        widths = np.minimum(self.lengths[row_of] - nth * _RUN, _RUN)
        out = np.zeros((len(self.lengths), vectors.shape[1]), np.float32)
        for width in np.unique(widths).tolist():
            alike = np.flatnonzero(widths == width)
            run = np.arange(width)
            for at in range(0, len(alike), max(1, _BLOCK // width)):
                some = alike[at : at + max(1, _BLOCK // width)]
                added = vectors[self.columns[starts[some, None] + run]].sum(axis=1)
                if width < _RUN:  # the only piece, or the last: no row is there twice
                    out[row_of[some]] += added
                else:
                    np.add.at(out, row_of[some], added)
        return out


def _solve(bags: _Bags, scale: Vectors, targets: _Targets, own: NDArray[np.floating[Any]]) -> Vectors:
    """(words, dim) float32: vectors to be summed, `scale` (words,) already in them."""
    turned = bags.transposed(len(scale))
    squares = bags.sums(np.square(scale)[:, None])[:, 0]
    # A row's length makes its features a unit vector; a text without known words has no say.
    lengths: Vectors = np.sqrt(np.maximum(squares, np.float32(1e-12)))
    weights = (targets.weights() / np.square(lengths)).astype(np.float32)
    diagonal = np.square(scale) * turned.sums(weights[:, None])[:, 0] + np.float32(RIDGE)

    def fit(chosen: slice) -> Vectors:
        start = np.float32(PRIOR) * own[:, chosen].astype(np.float32)
        goal = lengths[:, None] * targets.columns(chosen)

        def normal(vectors: Vectors) -> Vectors:
            fitted = bags.sums(scale[:, None] * vectors)
            return scale[:, None] * turned.sums(weights[:, None] * fitted)

        right = scale[:, None] * turned.sums(weights[:, None] * goal)
        return start + _conjugate_gradients(
            lambda step: normal(step) + np.float32(RIDGE) * step, right - normal(start), diagonal[:, None]
        )

    dim = own.shape[1]
    parts = [slice(at, min(at + _COLUMNS, dim)) for at in range(0, dim, _COLUMNS)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = np.concatenate(list(pool.map(fit, parts)), axis=1)
    scaled: Vectors = scale[:, None] * found
    return scaled


def _conjugate_gradients(product: Callable[[Vectors], Vectors], right: Vectors, diagonal: Vectors) -> Vectors:
    """STEPS steps from zero towards the x of `product(x) = right`, each column on its own."""
    x, residual = np.zeros_like(right), right.copy()
    direction = residual / diagonal
    before = (residual * direction).sum(axis=0)
    for _ in range(STEPS):
        turned = product(direction)
        step = before / np.maximum((direction * turned).sum(axis=0), 1e-20)
        x += step * direction
        residual -= step * turned
        settled = residual / diagonal
        after = (residual * settled).sum(axis=0)
        direction = settled + (after / np.maximum(before, 1e-20)) * direction
        before = after
    return x
