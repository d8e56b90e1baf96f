"""Search over 16-bit vectors that a device holds, through torch: a GPU, or the processor in a test.

Candidates come from products of halves that are summed in float32, block by block, and are scored again in
float64, so that the answers are those of brute force and depend on nothing else that is asked with them. A
query is split into two halves, its leading 11 bits and the 11 that follow, which cost one reading of the
vectors.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from findling.errors import MissingExtra, SnapshotError, extra
from findling.indexes.base import Mask, Rows, Vectors

Tensor: TypeAlias = Any
Block = tuple[Tensor, Any]  # scores (q, r), and their places: (q, r), (r,), or the first where they are a run

SCRATCH = 1 << 30  # bytes that a step of a search may take beside the vectors, about
SPARE = 32  # candidates beyond k, for those that float32 cannot tell apart
GROUP = 64  # scores of which the best is looked at first
_LOW = 2.0**11  # what the lower half of a query is scaled by, so that it keeps its bits
_QUERIES = 256  # at a time
_ROUNDS, _TAUGHT = 10, 128  # of k-means, and vectors for each list that it learns from


@dataclass(frozen=True)
class Lists:
    """Inverted lists: places [starts[i], starts[i + 1]) are near centres[i], and hold the rows order[place].

    `centres` (lists, dim) float16, `starts` (lists + 1,) int64, `order` (n,) integers.
    """

    centres: Tensor
    starts: Tensor
    order: Tensor


class Device:
    """(n, dim) float16 vectors on a torch device, in the order of their lists where there are lists."""

    def __init__(self, vectors: Tensor, lists: Lists | None = None) -> None:
        self._vectors, self._lists = vectors, lists
        self._lock = threading.Lock()  # two searches at once would take the scratch memory twice

    def search(
        self, queries: Vectors, k: int, probes: int = 0, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each of (q, dim) queries: rows and scores (q, k), best first, ties by row.

        Looks into the nearest `probes` lists of each query, more where a mask lets few rows pass; 0, or no
        lists, compares everything. Rows end in -1 and scores in -inf where fewer than k exist.
        """
        torch = _torch()
        rows, scores = _nothing(len(queries), k)
        step = min(_QUERIES, max(1, SCRATCH // (8 * (k + SPARE) * self._vectors.shape[1])))
        with self._lock, torch.inference_mode():
            allowed = None if mask is None else self._allowed(torch.tensor(mask))
            for at in range(0, len(queries), step):
                some = torch.tensor(queries[at : at + step], device=self._vectors.device)
                rows[at : at + step], scores[at : at + step] = self._search(some, k, probes, allowed)
        return rows, scores

    def _allowed(self, mask: Tensor) -> Tensor:
        """The mask over rows as one over places."""
        mask = mask.to(self._vectors.device)
        return mask if self._lists is None else mask[self._lists.order]

    def _search(self, queries: Tensor, k: int, probes: int, allowed: Tensor | None) -> tuple[Rows, Vectors]:
        count = len(self._vectors)
        left = count if allowed is None else int(allowed.sum())
        if not left:
            return _nothing(len(queries), k)
        # Lists in which as many rows pass as would be met without a mask, if that is less than all that pass.
        lists = 0 if self._lists is None else len(self._lists.centres)
        probes = math.ceil(probes * count / left)
        if not 0 < probes * count < lists * left:
            return self._scored(queries, k, self._scanned(queries, allowed))
        rows, scores = self._scored(queries, k, self._listed(queries, probes, allowed))
        short = np.isfinite(scores).sum(axis=1) < min(k, left)
        if short.any():
            again = queries[_torch().tensor(short, device=queries.device)]
            rows[short], scores[short] = self._scored(again, k, self._scanned(again, allowed))
        return rows, scores

    def _scanned(self, queries: Tensor, allowed: Tensor | None) -> Iterator[Block]:
        """The products with every vector, or with all that are allowed."""
        places = None if allowed is None else allowed.nonzero()[:, 0]
        count, dim = len(self._vectors if places is None else places), self._vectors.shape[1]
        split = _split(queries)
        copied = places is not None or not self._vectors.is_cuda
        step = max(1, SCRATCH // (4 * max(len(split), dim if copied else 1)))
        for at in range(0, count, step):
            if places is None:
                yield _joined(_product(split, self._vectors[at : at + step].T)), at
            else:
                some = places[at : at + step]
                yield _joined(_product(split, self._vectors[some].T)), some

    def _listed(self, queries: Tensor, probes: int, allowed: Tensor | None) -> Iterator[Block]:
        """The products with what the nearest lists of each query hold, -inf for what is not allowed."""
        torch, lists = _torch(), self._lists
        assert lists is not None, "asked for only where there are lists"  # noqa: S101
        chosen = (queries @ lists.centres.float().T).topk(probes).indices
        first = lists.starts[chosen]
        sizes = lists.starts[chosen + 1] - first
        ends = sizes.cumsum(1)
        first -= ends - sizes  # so that the c-th vector of a query is at c + first of its list
        split = _split(queries).unflatten(0, (2, -1)).transpose(0, 1)
        longest = max(1, int(ends[:, -1].max()))
        step = max(1, SCRATCH // (2 * queries.numel()))
        for at in range(0, longest, step):
            columns = torch.arange(at, min(at + step, longest), device=queries.device)
            columns = columns.expand(len(queries), -1).contiguous()
            real = columns < ends[:, -1:]
            nth = torch.searchsorted(ends, columns, right=True).clamp_(max=probes - 1)
            places = torch.where(real, columns + first.gather(1, nth), 0)
            if allowed is not None:
                real &= allowed[places]
            both = _product(split, self._vectors[places].transpose(1, 2)).transpose(0, 1)
            yield _joined(both.flatten(0, 1)).masked_fill_(~real, -math.inf), places

    def _scored(self, queries: Tensor, k: int, blocks: Iterable[Block]) -> tuple[Rows, Vectors]:
        """The best k rows out of blocks, scored in float64, on the host."""
        places, real = _best(blocks, k + SPARE)
        near = self._vectors[places].double()
        scores = (near @ queries.double()[:, :, None])[:, :, 0].float().masked_fill_(~real, -math.inf)
        rows = places if self._lists is None else self._lists.order[places].long()
        found, told = rows.masked_fill_(~real, -1).cpu().numpy(), scores.cpu().numpy()
        order = np.lexsort((found, -told), axis=1)[:, :k]
        all_rows, all_scores = _nothing(len(queries), k)
        all_rows[:, : order.shape[1]] = np.take_along_axis(found, order, 1)
        all_scores[:, : order.shape[1]] = np.take_along_axis(told, order, 1)
        return all_rows, all_scores


def opened(wanted: str) -> Tensor:
    """The torch device of an option "auto", "cuda" or "cpu"; raises MissingExtra."""
    torch = _torch()
    cuda = torch.cuda.is_available()
    if wanted == "cuda" and not cuda:
        raise MissingExtra(
            "index parameter device is 'cuda', but torch sees no CUDA device here",
            todo="install a torch built for CUDA, or say device = 'cpu'",
        )
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")


def uploaded(stored: NDArray[Any], device: Tensor) -> Tensor:
    """An array, perhaps mapped, on the device; raises SnapshotError where it does not fit there."""
    torch = _torch()
    try:
        out = torch.empty(stored.shape, dtype=torch.tensor(stored[:0]).dtype, device=device)
    except torch.OutOfMemoryError as error:
        free, _ = torch.cuda.mem_get_info(device)
        raise SnapshotError(
            f"{stored.nbytes / 1e9:.1f} GB of vectors do not fit the GPU, where {free / 1e9:.1f} GB are free",
            todo='take a larger GPU, or index.kind = "compact", which needs none',
        ) from error
    step = max(1, SCRATCH * len(stored) // max(stored.nbytes, 1))
    for at in range(0, len(stored), step):
        out[at : at + step] = torch.tensor(stored[at : at + step])
    return out


def learnt(sample: Tensor, count: int) -> Tensor:
    """(count, dim) float16 centres of length 1 for (n, dim) vectors: spherical k-means.

    Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data using Clustering", 2001.
    """
    torch = _torch()
    seed = torch.Generator().manual_seed(1)
    centres = _unit(sample[torch.randperm(len(sample), generator=seed)[:count].to(sample.device)].float())
    for _ in range(_ROUNDS if len(sample) else 0):
        # In float64, so that the order of additions, which a GPU does not keep, leaves no trace in 16 bits.
        sums = torch.zeros_like(centres, dtype=torch.float64)
        for part in sample.split(max(1, SCRATCH // (8 * sample.shape[1]))):
            sums.index_add_(0, assigned(part, centres.half()), part.double())
        lone = (sums == 0).all(1, keepdim=True)
        centres = torch.where(lone, centres, _unit(sums).float())
    return centres.half()


def assigned(vectors: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each of (n, dim) vectors, (n,) int64."""
    step = max(1, SCRATCH // (4 * max(centres.shape)))
    parts = [_product(part, centres.T).argmax(1) for part in vectors.split(step)]
    return _torch().cat(parts)


def taught(count: int, lists: int) -> int:
    """One in how many of `count` vectors is enough to learn so many lists from."""
    return max(1, count // (_TAUGHT * lists))


def _split(queries: Tensor) -> Tensor:
    """(2 q, dim) float16 for (q, dim) float32: leading bits of all, then what follows these, scaled.

    A query's length changes no order among its scores, so it is scaled to what 16 bits hold best.
    """
    torch = _torch()
    most = queries.abs().amax(1, keepdim=True)
    scaled = queries / torch.where(most > 0, most, 1)
    high = scaled.half()
    return torch.cat([high, ((scaled - high.float()) * _LOW).half()])


def _product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product of float16, or of stacks of such, summed and kept in float32."""
    torch = _torch()
    if left.is_cuda:
        multiply = torch.mm if left.dim() == 2 else torch.bmm
        return multiply(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def _joined(both: Tensor) -> Tensor:
    """(q, r) scores out of the (2 q, r) products of split queries."""
    high, low = both.chunk(2)
    return high.add_(low, alpha=1 / _LOW)


def _best(blocks: Iterable[Block], wanted: int) -> tuple[Tensor, Tensor]:
    """The places (q, w) of the best of all blocks, and which of them are real."""
    torch = _torch()
    best: Block | None = None
    for scores, places in blocks:
        top, columns = _top(scores, wanted)
        found = _at(places, columns)
        if best is not None:
            top, columns = _top(torch.cat([best[0], top], 1), wanted)
            found = torch.cat([best[1], found], 1).gather(1, columns)
        best = top, found
    assert best is not None, "a search has a block at least"  # noqa: S101
    return best[1], best[0] > -math.inf


def _top(scores: Tensor, wanted: int) -> Block:
    """The best scores of each row, (q, w), and their columns.

    The best `wanted` scores lie in the `wanted` groups of the highest maxima, so most scores are read once.
    """
    torch = _torch()
    count = scores.shape[1]
    if count <= 2 * GROUP * wanted:
        return tuple(scores.topk(min(wanted, count), sorted=False))
    whole = count - count % GROUP
    groups = scores[:, :whole].unflatten(1, (-1, GROUP)).amax(2).topk(wanted, sorted=False).indices
    inside = torch.arange(GROUP, device=scores.device)
    rest = torch.arange(whole, count, device=scores.device).expand(len(scores), -1)
    columns = torch.cat([(groups[:, :, None] * GROUP + inside).flatten(1), rest], 1)
    top, at = scores.gather(1, columns).topk(wanted, sorted=False)
    return top, columns.gather(1, at)


def _at(places: Any, columns: Tensor) -> Tensor:
    if isinstance(places, int):
        return columns + places
    return places[columns] if places.dim() == 1 else places.gather(1, columns)


def _nothing(queries: int, k: int) -> tuple[Rows, Vectors]:
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)


def _torch() -> Any:
    with extra("gpu", "index 'gpu'"):
        import torch
    return torch
