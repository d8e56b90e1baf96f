"""The plain values that flow through the online half: a query goes in, an answer comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Mode = Literal["hybrid", "semantic", "lexical"]
MODES: tuple[Mode, ...] = ("hybrid", "semantic", "lexical")

Document = Mapping[str, Any]
"""An accepted row: the kept columns by name, with a string `id`."""

MAX_K = 1000
MAX_REACH = 10_000  # offset + k
MAX_QUERY_CHARACTERS = 8000


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody asks for.

    Any of `q`, `image` (encoded picture), `like` (document id) and `vector` may be given; what is given is
    combined. `field` limits the semantic side to one vector field. `weights` override the collection's,
    by part: a vector field's name or `lexical`.
    """

    q: str = ""
    image: bytes | None = None
    like: str | None = None
    vector: NDArray[np.float32] | None = None
    field: str | None = None
    k: int = 10
    offset: int = 0
    mode: Mode = "hybrid"
    where: str | Mapping[str, Any] | None = None
    facets: tuple[str, ...] = ()
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """One result: `rank` counts from 1, and a higher `score` is always better.

    `scores` holds each part's own score (cosine for a vector field, BM25 for lexical); `ranks` each part's
    own rank, only where the query asked to `explain`. `document` is ready-made JSON.
    """

    id: str
    rank: int
    score: float
    scores: Mapping[str, float]
    document: bytes
    ranks: Mapping[str, int] | None = None
    highlights: Mapping[str, list[tuple[int, int]]] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of one query, all from one snapshot."""

    hits: list[Hit]
    facets: Mapping[str, list[tuple[Any, int]]]
    offset: int
    k: int
    snapshot: str
    degraded: bool = False
