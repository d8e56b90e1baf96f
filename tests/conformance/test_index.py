"""Every index, the same vectors, the same expectations: the exact answer is the judge."""

from __future__ import annotations

import importlib.util
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from findling import registry
from findling.errors import FindlingError
from findling.indexes.measure import exact_answers, recall_at_k, recall_by_score


class Kind(NamedTuple):
    name: str
    build: dict[str, Any]
    search: list[dict[str, Any]]
    recall: float


KINDS = [
    Kind("exact", {}, [{}], 1.0),
    Kind("flat", {}, [{}], 1.0),
    Kind("graph", {"threads": 1}, [{}, {"ef": 16, "refine": 2}, {"ef": 200}], 0.95),
    Kind("compact", {"threads": 1}, [{}, {"probes": 4, "refine": 2}, {"probes": 64, "refine": 8}], 0.95),
]
if importlib.util.find_spec("annoy"):  # it wants a compiler, which not every machine has
    KINDS.append(Kind("annoy", {"trees": 20, "threads": 1}, [{}, {"search_k": 2000}], 0.95))
if importlib.util.find_spec("torch"):  # on the processor where there is no GPU
    KINDS.append(Kind("gpu", {}, [{}], 1.0))
    KINDS.append(Kind("gpu-lists", {"lists": 64}, [{}, {"probes": 4}], 0.95))
if importlib.util.find_spec("pymilvus") and importlib.util.find_spec("milvus_lite"):
    KINDS.append(Kind("milvus", {}, [{}, {"ef": 32}], 0.95))
DIM, COUNT = 32, 12_000


def clustered(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(150, DIM))
    vectors = centres[rng.integers(0, len(centres), count)] + rng.normal(size=(count, DIM)) * 0.6
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


VECTORS = clustered(COUNT, seed=1)
QUERIES = clustered(60, seed=2).astype(np.float32)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name, scope="module")
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kind:
    if request.param.name == "milvus":
        return request.param._replace(build={"uri": str(tmp_path_factory.mktemp("lite") / "milvus.db")})
    if request.param.name.startswith("gpu"):
        import torch

        torch.set_num_threads(1)  # on a busy machine its threads wait for one another ten times as long
    return request.param


@pytest.fixture(scope="module")
def built(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make(kind, VECTORS, tmp_path_factory.mktemp(kind.name) / "index")


def make(kind: Kind, vectors: np.ndarray, path: Path) -> Any:
    index = registry.load("index", kind.name)
    index.build(vectors, path, kind.build)
    return index.open(path)


def inner(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.where(rows < 0, -np.inf, np.take_along_axis(products, np.maximum(rows, 0), 1))


def test_scores_are_the_exact_ones_and_recall_is_high(kind: Kind, built: Any) -> None:
    truth, _ = exact_answers(VECTORS, QUERIES, 10)
    rows, scores = built.search(QUERIES, 10, {})
    assert rows.shape == scores.shape == (len(QUERIES), 10)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, inner(VECTORS, QUERIES, rows), rtol=1e-3)
    assert recall_at_k(rows, truth) >= kind.recall
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(found)) == 10 for found in rows.tolist())


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.0001])
def test_a_mask_reaches_inside_the_search(kind: Kind, built: Any, share: float) -> None:
    mask = np.random.default_rng(3).random(COUNT) < share
    mask[[17, 4711]] = True
    exists = min(10, int(mask.sum()))
    rows, scores = built.search(QUERIES, 10, {}, mask)
    assert ((rows >= 0).sum(axis=1) == exists).all()
    assert mask[rows[rows >= 0]].all()
    assert (scores[:, exists:] == -np.inf).all()
    np.testing.assert_allclose(scores, inner(VECTORS, QUERIES, rows), rtol=1e-3)
    survivors = np.flatnonzero(mask)
    truth, _ = exact_answers(VECTORS[survivors], QUERIES, 10)
    assert recall_at_k(rows, np.where(truth < 0, -1, survivors[truth])) >= kind.recall


