from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from findling.indexes import measure
from findling.indexes.exact import Exact
from findling.indexes.scan import BLOCK_BYTES, block_rows, scan

CHANCE = np.random.default_rng(0)
VECTORS = CHANCE.normal(size=(3000, 16)).astype(np.float16)
QUERIES = CHANCE.normal(size=(20, 16)).astype(np.float32)


def brute(vectors: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    scores = (vectors.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return np.lexsort((np.arange(len(scores)), -scores))[:k].tolist()


def test_the_exact_answer_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (BLOCK_BYTES, 64):  # one block, and blocks of the smallest size
        monkeypatch.setattr("findling.indexes.scan.BLOCK_BYTES", size)
        rows, scores = measure.exact_answers(VECTORS, QUERIES, 10)
        assert rows.tolist() == [brute(VECTORS, query, 10) for query in QUERIES]
        assert (np.diff(scores, axis=1) <= 0).all()


@given(
    hnp.arrays(np.int8, st.tuples(st.integers(1, 40), st.just(3)), elements=st.integers(-2, 2)),
    st.integers(1, 50),
)
def test_ties_come_in_row_order(small: np.ndarray, k: int) -> None:
    vectors = small.astype(np.float16)
    query = np.array([1, -1, 2], np.float32)
    rows, scores = scan(vectors, query[None], k)
    expected = brute(vectors, query, k)
    assert rows[0, : len(expected)].tolist() == expected
    assert (rows[0, len(expected) :] == -1).all()
    assert (scores[0, len(expected) :] == -np.inf).all()


def test_an_excluded_row_is_no_answer_to_its_query() -> None:
    own = measure.sample_rows(len(VECTORS), 15)
    queries = VECTORS[own].astype(np.float32)
    rows, _ = measure.exact_answers(VECTORS, queries, 10, exclude=own)
    assert rows.shape == (15, 10)
    for row, query, mine in zip(rows.tolist(), queries, own.tolist(), strict=True):
        assert row == [found for found in brute(VECTORS, query, 11) if found != mine][:10]
    some, _ = measure.exact_answers(VECTORS, queries, 10, exclude=np.full(15, -1))
    assert some.tolist() == measure.exact_answers(VECTORS, queries, 10)[0].tolist()


def test_fewer_than_k_exist() -> None:
    rows, scores = measure.exact_answers(VECTORS[:3], QUERIES, 5)
    assert (rows[:, 3:] == -1).all()
    assert (scores[:, 3:] == -np.inf).all()


def test_samples_are_repeatable_and_distinct() -> None:
    assert measure.sample_rows(100, 10).tolist() == measure.sample_rows(100, 10).tolist()
    assert measure.sample_rows(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert measure.sample_rows(0, 10).tolist() == []


def test_recall_is_the_share_that_was_found() -> None:
    exact = np.array([[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    assert measure.recall_at_k(np.array([[4, 3, 9, -1], [5, 6, 7, -1], [1, 2, 3, 4]]), exact) == 0.75
    assert measure.recall_at_k(exact, exact) == 1.0
    assert measure.recall_at_k(np.empty((0, 3), int), np.empty((0, 3), int)) == 1.0


def test_recall_by_score_forgives_ties() -> None:
    exact = np.array([[0.9, 0.5, 0.5], [0.3, -np.inf, -np.inf]], np.float32)
    found = np.array([[0.9, 0.5, 0.4], [0.3, -np.inf, -np.inf]], np.float32)
    assert measure.recall_by_score(exact, exact) == 1.0
    assert measure.recall_by_score(found, exact) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("hold_out", [False, True])
def test_a_curve_measures_each_setting(tmp_path, hold_out: bool) -> None:
    Exact.build(VECTORS, tmp_path, {})
    index = Exact.open(tmp_path)
    own = measure.sample_rows(len(VECTORS), 10)
    queries, exclude = (VECTORS[own].astype(np.float32), own) if hold_out else (QUERIES, None)
    truth, _ = measure.exact_answers(VECTORS, queries, 10, exclude)
    points = measure.curve(index, queries, truth, 10, [{}, {}], exclude=exclude)
    assert [point["params"] for point in points] == [{}, {}]
    assert all(point["recall"] == 1.0 and point["qps"] > 0 for point in points)
    for point in points:
        assert 0 < point["latency_ms"]["p50"] <= point["latency_ms"]["p95"] <= point["latency_ms"]["p99"]


def test_the_fastest_that_reaches_the_target_is_chosen_else_the_best() -> None:
    curve = [
        {"params": {"ef": 16}, "recall": 0.90, "qps": 900.0},
        {"params": {"ef": 32}, "recall": 0.96, "qps": 500.0},
        {"params": {"ef": 64}, "recall": 0.98, "qps": 300.0},
    ]
    assert measure.choose(curve, 0.95)["params"] == {"ef": 32}
    assert measure.choose(curve, 0.5)["params"] == {"ef": 16}
    assert measure.choose(curve, 0.999)["params"] == {"ef": 64}
    with pytest.raises(ValueError, match="empty"):
        measure.choose([], 0.9)


def test_a_latency_is_kept_to_where_the_recall_allows_it() -> None:
    curve = [
        {"params": {"ef": ef}, "recall": recall, "qps": qps, "latency_ms": {"p50": p50, "p95": p95}}
        for ef, recall, qps, p50, p95 in [
            (16, 0.9, 900.0, 0.5, 1.0),
            (32, 0.96, 300.0, 1.0, 4.0),  # the median is lower, whatever one slow search did to the mean
            (64, 0.98, 400.0, 1.5, 3.0),
        ]
    ]
    assert measure.choose(curve, 0.95)["params"] == {"ef": 32}
    assert measure.choose(curve, 0.95, 3.5)["params"] == {"ef": 64}
    assert measure.choose(curve, 0.95, 0.5)["params"] == {"ef": 32}, "recall comes first"
    assert measure.nearest(curve, 0.95, 2.0) == "recall@10 0.960 in 4 ms, or 0.900 in 1 ms"
    assert measure.nearest(curve, 0.99, None) == "recall@10 0.980 in 3 ms"


def test_rows_that_may_not_be_found_are_no_answer() -> None:
    among = np.arange(0, len(VECTORS), 3)
    rows, _ = measure.exact_answers(VECTORS, QUERIES, 10, among=among)
    for row, query in zip(rows.tolist(), QUERIES, strict=True):
        assert row == (3 * np.array(brute(VECTORS[::3], query, 10))).tolist()


def test_a_block_is_never_too_small() -> None:
    assert block_rows(10**9) == 256
    assert block_rows(0) > 256
