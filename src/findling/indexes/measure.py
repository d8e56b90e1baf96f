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
from numpy.typing import NDArray

from findling.indexes.base import Params, Rows, Searchable, Vectors
from findling.indexes.scan import Stored, scan


def sample_rows(count: int, wanted: int, seed: int = 0) -> Rows:
    """Up to `wanted` distinct rows of `count`, ascending; the same for the same seed."""
    chosen = np.random.default_rng(seed).choice(count, size=min(wanted, count), replace=False)
    return np.sort(chosen).astype(np.int64)


def exact_answers(
    vectors: Stored, queries: Vectors, k: int, exclude: Rows | None = None, among: Rows | None = None
) -> tuple[Rows, Vectors]:
    """The exact best k rows for each of (q, dim) queries: rows (q, k) and scores (q, k), best first.

    Reads `vectors` (n, dim) block by block. `exclude` (q,) names one row for each query that is no answer
    to it, -1 for none; `among`, ascending, are the rows that may be, where not all may. Where fewer than k
    exist, rows end in -1 and scores in -inf.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if exclude is None:
        return scan(vectors, queries, k, among)
    return without(*scan(vectors, queries, k + 1, among), exclude)


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
    index: Searchable,
    queries: Vectors,
    truth: Rows,
    k: int,
    settings: Sequence[Params],
    *,
    exclude: Rows | None = None,
) -> list[dict[str, Any]]:
    """Recall@k, queries a second and latency for each setting of the search parameters, one query at a time.

    `truth` (q, k) are the exact rows, from `exact_answers` with the same `exclude`. Returns
    `{"params", "recall", "qps", "latency_ms": {"p50", "p95", "p99"}}` in the order of `settings`.
    """
    points = []
    for params in settings:
        index.search(queries[:1], k, params)
        wanted, found = k if exclude is None else k + 1, []
        laps = [time.perf_counter()]
        for query in queries:
            found.append(index.search(query[None], wanted, params))
            laps.append(time.perf_counter())
        rows = np.concatenate([rows for rows, _ in found])
        if exclude is not None:
            rows, _ = without(rows, np.concatenate([scores for _, scores in found]), exclude)
        points.append(
            {
                "params": dict(params),
                "recall": round(recall_at_k(rows, truth), 6),
                "qps": round(len(queries) / max(laps[-1] - laps[0], 1e-9), 1),
                "latency_ms": _percentiles(np.diff(laps) * 1000),
            }
        )
    return points


def choose(
    points: Sequence[Mapping[str, Any]], target: float, latency_ms: float | None = None
) -> dict[str, Any]:
    """The fastest point of a curve whose recall reaches the target, else the one of highest recall.

    With `latency_ms`, points that 95% of the queries keep to that come first, if any reaches the target.
    """
    if not points:
        raise ValueError("an empty curve has nothing to choose from")
    good = [point for point in points if point["recall"] >= target]
    if latency_ms is not None:
        good = [point for point in good if point["latency_ms"]["p95"] <= latency_ms] or good
    best = max(good, key=_speed) if good else max(points, key=lambda p: (p["recall"], _speed(p)))
    return dict(best)


def _speed(point: Mapping[str, Any]) -> float:
    """Searches a second by the median, which one that was held up does not move; else by the mean."""
    median = point["latency_ms"]["p50"] if "latency_ms" in point else 0.0
    return 1000 / median if median > 0 else float(point["qps"])


def nearest(points: Sequence[Mapping[str, Any]], target: float, latency_ms: float | None) -> str:
    """In words what a curve that misses its targets comes nearest to."""
    best = choose(points, target)
    told = f"recall@10 {best['recall']:.3f} in {best['latency_ms']['p95']:.3g} ms"
    quick = [point for point in points if latency_ms is not None and point["latency_ms"]["p95"] <= latency_ms]
    if not quick or best in quick:
        return told
    good = max(quick, key=lambda point: point["recall"])
    return f"{told}, or {good['recall']:.3f} in {good['latency_ms']['p95']:.3g} ms"


def _percentiles(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    if not len(milliseconds):
        return dict.fromkeys(("p50", "p95", "p99"), 0.0)
    found = np.percentile(milliseconds, [50, 95, 99], method="inverted_cdf")
    return {name: round(float(value), 4) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}
