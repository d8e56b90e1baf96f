"""Rows whose vectors are equal, so that an index may hold each vector once.

Documents of the same text have the same vector, hundreds of them for an often printed book. In a graph they
would link to one another only, and a walk that enters such an island does not leave it: with 100 vectors
100 times each among 10,000 others, recall@10 fell from 1.00 to 0.83 (HNSW, ef 64).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from findling.indexes.base import Mask, Rows, Vectors
from findling.indexes.scan import Stored, block_rows, halves

FILES = {"group_of": "alike-groups.npy", "members": "alike-rows.npy", "starts": "alike-starts.npy"}
Numbers = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Alike:
    """Groups of rows with equal vectors, numbered by their first row.

    `group_of` (n,) is each row's group; the rows of group g are `members[starts[g] : starts[g + 1]]`,
    ascending.
    """

    group_of: Numbers
    members: Numbers
    starts: Numbers

    @classmethod
    def find(cls, vectors: Stored) -> Self | None:
        """The groups among (n, dim) vectors as float16; None where all differ.

        Raises FindlingError naming the row of a vector that is not finite. Memory: 40 bytes a row.
        """
        first = _first_alike(vectors, _hashes(vectors))
        is_first = first == np.arange(len(first))
        if is_first.all():
            return None
        small: np.dtype[np.signedinteger[Any]] = np.dtype(np.int32 if len(first) < 2**31 else np.int64)
        group_of = (np.cumsum(is_first) - 1)[first].astype(small)
        members = np.argsort(group_of, kind="stable").astype(small)
        starts = np.concatenate([[0], np.cumsum(np.bincount(group_of))]).astype(small)
        return cls(group_of, members, starts)

    def write(self, path: Path) -> None:
        """Write the groups beside the index in the directory `path`."""
        for name, file in FILES.items():
            np.save(path / file, getattr(self, name), allow_pickle=False)

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """The groups in the directory `path`, mapped; None where there are none."""
        if not (path / FILES["starts"]).exists():
            return None
        mapped = {
            name: np.load(path / file, mmap_mode="r", allow_pickle=False) for name, file in FILES.items()
        }
        return cls(**{name: found.view(np.ndarray) for name, found in mapped.items()})

    @property
    def firsts(self) -> Numbers:
        """The first row of each group, (g,)."""
        return self.members[self.starts[:-1]]

    def of_rows(self, mask: Mask) -> Mask:
        """Which groups have a row that the mask (n,) lets pass, (g,)."""
        out = np.zeros(len(self.starts) - 1, np.bool_)
        out[self.group_of[mask]] = True
        return out

    def rows(self, groups: Rows, scores: Vectors, k: int, mask: Mask | None) -> tuple[Rows, Vectors]:
        """Answers in groups, best first, as answers in rows: (q, k), ties by row, ending in -1 and -inf."""
        if (
            len(groups) == 1
            and mask is None
            and groups.shape[1] == k
            and self._is_plain(groups[0], scores[0])
        ):
            return self.members[self.starts[groups]].astype(np.int64), scores
        out_rows = np.full((len(groups), k), -1, np.int64)
        out_scores = np.full((len(groups), k), -np.inf, np.float32)
        for at, (found, values) in enumerate(zip(groups, scores, strict=True)):
            real = found >= 0
            rows, each = self._members(found[real], k, mask)
            told = np.repeat(values[real], each)
            order = np.lexsort((rows, -told))[:k]
            out_rows[at, : len(order)], out_scores[at, : len(order)] = rows[order], told[order]
        return out_rows, out_scores

    def _is_plain(self, groups: Rows, scores: Vectors) -> bool:
        """Whether there is one row to each group, and no two score alike."""
        if not len(groups) or groups[-1] < 0:
            return False
        alone = self.starts[groups + 1] - self.starts[groups] == 1
        return bool(alone.all() and (scores[1:] < scores[:-1]).all())

    def _members(self, groups: Rows, k: int, mask: Mask | None) -> tuple[Numbers, Numbers]:
        """The first k rows of each group that the mask lets pass, and how many these are."""
        begins, ends = self.starts[groups], self.starts[groups + 1]
        if (ends - begins == 1).all():
            return self.members[begins], np.ones(len(groups), np.int64)
        parts = []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            part = self.members[begin:end] if mask is not None else self.members[begin : min(end, begin + k)]
            parts.append(part if mask is None or len(part) == 1 else part[mask[part]][:k])
        return np.concatenate(parts), np.array([len(part) for part in parts])


class Repeated:
    """(n, dim) float16 vectors of which each is kept once: read like an array, by slice or by rows."""

    dtype = np.dtype(np.float16)
    ndim = 2

    def __init__(self, stored: NDArray[np.float16], group_of: Numbers) -> None:
        self.shape = (len(group_of), stored.shape[1])
        self._stored, self._group_of = stored, group_of

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float16]:
        found: NDArray[np.float16] = self._stored[self._group_of[rows]]
        return found


def _hashes(vectors: Stored) -> NDArray[np.uint64]:
    """A number for each vector's 16-bit form, equal where that is equal."""
    dim = vectors.shape[1]
    words = -(-dim // 4)
    odd = np.random.default_rng(0).integers(0, 2**64, words, np.uint64) | np.uint64(1)
    out = np.empty(len(vectors), np.uint64)
    for start, block in halves(vectors):
        padded = np.zeros((len(block), 4 * words), np.float16)
        padded[:, :dim] = block
        mixed = padded.view(np.uint64) * odd
        mixed ^= mixed >> np.uint64(31)
        mixed *= odd[::-1]
        out[start : start + len(block)] = mixed.sum(axis=1)
    return out


def _first_alike(vectors: Stored, hashes: NDArray[np.uint64]) -> Rows:
    """For each row the first row of an equal vector; equal hashes are only a hint."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.empty(len(order), np.int64)
    first[order] = order[new][np.cumsum(new) - 1] if len(order) else order
    later = np.flatnonzero(first != np.arange(len(first)))
    step = block_rows(vectors.shape[1])
    for at in range(0, len(later), step):
        rows = later[at : at + step]
        same = (_half(vectors[rows]) == _half(vectors[first[rows]])).all(axis=1)
        first[rows[~same]] = rows[~same]
    return first


def _half(vectors: Stored) -> NDArray[np.float16]:
    return vectors.astype(np.float16, copy=False)
