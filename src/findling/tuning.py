"""How an index is measured against its targets: what it is asked, and which search parameters are chosen."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling import registry, snapshot, storage
from findling.encoders.base import Encoder
from findling.errors import ConfigError
from findling.fields import VectorField
from findling.indexes import measure, planner
from findling.indexes.base import Index, Params, Rows, Searchable, Vectors
from findling.indexes.planner import Candidate, Targets
from findling.indexes.scan import NotFinite
from findling.progress import Progress
from findling.searcher import Searcher

QUERIES = 200  # that an index is measured on
EXACT_QUERIES = 20  # brute force misses nothing; these only time it
K = 10
PILOT, PILOTED = 20_000, 10  # vectors of a pilot, and how many times more make it worth its time
_WINDOW = (4, 12)  # words of a held-out query


@dataclass(frozen=True)
class Asked:
    """Queries (q, dim) float32, where they come from, and which row each is itself, if it is one (q,)."""

    vectors: Vectors
    said: str
    own: Rows | None = None

    @classmethod
    def of_file(cls, url: str, encoder: Encoder, many: int = QUERIES) -> Asked:
        """Up to `many` queries of a file, evenly spread over it; raises ConfigError."""
        texts = read_queries(url)
        picked = [texts[at] for at in np.linspace(0, len(texts) - 1, min(many, len(texts)), dtype=np.int64)]
        of = f"{len(picked):,}" if len(picked) == len(texts) else f"{len(picked):,} of {len(texts):,}"
        return cls(encoder.embed_texts(picked, role="query"), f"{of} queries of {url.rpartition('/')[2]}")

    @classmethod
    def of_texts(cls, texts: Iterable[str], encoder: Encoder) -> Asked:
        """A run of words out of each text, so that no query is a document's text."""
        chance = random.Random(0)  # noqa: S311 - a repeatable sample, no secret
        windows = []
        for text in texts:
            words = text.split()
            width = min(chance.randint(*_WINDOW), max(len(words) - 1, 1))
            start = chance.randint(0, len(words) - width) if len(words) > width else 0
            windows.append(" ".join(words[start : start + width]))
        said = f"{len(windows)} runs of words out of the documents"
        return cls(encoder.embed_texts(windows, role="query"), said)

    @classmethod
    def of_rows(cls, index: Searchable, rows: Rows, what: str) -> Asked:
        """Rows of the index itself."""
        vectors = np.asarray(index.vectors[rows], np.float32)
        return cls(vectors, f"{len(rows)} {what}, each left out of its own answer", rows)


