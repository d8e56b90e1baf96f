from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch import built, collection, some_rows
from findling import config, tuning
from findling.catalog import Catalog
from findling.errors import ConfigError, FindlingError, SnapshotError
from findling.indexes.planner import Candidate, Targets
from findling.progress import Silent
from findling.snapshot import Manifest
from findling.tuning import Asked

GRAPH = """
[index]
kind = "graph"
"""


def manifest_of(file: Path) -> Manifest:
    catalog = Catalog.of(config.load(file, environ={}))
    return catalog.manifest(catalog.ids()[-1])


def test_a_build_measures_with_the_queries_of_a_file_and_says_so(tmp_path: Path) -> None:
    file = collection(tmp_path, some_rows(300), more=GRAPH)
    built(file)
    field = manifest_of(file).fields["text"]
    assert field.queries == "200 runs of words out of the documents"
    asked = tmp_path / "asked.txt"
    asked.write_text("whale storm\n\n" + '{"q": "a letter from the war"}\n')
    file.write_text(file.read_text() + 'queries = "asked.txt"\n')
    report = built(file)
    field = manifest_of(file).fields["text"]
    assert field.queries == "2 queries of asked.txt"
    assert len(field.curve) > 5
    assert all(point["latency_ms"]["p95"] > 0 for point in field.curve)
    assert field.latency_ms in [point["latency_ms"] for point in field.curve]
    asked.write_text("iron glass king\n")
    assert built(file).snapshot != report.snapshot, "other queries are measured anew"
    assert built(file).embedded["text"]["new"] == 0


def test_more_queries_than_needed_are_sampled(tmp_path: Path) -> None:
    asked = "".join(f"query {n}\n" for n in range(1000))
    file = collection(tmp_path, some_rows(60), more=GRAPH + 'queries = "asked.txt"\n')
    (tmp_path / "asked.txt").write_text(asked)
    built(file)
    assert manifest_of(file).fields["text"].queries == "200 of 1,000 queries of asked.txt"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no queries"),
        (b'fine\n{"id": 3}\n', "line 2: no query"),
        (b'{"q": 3}', "line 1: no query"),
        (b"{", "line 1: no query"),
        (b"\xff", "is not UTF-8"),
        (None, "it is not there"),
    ],
)
def test_a_wrong_file_of_queries_is_told_before_any_work(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = collection(tmp_path, more='[index]\nqueries = "asked.txt"\n')
    if content is not None:
        (tmp_path / "asked.txt").write_bytes(content)
    with pytest.raises(FindlingError, match=told):
        built(file)
    assert not (tmp_path / "data").exists()


def test_the_layout_of_load_is_read_too(tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"_id": "1", "text": "whales"}\n')
    assert tuning.read_queries(str(asked)) == ["whales"]


def test_a_latency_that_cannot_be_kept_is_not_published(tmp_path: Path) -> None:
    file = collection(tmp_path, some_rows(300), more=GRAPH + "latency_ms = 0.000001\n")
    with pytest.raises(SnapshotError, match=r"not published: 95% of the searches of 'text'.*the nearest: "):
        built(file)
    file.write_text(file.read_text().replace("0.000001", "10000"))
    assert built(file).published
    assert manifest_of(file).latency_ms == 10000


def test_another_index_is_tried_where_the_first_misses(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30_000, 16)).astype(np.float16)
    asked = Asked(np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32), "chance")
    poor = {"M": 2, "ef_construction": 1, "threads": 1}
    plan = [Candidate("graph", poor), Candidate("flat"), Candidate("graph")]

    def build(recall: float, latency_ms: float | None = None, plan: list[Candidate] = plan) -> tuning.Built:
        targets, path = Targets(recall, 10**9, latency_ms), tmp_path / f"{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        (path / "rows.npy").touch()
        return tuning.build(vectors, path, plan, lambda *_: asked, targets, "text", Silent())

    built = build(1.0)
    assert (built.candidate, built.chosen["recall"]) == (plan[1], 1.0)
    assert {file.name for file in (tmp_path / "0").iterdir()} == {"rows.npy", "vectors.faiss"}
    assert build(0.01).candidate == plan[0]
    assert build(1.0, 1e-9, plan[:2]).candidate == plan[1], "a missed latency is nearer than a missed recall"
    worse = build(1.0, 1e-9, [plan[1], plan[0]])
    assert worse.candidate == plan[1], "what came nearest is built again"
    assert {file.name for file in (tmp_path / "3").iterdir()} == {"rows.npy", "vectors.faiss"}


def test_what_misses_in_a_pilot_is_tried_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "PILOT", 30_000)
    monkeypatch.setattr(tuning, "PILOTED", 2)
    vectors = np.random.default_rng(0).normal(size=(60_000, 16)).astype(np.float16)
    asked = Asked(np.random.default_rng(1).normal(size=(20, 16)).astype(np.float32), "chance")
    poor = Candidate("graph", {"M": 2, "ef_construction": 1, "threads": 1})
    plan = [poor, Candidate("flat"), Candidate("compact")]

    def piloted(vectors: np.ndarray, recall: float) -> list[Candidate]:
        return [*tuning.pilot(vectors, plan, lambda *_: asked, Targets(recall, 10**9), Silent())]

    assert piloted(vectors, 1.0) == [plan[1], plan[2], poor]
    assert piloted(vectors, 0.01) == plan
    assert piloted(vectors[:59_999], 1.0) == plan, "too few to be worth it"
    vectors[444] = np.nan
    with pytest.raises(FindlingError, match="row 444 is not finite"):
        piloted(vectors, 1.0)


def test_a_latency_is_above_nothing() -> None:
    with pytest.raises(ConfigError, match=r"index\.latency_ms"):
        config.convert({"latency_ms": 0}, config.IndexOptions, "index")
