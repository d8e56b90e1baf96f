"""The plain values that flow through the online half: a query goes in, an answer comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Mode = Literal["hybrid", "semantic", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "semantic", "lexical")
Way = Literal["full", "instant"]
WAYS: tuple[Way, ...] = ("full", "instant")

Document = Mapping[str, Any]
"""An accepted row: the kept columns by name, with a string `id`."""

MAX_K = 1000
MAX_REACH = 10_000  # offset + k
MAX_QUERY_CHARACTERS = 8000
MAX_TERMS = 16
MAX_WEIGHT = 1000.0


class Term(msgspec.Struct, frozen=True):
    """One thing that hits shall be like, or with a weight below 0 unlike: words, a picture, a document."""

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: NDArray[np.float32] | None = None
    weight: float = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not self.q.strip() and self.image is None and self.like is None and self.vector is None


class Query(msgspec.Struct, frozen=True):
    """What somebody asks for.

    Any of `q`, `image` (the bytes of a picture file), `like` (document id) and `vector` may be given; what
    is given is combined, with the further terms in `also`, by the weight of each. `field` limits the
    semantic side to one vector field. `query` says who embeds the words: the encoder ("full"), or the word
    vectors that the build fitted ("instant", raising QueryError where there are none); None leaves it to the
    collection. Hits that score below `min_score` are left out (a cosine, BM25 or a fused score, by `mode`).
    With `typos`, words that no document holds find others spelled nearly alike. `weights`, by part (a vector
    field's name or `lexical`), override the collection's. `explain` asks for ranks, `highlight` for places.
    """

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: NDArray[np.float32] | None = None
    also: tuple[Term, ...] = ()
    field: str | None = None
    k: int = 10
    offset: int = 0
    mode: Mode = "hybrid"
    query: Way | None = None
    where: str | Mapping[str, Any] | None = None
    facets: tuple[str, ...] = ()
    min_score: float | None = None
    typos: bool = True
    weights: Mapping[str, float] = {}
    explain: bool = False
    highlight: bool = False

    @property
    def terms(self) -> list[Term]:
        """All that is asked for, the query's own part first."""
        own = Term(self.q, self.image, self.like, self.vector)
        return [*([] if own.is_empty else [own]), *self.also]


class Hit(msgspec.Struct, frozen=True):
    """One result: `rank` counts from 1, and a higher `score` is always better.

    `scores` holds each part's own score (cosine for a vector field, BM25 for lexical); `ranks` each part's
    own rank, only where the query asked to `explain`. `document` is ready-made JSON, `row` where it stands.
    """

    id: str
    rank: int
    score: float
    scores: Mapping[str, float]
    document: bytes
    ranks: Mapping[str, int] | None = None
    highlights: Mapping[str, list[tuple[int, int]]] | None = None
    row: int = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, all from one snapshot; `degraded` says that a part could not be asked."""

    hits: list[Hit]
    facets: Mapping[str, list[tuple[Any, int]]]
    offset: int
    k: int
    snapshot: str
    degraded: bool = False

    def to_json(self, took_ms: float = 0.0, cache: str = "off") -> bytes:
        """The answer as HTTP and `search --json` give it."""
        return msgspec.json.encode(
            {
                "hits": [_hit(hit) for hit in self.hits],
                "facets": {
                    name: [{"value": value, "count": count} for value, count in counts]
                    for name, counts in self.facets.items()
                },
                "offset": self.offset,
                "k": self.k,
                "snapshot": self.snapshot,
                "cache": cache,
                "degraded": self.degraded,
                "took_ms": round(took_ms, 3),
            }
        )


def _hit(hit: Hit) -> dict[str, Any]:
    plain: dict[str, Any] = {"id": hit.id, "rank": hit.rank, "score": hit.score, "scores": hit.scores}
    if hit.ranks is not None:
        plain["ranks"] = hit.ranks
    if hit.highlights:
        plain["highlights"] = hit.highlights
    plain["document"] = msgspec.Raw(hit.document)
    return plain
