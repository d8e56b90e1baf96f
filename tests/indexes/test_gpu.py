from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from findling.errors import FindlingError, MissingExtra
from findling.indexes import device
from findling.indexes.exact import Exact
from findling.indexes.gpu import DEVICES, Gpu, GpuLists

pytestmark = pytest.mark.needs("torch")
CHANCE = np.random.default_rng(0)


def unit(count: int, dim: int) -> np.ndarray:
    drawn = CHANCE.normal(size=(count, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = unit(20_000, 3).astype(np.float16), unit(40, 3)


@pytest.fixture(params=[Gpu, GpuLists], ids=lambda family: family.name)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Gpu:
    request.param.build(VECTORS, tmp_path / "i", {"device": "cpu"})
    opened: Gpu = request.param.open(tmp_path / "i")
    return opened


def exactly(tmp_path: Path, queries: np.ndarray, k: int, mask: np.ndarray | None = None) -> list[np.ndarray]:
    Exact.build(VECTORS, tmp_path / "exact", {})
    return list(Exact.open(tmp_path / "exact").search(queries, k, {}, mask))


def everything(index: Gpu) -> dict[str, int]:
    return {"probes": 0} if isinstance(index, GpuLists) else {}


@pytest.mark.parametrize("scratch", [device.SCRATCH, 1 << 20])  # one block, and many small ones
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_answers_are_those_of_exact(
    index: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: int, share: float
) -> None:
    monkeypatch.setattr(device, "SCRATCH", scratch)
    mask = CHANCE.random(len(VECTORS)) < share if share < 1 else None
    rows, scores = index.search(QUERIES, 10, everything(index), mask)
    wanted, their_scores = exactly(tmp_path, QUERIES, 10, mask)
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(scores, their_scores)


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**20])
def test_a_query_may_be_of_any_length(index: Gpu, tmp_path: Path, scale: float) -> None:
    rows, _ = index.search(QUERIES * np.float32(scale), 10, everything(index))
    np.testing.assert_array_equal(rows, exactly(tmp_path, QUERIES, 10)[0])


@pytest.mark.parametrize("device_name", ["cpu", "cuda"])
def test_a_query_keeps_more_bits_than_the_vectors(tmp_path: Path, device_name: str) -> None:
    import torch

    if device_name == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    lengths = CHANCE.permutation(np.arange(0.5, 1, 2.0**-11))
    Gpu.build(np.stack([lengths, lengths], 1).astype(np.float16), tmp_path, {"device": device_name})
    # In 11 bits this query is (1, -1), to which all are alike.
    rows, _ = Gpu.open(tmp_path).search(np.array([[1 + 2.0**-13, -1]], np.float32), 10, {})
    assert rows[0].tolist() == np.argsort(-lengths)[:10].tolist()


def test_all_lists_in_small_steps_find_what_large_ones_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    GpuLists.build(VECTORS, tmp_path / "i", {"device": "cpu", "lists": 50})
    index = GpuLists.open(tmp_path / "i")
    rows, scores = index.search(QUERIES, 10, {"probes": 49})
    assert (rows == exactly(tmp_path, QUERIES, 10)[0]).all()
    monkeypatch.setattr(device, "SCRATCH", 1 << 18)
    again, same = index.search(QUERIES, 10, {"probes": 49})
    np.testing.assert_array_equal(again, rows)
    np.testing.assert_array_equal(same, scores)


def test_few_probes_look_at_few_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GpuLists.build(VECTORS, tmp_path / "i", {"device": "cpu", "lists": 50})
    index, seen = GpuLists.open(tmp_path / "i"), []
    product = device._product
    monkeypatch.setattr(
        device, "_product", lambda one, other: seen.append(other.shape[-1]) or product(one, other)
    )
    index.search(QUERIES[:1], 10, {"probes": 2})
    assert 0 < sum(seen) < len(VECTORS) / 5
    seen.clear()
    index.search(QUERIES[:1], 10, {"probes": 2}, np.arange(len(VECTORS)) < 100)
    assert seen == [100]  # so few are compared one by one


@pytest.mark.parametrize("count", [5, 1000, 70_001])
def test_the_best_of_each_group_lead_to_the_best_of_all(count: int) -> None:
    import torch

    scores = torch.tensor(CHANCE.normal(size=(3, count)).astype(np.float32))
    found, columns = device._top(scores, 7)
    wanted = scores.sort(1, descending=True).values[:, :7]
    assert (found.sort(1, descending=True).values == wanted).all()
    assert (scores.gather(1, columns) == found).all()


def test_cuda_where_there_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingExtra, match=r"device is 'cuda'.*no CUDA device.*device = 'cpu'"):
        Gpu.build(VECTORS[:9], tmp_path, {"device": "cuda"})
    Gpu.build(VECTORS[:9], tmp_path, {"device": "auto"})
    assert len(Gpu.open(tmp_path)) == 9


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"device": "tpu"}, f"device = 'tpu': one of {', '.join(DEVICES)}"),
        ({"lists": -1}, "lists = -1: a whole number"),
        ({"lists": 2.5}, "lists = 2.5: a whole number"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(tmp_path: Path, params: dict[str, object], says: str) -> None:
    with pytest.raises(FindlingError, match=says):
        GpuLists.build(VECTORS[:9], tmp_path, params)


def test_vectors_that_do_not_fit_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    Gpu.build(VECTORS, tmp_path, {"device": "cpu"})
    monkeypatch.setattr(torch, "empty", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**6, 10**9))
    with pytest.raises(FindlingError, match=r"0\.0 GB are free; take a larger GPU"):
        Gpu.open(tmp_path)


@pytest.mark.parametrize("family", [Gpu, GpuLists])
def test_a_gpu_gives_the_answers_of_exact(tmp_path: Path, family: type[Gpu]) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    family.build(VECTORS, tmp_path / "i", {"device": "cuda"})
    index = family.open(tmp_path / "i")
    for mask in (None, CHANCE.random(len(VECTORS)) < 0.3):
        rows, scores = index.search(QUERIES, 10, everything(index), mask)
        wanted, their_scores = exactly(tmp_path, QUERIES, 10, mask)
        np.testing.assert_array_equal(rows, wanted)
        np.testing.assert_array_equal(scores, their_scores)