def test_a_mask_of_nothing_finds_nothing(built: Any) -> None:
    rows, scores = built.search(QUERIES, 3, {}, np.zeros(COUNT, bool))
    assert (rows == -1).all()
    assert (scores == -np.inf).all()


def test_more_wanted_than_exist(kind: Kind, tmp_path: Path) -> None:
    rows, scores = make(kind, VECTORS[:7], tmp_path / "i").search(QUERIES, 12, {})
    assert (np.sort(rows[:, :7]) == np.arange(7)).all()
    assert (rows[:, 7:] == -1).all()
    assert (scores[:, 7:] == -np.inf).all()


def test_a_large_k_finds_k(built: Any) -> None:
    rows, _ = built.search(QUERIES[:4], 1000, {})
    assert (rows >= 0).all()
    assert all(len(set(found)) == 1000 for found in rows.tolist())


def test_duplicates_are_all_found_with_equal_scores_in_row_order(kind: Kind, tmp_path: Path) -> None:
    vectors = np.repeat(VECTORS[:60], 200, axis=0)
    rows, scores = make(kind, vectors, tmp_path / "i").search(QUERIES, 10, {})
    _, exact = exact_answers(vectors, QUERIES, 10)
    assert (rows >= 0).all()
    assert recall_by_score(scores, exact) >= kind.recall
    tied = np.diff(scores, axis=1) == 0
    assert (np.diff(rows, axis=1)[tied] > 0).all()


def test_a_mask_among_duplicates_finds_all_that_it_lets_pass(kind: Kind, tmp_path: Path) -> None:
    chance = np.random.default_rng(4)
    vectors = np.repeat(VECTORS[:900], chance.integers(1, 12, 900), axis=0)
    vectors = vectors[chance.permutation(len(vectors))]
    vectors[::7] = 0  # a large group of its own
    index = make(kind, vectors, tmp_path / "i")
    assert len(index.vectors) == len(index) == len(vectors)
    np.testing.assert_array_equal(index.vectors[10:2000:3], vectors[10:2000:3])
    for share in (0.5, 0.02, 0.001):
        mask = chance.random(len(vectors)) < share
        survivors = np.flatnonzero(mask)
        rows, scores = index.search(QUERIES, 25, {}, mask)
        truth, exact = exact_answers(vectors[survivors], QUERIES, 25)
        assert ((rows >= 0).sum(axis=1) == min(25, len(survivors))).all()
        assert mask[rows[rows >= 0]].all()
        assert recall_by_score(scores, exact) >= kind.recall
        assert recall_at_k(rows, np.where(truth < 0, -1, survivors[truth])) >= kind.recall


def test_all_vectors_alike(kind: Kind, tmp_path: Path) -> None:
    rows, scores = make(kind, np.repeat(VECTORS[:1], 6000, axis=0), tmp_path / "i").search(
        QUERIES[:3], 20, {}
    )
    assert all(len(set(found) - {-1}) == 20 for found in rows.tolist())
    assert (scores == scores[:, :1]).all()


