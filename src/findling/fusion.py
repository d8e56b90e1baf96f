"""Merging the ranked lists of several parts (vector fields, lexical) into one.

A part is a list of rows, best first, and their scores; row -1 is no row. What comes out is sorted by fused
score, best first, and by row where scores tie, so that the same lists always give the same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Scores = NDArray[np.float64]
Lists = Mapping[str, tuple[NDArray[np.int64], NDArray[np.floating[Any]]]]

CONSTANT = 60


def reciprocal_rank(
    lists: Lists, weights: Mapping[str, float], constant: float = CONSTANT
) -> tuple[Rows, Scores]:
    """The sum over parts of weight / (constant + rank), rank counting from 1: rows and fused scores.

    A part that is not in `weights` counts with 1; a part of weight 0 is left out, its rows too. Source:
    Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning
    Methods", 2009.
    """
    rows: list[Rows] = []
    gains: list[Scores] = []
    for part, weight in _parts(lists, weights):
        found = lists[part][0]
        rows.append(found)
        gains.append(weight / (constant + np.arange(1, len(found) + 1, dtype=np.float64)))
    return _summed(rows, gains)


def weighted(lists: Lists, weights: Mapping[str, float]) -> tuple[Rows, Scores]:
    """The sum over parts of weight * score, each part's scores first stretched to 0..1: rows and scores.

    A part's best hit counts 1 and its worst 0, as much as a row that it did not find; all count 1 where all
    score alike. Weights as in `reciprocal_rank`; one below 0 pushes down what the part finds. Source: Lee,
    "Analyses of Multiple Evidence Combination", 1997 (CombSUM over min-max normalised scores).
    """
    rows, gains = [], []
    for part, weight in _parts(lists, weights):
        found, scores = lists[part]
        real = found >= 0
        if not real.all():
            found, scores = found[real], scores[real]
        if not len(found):
            continue
        wide = scores.astype(np.float64)
        low, high = wide.min(), wide.max()
        rows.append(found)
        gains.append(weight * ((wide - low) / (high - low) if high > low else np.ones(len(wide))))
    return _summed(rows, gains)


def _parts(lists: Lists, weights: Mapping[str, float]) -> list[tuple[str, float]]:
    # Sorted, so that sums do not depend on the order in which parts came.
    counted = ((part, weights.get(part, 1.0)) for part in sorted(lists))
    return [(part, weight) for part, weight in counted if weight != 0 and len(lists[part][0])]


def _summed(rows: list[Rows], gains: list[Scores]) -> tuple[Rows, Scores]:
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    every, gain = np.concatenate(rows), np.concatenate(gains)
    order = np.argsort(every)
    every, gain = every[order], gain[order]
    new = np.empty(len(every), np.bool_)
    new[0] = True
    np.not_equal(every[1:], every[:-1], out=new[1:])
    first = np.flatnonzero(new)
    total, distinct = np.add.reduceat(gain, first), every[first]
    if distinct[0] < 0:
        total, distinct = total[1:], distinct[1:]
    # Rows ascend, and a stable sort keeps them so where scores tie.
    best = np.argsort(-total, kind="stable")
    return distinct[best], total[best]
