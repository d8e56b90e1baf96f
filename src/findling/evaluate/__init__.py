"""Judging a search by queries that people have judged: nDCG@10, MAP, MRR, recall@100 and latency."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from findling.errors import QueryError
from findling.evaluate.judged import Qrels, Queries, read_qrels, read_queries
from findling.evaluate.metrics import average_precision, ndcg_at_k, recall_at, reciprocal_rank
from findling.evaluate.report import write_report

__all__ = [
    "Judged",
    "Qrels",
    "Queries",
    "Report",
    "average_precision",
    "evaluate",
    "ndcg_at_k",
    "percentiles",
    "read_qrels",
    "read_queries",
    "recall_at",
    "reciprocal_rank",
    "write_report",
]

DEPTH = 100  # hits that a search should return to be judged


@dataclass(frozen=True, slots=True)
class Judged:
    """How one query was answered."""

    id: str
    text: str
    relevant: int
    ndcg_at_10: float
    average_precision: float
    reciprocal_rank: float
    recall_at_100: float
    ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """The means over the judged queries, and each of these; latencies in milliseconds."""

    queries: int
    ndcg_at_10: float
    map: float
    mrr: float
    recall_at_100: float
    latency_ms: Mapping[str, float]
    mode: str = ""
    judged: Sequence[Judged] = field(default=(), repr=False)

    def as_json(self) -> dict[str, Any]:
        """What `eval --json` prints."""
        return {
            "queries": self.queries,
            "mode": self.mode,
            "ndcg_at_10": round(self.ndcg_at_10, 5),
            "map": round(self.map, 5),
            "mrr": round(self.mrr, 5),
            "recall_at_100": round(self.recall_at_100, 5),
            "latency_ms": {name: round(value, 3) for name, value in self.latency_ms.items()},
        }


def evaluate(
    search: Callable[[str], Sequence[str]],
    queries: Queries,
    qrels: Qrels,
    *,
    mode: str = "",
    told: Callable[[], object] = lambda: None,
) -> Report:
    """Ask `search` every judged query, one at a time, for its ids, best first (100 where there are so many).

    As in trec_eval, a query without judgements is left out of the means; unlike there without -c, one that
    finds nothing counts, as 0. `told` is called after each query. Raises QueryError where no query is judged.
    """
    judged = []
    for name, text in queries.items():
        gains = qrels.get(name)
        if not gains:
            continue
        started = time.perf_counter()
        ranked = search(text)
        ms = (time.perf_counter() - started) * 1000
        ranked = list(dict.fromkeys(ranked))[:DEPTH]
        judged.append(
            Judged(
                id=name,
                text=text,
                relevant=sum(gain > 0 for gain in gains.values()),
                ndcg_at_10=ndcg_at_k(ranked, gains, 10),
                average_precision=average_precision(ranked, gains),
                reciprocal_rank=reciprocal_rank(ranked, gains),
                recall_at_100=recall_at(ranked, gains, 100),
                ms=ms,
            )
        )
        told()
    if not judged:
        raise QueryError(
            "no query is judged", todo="the ids in the queries and in the qrels must be the same"
        )
    return Report(
        queries=len(judged),
        ndcg_at_10=_mean([one.ndcg_at_10 for one in judged]),
        map=_mean([one.average_precision for one in judged]),
        mrr=_mean([one.reciprocal_rank for one in judged]),
        recall_at_100=_mean([one.recall_at_100 for one in judged]),
        latency_ms=percentiles([one.ms for one in judged]),
        mode=mode,
        judged=judged,
    )


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99: the smallest value that so many per cent do not exceed."""
    found = np.percentile(np.asarray(values, np.float64), [50, 95, 99], method="inverted_cdf")
    return dict(zip(("p50", "p95", "p99"), found.tolist(), strict=True))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
