"""How good and how fast an index is, against the exact answer.

recall@k is the share of the exact top k that was found (Aumüller, Bernhardsson and Faithfull,
"ANN-Benchmarks", 2020), compared by row here; among duplicates prefer `recall_by_score`.

**Which queries.** A query that is itself indexed finds itself and its own neighbourhood, which the graph was
built from: that measures little. So queries come, in this order, from what people asked (a file), from short
windows of words of the documents' texts, encoded as queries are, or, where neither can be had, from sampled
document vectors with their own row excluded from both answers. The caller says which in the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from findling.indexes.base import Index, Params, Rows, Vectors
from findling.indexes.scan import Stored, scan


def sample_rows(count: int, wanted: int, seed: int = 0) -> Rows:
    """Up to `wanted` distinct rows of `count`, ascending; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(count, size=min(wanted, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def exact_answers(
    vectors: Stored, queries: Vectors, k: int, exclude: Rows | None = None
) -> tuple[Rows, Vectors]:
    """The exact best k rows for each of (q, dim) queries: rows (q, k) and scores (q, k), best first.

    Reads `vectors` (n, dim) block by block. `exclude` (q,) names one row for each query that is no answer
    to it, -1 for none. Where fewer than k exist, rows end in -1 and scores in -inf.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if exclude is None:
        return scan(vectors, queries, k)
    return without(*scan(vectors, queries, k + 1), exclude)


def without(rows: Rows, scores: Vectors, exclude: Rows) -> tuple[Rows, Vectors]:
    """Answers (q, k + 1) less one excluded row each, as (q, k); the last where it was not there."""
    out = rows == exclude[:, None]
    out[~out.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~out].reshape(shape), scores[~out].reshape(shape)


def recall_at_k(found_rows: Rows, exact_rows: Rows) -> float:
    """The mean share of the exact rows (q, k) that are among the found (q, any); 1.0 where none exist.

    -1 is no row, on either side.
    """
    shares = [
        len(wanted.intersection(got)) / len(wanted)
        for got, exact in zip(found_rows.tolist(), exact_rows.tolist(), strict=True)
        if (wanted := set(exact) - {-1})
    ]
    return float(np.mean(shares)) if shares else 1.0


def recall_by_score(found_scores: Vectors, exact_scores: Vectors, tolerance: float = 1e-3) -> float:
    """The mean share of hits that score as well as the exact k-th: right among duplicates, where rows tie."""
    floor = np.where(np.isfinite(exact_scores), exact_scores, np.inf).min(axis=1, keepdims=True)
    wanted = np.isfinite(exact_scores).sum(axis=1)
    good = (found_scores >= floor - tolerance * np.abs(floor)) & np.isfinite(found_scores)
    shares = np.minimum(good.sum(axis=1), wanted)[wanted > 0] / wanted[wanted > 0]
    return float(shares.mean()) if len(shares) else 1.0


def curve(
    index: Index,
    queries: Vectors,
    truth: Rows,
    k: int,
    settings: Sequence[Params],
    *,
    exclude: Rows | None = None,
) -> list[dict[str, Any]]:
    """Recall@k and queries a second for each setting of the search parameters, one query at a time.

    `truth` (q, k) are the exact rows, from `exact_answers` with the same `exclude`. Returns
    `{"params", "recall", "qps"}` in the order of `settings`.
    """
    points = []
    for params in settings:
        index.search(queries[:1], k, params)
        wanted, started = k if exclude is None else k + 1, time.perf_counter()
        found = [index.search(query[None], wanted, params) for query in queries]
        seconds = time.perf_counter() - started
        rows = np.concatenate([rows for rows, _ in found])
        if exclude is not None:
            rows, _ = without(rows, np.concatenate([scores for _, scores in found]), exclude)
        qps = len(queries) / max(seconds, 1e-9)
        points.append(
            {"params": dict(params), "recall": round(recall_at_k(rows, truth), 6), "qps": round(qps, 1)}
        )
    return points


def choose(points: Sequence[Mapping[str, Any]], target: float) -> dict[str, Any]:
    """The fastest point of a curve whose recall reaches the target, else the one of highest recall."""
    if not points:
        raise ValueError("an empty curve has nothing to choose from")
    good = [point for point in points if point["recall"] >= target]
    best = max(good, key=lambda p: p["qps"]) if good else max(points, key=lambda p: (p["recall"], p["qps"]))
    return dict(best)
