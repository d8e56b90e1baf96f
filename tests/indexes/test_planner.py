from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from findling import registry
from findling.errors import ConfigError
from findling.indexes.planner import Targets, candidates, resident

GB = 10**9


@pytest.mark.parametrize(
    ("count", "dim", "memory", "latency_ms", "kinds"),
    [
        (1_000, 384, 2 * GB, None, ["flat", "graph", "graph", "compact"]),
        (20_000, 384, 2 * GB, 0.1, ["flat", "graph", "graph", "compact"]),
        (20_001, 384, 2 * GB, None, ["graph", "graph", "compact", "flat"]),
        (205_000, 384, 2 * GB, 5.0, ["graph", "graph", "compact"]),  # comparing all takes about 8 ms
        (205_000, 384, 2 * GB, 10.0, ["graph", "graph", "compact", "flat"]),
        (3_000_000, 384, 2 * GB, None, ["graph", "compact"]),
        (4_000_000, 384, 2 * GB, None, ["compact"]),
        (4_000_000, 384, 8 * GB, None, ["graph", "graph", "compact"]),
        (20_000, 4096, 128_000_000, None, ["graph", "graph", "compact"]),
    ],
)
def test_what_fits_is_tried_in_order(
    count: int, dim: int, memory: int, latency_ms: float | None, kinds: list[str]
) -> None:
    found = candidates(count, dim, Targets(0.95, memory, latency_ms))
    assert [each.kind for each in found] == kinds
    assert all(0 < each.bytes <= memory for each in found)


def test_what_fits_nowhere_is_told_with_the_nearest_that_can_be_had() -> None:
    with pytest.raises(ConfigError) as caught:
        candidates(40_000_000, 384, Targets(0.95, 2 * GB))
    assert str(caught.value) == (
        "no index of 40,000,000 vectors of 384 numbers fits into 2GB of memory; "
        "the nearest is compact with 4.2GB: raise index.memory"
    )
    assert candidates(40_000_000, 384, Targets(0.95, 42 * GB // 10))[0].kind == "compact"


def test_parameters_of_the_configuration_come_first() -> None:
    found = candidates(30_000, 16, Targets(0.95, GB), {"M": 8})
    assert {each.params["M"] for each in found if each.kind == "graph"} == {8}


@pytest.mark.parametrize("kind", ["graph", "compact"])
def test_the_estimate_is_near_the_file_that_is_walked(kind: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(6000, 128)).astype(np.float16)
    registry.load("index", kind).build(vectors, tmp_path, {})
    size = (tmp_path / "index.faiss").stat().st_size
    assert resident(kind, 6000, 128, {}) == pytest.approx(size, rel=0.15)