def read_queries(url: str) -> list[str]:
    """The queries of a file, one a line or JSON lines with `q` (or `text`); raises ConfigError."""
    try:
        lines = storage.read_bytes(url).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{url} is not UTF-8", todo="write a query a line, in UTF-8") from None
    found = [_query(url, number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ConfigError(f"{url} holds no queries", todo="write one a line")
    return found


def _query(url: str, number: int, line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        table = json.loads(line)
        text = table["q"] if "q" in table else table["text"]
    except (ValueError, LookupError, RecursionError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{url}, line {number}: no query", todo='write a query a line, or {"q": "…"}')
    return text


@dataclass(frozen=True)
class Built:
    """An index as built, with what it was asked and how it did."""

    candidate: Candidate
    index: Index
    asked: Asked
    curve: list[dict[str, Any]]
    chosen: dict[str, Any]


def build(
    vectors: NDArray[np.floating[Any]],
    path: Path,
    plan: Sequence[Candidate],
    ask: Callable[[str, Index], Asked],
    targets: Targets,
    name: str,
    progress: Progress,
    also: Mapping[str, Any] = {},
) -> Built:
    """The first index of a plan that meets the targets, else the one that comes nearest.

    It is built in the directory `path`, where what was there before stays. `ask` gives a kind its queries,
    and `also` is what it builds with beside its parameters.
    """
    before = {*path.iterdir()}

    def tried(candidate: Candidate) -> Built:
        for file in {*path.iterdir()} - before:
            file.unlink()
        with progress.task(f"index {name}", len(vectors), "vectors") as task:
            built = _built(vectors, path, candidate, ask, targets, also)
            task.advance(len(vectors))
        return built

    missed: list[Built] = []
    for candidate in pilot(vectors, plan, ask, targets, progress):
        built = tried(candidate)
        if targets.met_by(built.chosen):
            return built
        missed.append(built)
        near = measure.nearest(built.curve, targets.recall, targets.latency_ms)
        progress.say(f"{name}: {candidate} misses a target; the nearest: {near}")
    best = max(missed, key=lambda built: targets.nearness(built.chosen))
    return best if best is missed[-1] else tried(best.candidate)


def _built(
    vectors: NDArray[np.floating[Any]],
    path: Path,
    candidate: Candidate,
    ask: Callable[[str, Index], Asked],
    targets: Targets,
    also: Mapping[str, Any] = {},
) -> Built:
    kind = registry.load("index", candidate.kind)
    kind.build(vectors, path, dict(candidate.params), **also)
    index: Index = kind.open(path)
    asked = ask(candidate.kind, index)
    return Built(candidate, index, asked, *measured(index, kind.sweep, asked, targets))


def pilot(
    vectors: NDArray[np.floating[Any]],
    plan: Sequence[Candidate],
    ask: Callable[[str, Index], Asked],
    targets: Targets,
    progress: Progress,
) -> Sequence[Candidate]:
    """The plan with those last that miss the targets even among PILOT vectors, as more are only harder.

    Small collections are not worth a pilot: they are built at once.
    """
    if len(plan) < 2 or len(vectors) < PILOTED * PILOT:
        return plan
    step = len(vectors) // PILOT
    sample = np.ascontiguousarray(vectors[::step][:PILOT])
    good: list[Candidate] = []
    poor: list[Candidate] = []
    for candidate in plan:
        with tempfile.TemporaryDirectory(prefix="findling-pilot-") as aside:
            try:
                met = targets.met_by(_built(sample, Path(aside), candidate, ask, targets).chosen)
            except NotFinite as error:
                raise NotFinite(error.row * step, error.why) from None
        (good if met else poor).append(candidate)
        if met:
            break  # it is built first; what the rest would do matters only if it fails
        progress.say(f"pilot: {candidate} misses a target among {len(sample):,} vectors already")
    return [*good, *plan[len(good) + len(poor) :], *poor]


def measured(
    index: Searchable, sweep: Sequence[Params], asked: Asked, targets: Targets, among: Rows | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The curve over a sweep of search parameters, and its point that suits the targets best.

    `among` are the rows that may be found, ascending, where not all may.
    """
    truth, _ = measure.exact_answers(index.vectors, asked.vectors, K, asked.own, among)
    curve = measure.curve(index, asked.vectors, truth, K, sweep, exclude=asked.own)
    return curve, measure.choose(curve, targets.recall, targets.latency_ms)


@dataclass(frozen=True)
class Tuned:
    """How a published index does over its search parameters; `search` are those it is searched with now."""

    kind: str
    queries: str
    memory: int
    search: dict[str, Any]
    chosen: dict[str, Any]
    met: bool
    curve: list[dict[str, Any]]


def tune(
    searcher: Searcher, name: str, columns: Sequence[str], targets: Targets, queries: str | None
) -> Tuned:
    """Sweep the search parameters of a field of an open snapshot; nothing of it is changed.

    Queries come from the file `queries`, else from runs of words of documents' `columns`, else from the
    vectors themselves.
    """
    built, field = searcher.manifest.fields[name], searcher.fields[name]
    alive = _alive(searcher, field)
    kind = registry.load("index", built.kind)
    many = EXACT_QUERIES if len(kind.sweep) == 1 else QUERIES
    there = np.arange(len(field.index.vectors)) if alive is None else alive
    rows = there[np.unique(np.linspace(0, len(there) - 1, min(many, len(there)), dtype=np.int64))]
    if queries and "text" in field.encoder.spec.modalities:
        asked = Asked.of_file(queries, field.encoder, many)
    elif columns:
        asked = Asked.of_texts(_texts(searcher, field, rows, columns), field.encoder)
    else:
        asked = Asked.of_rows(field.index, rows, "pictures")
    curve, chosen = measured(field.index, kind.sweep, asked, targets, alive)
    memory = planner.resident(built.kind, built.count, built.spec.dim, built.params)
    met = targets.met_by(chosen) and memory <= targets.memory
    return Tuned(built.kind, asked.said, memory, built.search, chosen, met, curve)


def _alive(searcher: Searcher, field: VectorField) -> Rows | None:
    """The vectors that may be found, where a delta leaves not all of its base's."""
    if searcher.manifest.base is None:
        return None
    documents = np.arange(len(field.index.vectors)) if field.rows is None else field.rows
    return np.flatnonzero(~np.isin(documents, snapshot.open_gone(searcher.paths)))


def _texts(searcher: Searcher, field: VectorField, rows: Rows, columns: Sequence[str]) -> Iterator[str]:
    """The words of some vectors' documents, as far as the snapshot keeps their columns."""
    documents = rows if field.rows is None else field.rows[rows]
    for content in searcher.store.get_many([int(row) for row in documents]):
        document = json.loads(content)
        values = (document.get(name) or "" for name in columns)
        yield " ".join(" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in values)
