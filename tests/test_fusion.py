from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from findling.fusion import reciprocal_rank, weighted

PARTS = ("text", "cover", "lexical")


@st.composite
def ranked(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.lists(st.integers(0, 30), unique=True, max_size=15))
    scores = draw(st.lists(st.integers(-8, 8), min_size=len(rows), max_size=len(rows)))
    return np.array(rows, np.int64), np.array(sorted(scores, reverse=True), np.float32) / 4


lists = st.dictionaries(st.sampled_from(PARTS), ranked(), max_size=3)
weights = st.dictionaries(st.sampled_from(PARTS), st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=3)
merges = st.sampled_from([reciprocal_rank, weighted])


def answer(found: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, float]]:
    return list(zip(found[0].tolist(), found[1].tolist(), strict=True))


@given(lists, weights, merges)
def test_what_comes_out_is_sorted_and_holds_each_row_once(lists, weights, merge) -> None:
    rows, scores = merge(lists, weights)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float64)
    assert answer((rows, scores)) == sorted(answer((rows, scores)), key=lambda hit: (-hit[1], hit[0]))
    parts = [part for part in lists if weights.get(part, 1) != 0]
    assert set(rows.tolist()) == {row for part in parts for row in lists[part][0].tolist()}
    assert len(set(rows.tolist())) == len(rows)


@given(lists, weights, merges, st.randoms())
def test_the_order_of_the_parts_changes_nothing(lists, weights, merge, random) -> None:
    shuffled = list(lists.items())
    random.shuffle(shuffled)
    assert answer(merge(dict(shuffled), weights)) == answer(merge(lists, weights))


@given(lists, weights)
def test_reciprocal_rank_is_its_formula(lists, weights) -> None:
    expected: dict[int, float] = {}
    for part, (rows, _) in lists.items():
        for rank, row in enumerate(rows.tolist(), start=1):
            if weights.get(part, 1) != 0:
                expected[row] = expected.get(row, 0) + weights.get(part, 1) / (60 + rank)
    assert dict(answer(reciprocal_rank(lists, weights))) == pytest.approx(expected)


@given(lists, weights, merges, st.sampled_from(PARTS))
def test_weight_zero_removes_a_part(lists, weights, merge, part) -> None:
    without = {name: found for name, found in lists.items() if name != part}
    assert answer(merge(lists, {**weights, part: 0})) == answer(merge(without, weights))


@given(lists, weights, merges)
def test_scaling_all_weights_keeps_the_order(lists, weights, merge) -> None:
    full = {part: weights.get(part, 1.0) for part in PARTS}
    doubled = {part: 2 * weight for part, weight in full.items()}
    assert merge(lists, doubled)[0].tolist() == merge(lists, full)[0].tolist()


@given(st.integers(1, 50), st.integers(1, 50))
def test_found_by_both_beats_found_by_one_at_the_same_ranks(at: int, other: int) -> None:
    first = np.arange(100, 200)
    second = np.arange(300, 400)
    first[at], second[other] = 7, 7
    scores = np.linspace(1, 0, 100, dtype=np.float32)
    for rival_row, rival in ((first, at), (second, other)):
        beaten = rival_row.copy()
        beaten[rival] = 8
        both, _ = reciprocal_rank({"text": (first, scores), "lexical": (second, scores)}, {})
        ranks = dict(zip(both.tolist(), range(200), strict=False))
        assert all(ranks[7] < ranks[int(row)] for row in first[at + 1 :])
        assert all(ranks[7] < ranks[int(row)] for row in second[other + 1 :])


@given(ranked(), merges)
def test_one_part_keeps_its_order(found, merge) -> None:
    rows, scores = found
    by_score = rows[np.lexsort((rows, -scores))].tolist()
    fused = merge({"text": found}, {})[0].tolist()
    assert fused == (rows.tolist() if merge is reciprocal_rank else by_score)


def test_weighted_stretches_each_part() -> None:
    text = np.array([3, 1, 2]), np.array([0.9, 0.8, 0.5], np.float32)
    lexical = np.array([2, 9]), np.array([40.0, 30.0], np.float32)
    found = dict(answer(weighted({"text": text, "lexical": lexical}, {"text": 2.0})))
    assert found == pytest.approx({3: 2.0, 1: 1.5, 2: 1.0, 9: 0.0}, abs=1e-6)


def test_weights_below_zero_push_down() -> None:
    text = np.array([1, 2, 3]), np.array([3, 2, 1], np.float32)
    unwanted = np.array([1]), np.array([5], np.float32)
    assert weighted({"text": text, "cover": unwanted}, {"cover": -2.0})[0].tolist() == [2, 3, 1]
    assert reciprocal_rank({"text": text, "cover": unwanted}, {"cover": -2.0})[0].tolist() == [2, 3, 1]


@pytest.mark.parametrize("merge", [reciprocal_rank, weighted])
def test_no_row_is_no_hit(merge) -> None:
    short = np.array([4, 2, -1, -1]), np.array([0.5, 0.25, -np.inf, -np.inf], np.float32)
    rows, scores = merge({"text": short, "cover": (np.empty(0, np.int64), np.empty(0, np.float32))}, {})
    assert rows.tolist() == [4, 2]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("merge", [reciprocal_rank, weighted])
def test_nothing_merges_to_nothing(merge) -> None:
    rows, scores = merge({}, {})
    assert rows.shape == scores.shape == (0,)
