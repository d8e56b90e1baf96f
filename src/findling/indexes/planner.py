"""Which indexes are worth building for so many vectors and some targets: rules alone, nothing is read.

A candidate's memory is what every search walks through: a graph with its 8-bit vectors, lists of codes, or
all vectors of a flat index. The 16-bit vectors that refine the others are mapped, and read in a few places.
What a candidate really finds, and how fast, is measured once it is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from findling.errors import ConfigError

EXACT_UNTIL = 20_000  # vectors; up to here brute force answers in about a millisecond
SLOWEST_MS = 50.0  # of a brute-force search, where no latency is asked for
_MS_A_NUMBER = 1e-7  # a flat search on one core takes about 0.04 us for a vector of 384 numbers
_LINKS = 24  # of a graph's vectors, unless M says otherwise
_CODED_IN_PAIRS = 128  # dimensions from which a 4-bit code stands for two


@dataclass(frozen=True)
class Targets:
    """What an index must promise: recall@10, bytes of memory, and milliseconds for 95% of its searches."""

    recall: float
    memory: int
    latency_ms: float | None = None

    def met_by(self, point: Mapping[str, Any]) -> bool:
        """Whether a measured point of a curve keeps to recall and latency."""
        fast = self.latency_ms is None or point["latency_ms"]["p95"] <= self.latency_ms
        return bool(point["recall"] >= self.recall) and fast

    def nearness(self, point: Mapping[str, Any]) -> tuple[float, float]:
        """The higher, the nearer a measured point comes: recall first, as wrong answers help nobody."""
        return min(point["recall"], self.recall), -point["latency_ms"]["p95"]


@dataclass(frozen=True)
class Candidate:
    """An index to build, and about how many bytes its searches keep in memory."""

    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)
    bytes: int = 0

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.params.items())
        return f"{self.kind} ({told})" if told else self.kind


_FLAT: tuple[str, Mapping[str, Any]] = ("flat", {})
# What "auto" tries, in this order; each is for what the one before it may miss.
_RULES: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("graph", {}),
    ("graph", {"M": 48, "ef_construction": 200}),
    ("compact", {}),
)


def candidates(
    count: int, dim: int, targets: Targets, params: Mapping[str, Any] | None = None
) -> list[Candidate]:
    """The indexes for `count` vectors of `dim` numbers that fit, in the order to try them.

    `params` come before those of a rule. Raises ConfigError naming the nearest that can be had where nothing
    fits into the memory.
    """
    rules = [*_RULES]
    if count <= EXACT_UNTIL:
        rules.insert(0, _FLAT)
    elif flat_ms(count, dim) <= (targets.latency_ms or SLOWEST_MS):
        rules.append(_FLAT)
    chosen = [(kind, {**own, **(params or {})}) for kind, own in rules]
    known = [Candidate(kind, own, resident(kind, count, dim, own)) for kind, own in chosen]
    if fitting := [each for each in known if each.bytes <= targets.memory]:
        return fitting
    least = min(known, key=lambda each: each.bytes)
    raise ConfigError(
        f"no index of {count:,} vectors of {dim} numbers fits into {_size(targets.memory)} of memory",
        todo=f"the nearest is {least.kind} with {_size(least.bytes)}: raise index.memory",
    )


def resident(kind: str, count: int, dim: int, params: Mapping[str, Any]) -> int:
    """About how many bytes the searches of an index keep in memory; of kinds not known here, all vectors'."""
    if kind == "graph":
        # Two links of 4 bytes for each of M on the ground level, a few above it, and two numbers.
        links = int(params.get("M", _LINKS))
        return count * (dim + 8 * links + 16)
    if kind == "compact":
        codes = dim // 2 if dim % 2 == 0 and dim >= _CODED_IN_PAIRS else dim
        lists = int(params.get("lists", 0)) or round(math.sqrt(count))
        return count * (codes // 2 + 8) + 4 * lists * dim
    return 2 * count * dim


def flat_ms(count: int, dim: int) -> float:
    """About how long one query takes where every vector is compared, on one core."""
    return count * dim * _MS_A_NUMBER


def _size(number: int) -> str:
    """Bytes as `index.memory` takes them, rounded up so that they suffice."""
    unit, name = (1e9, "GB") if number >= 1e9 else (1e6, "MB")
    return f"{math.ceil(10 * number / unit) / 10:g}{name}"
