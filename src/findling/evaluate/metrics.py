"""Quality of one ranked list against human judgements, as trec_eval defines it.

`ranked` holds document ids, best first, each once. `gains` are one query's judgements by document id: above 0
is relevant, what is not judged is not relevant, below 0 counts as 0. Where nothing is relevant, all are 0.
Source: NIST, trec_eval 9.0 (ndcg_cut, map, recip_rank, recall), which BEIR uses too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

Gains = Mapping[str, int]


def ndcg_at_k(ranked: Sequence[str], gains: Gains, k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k.

    The gain is the judgement itself, as in trec_eval and BEIR (others take 2^judgement - 1), the discount
    log2(rank + 1); divided by that of the best order of all judged documents (Järvelin and Kekäläinen,
    "Cumulated gain-based evaluation of IR techniques", 2002).
    """
    best = _discounted(sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k])
    return _discounted(max(gains.get(found, 0), 0) for found in ranked[:k]) / best if best else 0.0


def average_precision(ranked: Sequence[str], gains: Gains) -> float:
    """The mean, over all relevant documents, of the precision at their ranks; 0 for those not in the list."""
    total, relevant = 0.0, _relevant(gains)
    hits = 0
    for rank, found in enumerate(ranked, start=1):
        if gains.get(found, 0) > 0:
            hits += 1
            total += hits / rank
    return total / relevant if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], gains: Gains) -> float:
    """1 / rank of the first relevant document, 0 where none is in the list."""
    return next((1 / rank for rank, found in enumerate(ranked, start=1) if gains.get(found, 0) > 0), 0.0)


def recall_at(ranked: Sequence[str], gains: Gains, k: int = 100) -> float:
    """The share of the relevant documents that are among the first k."""
    relevant = _relevant(gains)
    return sum(gains.get(found, 0) > 0 for found in ranked[:k]) / relevant if relevant else 0.0


def _relevant(gains: Gains) -> int:
    return sum(gain > 0 for gain in gains.values())


def _discounted(gains: Iterable[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