def test_zero_vectors_score_zero(kind: Kind, tmp_path: Path) -> None:
    vectors = VECTORS[:50].copy()
    vectors[3] = 0
    index = make(kind, vectors, tmp_path / "i")
    rows, scores = index.search(QUERIES[:1], 50, {})
    assert scores[rows == 3] == 0
    _, scores = index.search(np.zeros((1, DIM), np.float32), 5, {})
    assert (scores == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_vector(kind: Kind, tmp_path: Path, dtype: type) -> None:
    rows, scores = make(kind, VECTORS[:1].astype(dtype), tmp_path / "i").search(QUERIES[:2], 3, {})
    assert rows.tolist() == [[0, -1, -1]] * 2
    np.testing.assert_allclose(scores[:, :1], QUERIES[:2] @ VECTORS[:1].astype(np.float32).T, rtol=1e-3)


def test_no_vectors(kind: Kind, tmp_path: Path) -> None:
    index = make(kind, np.empty((0, DIM), np.float16), tmp_path / "i")
    rows, scores = index.search(QUERIES[:2], 3, {})
    assert (rows == -1).all()
    assert (scores == -np.inf).all()
    assert index.search(QUERIES[:0], 3, {})[0].shape == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_row(kind: Kind, tmp_path: Path, value: float) -> None:
    vectors = VECTORS[:500].copy()
    vectors[321, 5] = value
    with pytest.raises(FindlingError, match="row 321 is not finite"):
        make(kind, vectors, tmp_path / "i")


def test_what_16_bits_cannot_hold_is_refused(kind: Kind, tmp_path: Path) -> None:
    vectors = VECTORS[:20].astype(np.float32)
    vectors[7, 0] = 1e6
    with pytest.raises(FindlingError, match="row 7 is too large"):
        make(kind, vectors, tmp_path / "i")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ((QUERIES[:, :5], 3, {}, None), "dimension 32"),
        ((QUERIES[0], 3, {}, None), "dimension 32"),
        ((QUERIES * np.nan, 3, {}, None), "not finite"),
        ((QUERIES, 0, {}, None), "k is 0"),
        ((QUERIES, 3, {"nprobe": 3}, None), "nprobe"),
        ((QUERIES, 3, {}, np.ones(5, bool)), "mask"),
    ],
)
def test_a_call_that_does_not_fit_says_why(built: Any, call: tuple[Any, ...], says: str) -> None:
    with pytest.raises(FindlingError, match=says):
        built.search(*call)


def test_concurrent_searches_with_other_parameters_do_not_disturb_one_another(kind: Kind, built: Any) -> None:
    mask = np.random.default_rng(5).random(COUNT) < 0.5
    calls = [
        (query[None], k, params, allowed)
        for query in QUERIES[:20]
        for k in (1, 10, 100)
        for params in kind.search
        for allowed in (None, mask)
    ]
    alone = [built.search(*call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda call: built.search(*call), calls * 3))
    for (rows, scores), (same_rows, same_scores) in zip(alone * 3, together, strict=True):
        np.testing.assert_array_equal(rows, same_rows)
        np.testing.assert_array_equal(scores, same_scores)


def test_one_query_is_answered_as_in_company(built: Any) -> None:
    rows, scores = built.search(QUERIES, 10, {})
    for at, query in enumerate(QUERIES):
        row, score = built.search(query[None], 10, {})
        np.testing.assert_array_equal(row[0], rows[at])
        np.testing.assert_array_equal(score[0], scores[at])


def test_the_same_build_gives_the_same_bytes_and_survives_a_move(kind: Kind, tmp_path: Path) -> None:
    first = make(kind, VECTORS[:4000], tmp_path / "a").search(QUERIES, 5, {})
    make(kind, VECTORS[:4000], tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    shutil.move(tmp_path / "a", tmp_path / "c")
    moved = registry.load("index", kind.name).open(tmp_path / "c")
    np.testing.assert_array_equal(moved.search(QUERIES, 5, {})[0], first[0])


def test_what_is_no_index_is_refused(kind: Kind, tmp_path: Path) -> None:
    index = registry.load("index", kind.name)
    with pytest.raises(FindlingError, match="cannot be opened"):
        index.open(tmp_path)
    index.build(VECTORS[:50], tmp_path / "i", kind.build)
    for file in (tmp_path / "i").iterdir():
        file.write_bytes(b"nothing of the kind")
    with pytest.raises(FindlingError, match="cannot be opened"):
        index.open(tmp_path / "i")


def test_an_unknown_build_parameter_is_refused(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(FindlingError, match="leaves"):
        registry.load("index", kind.name).build(VECTORS[:50], tmp_path / "i", {"leaves": 100})
