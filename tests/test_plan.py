"""Plans are arithmetic over a trial; a trial is a small build that leaves nothing behind."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from findling import build, config, index_trial, plan, trial
from findling.cli import run
from findling.errors import ConfigError, SourceError
from findling.sources.base import Split

GB = 1_000_000_000


def graph(once: float, each: float) -> index_trial.IndexCost:
    """An index that takes `once`, and `each` for every one of n log n steps."""
    few, many = (once + each * n * math.log(n) for n in (5000, 20_000))
    return index_trial.IndexCost("graph", 5000, few, 20_000, many, share=1.0, bytes=1300.0)


def measured(
    records: int = 1_000_000, each: float = 0.001, memory: int = GB // 2, files: int = 64
) -> trial.Trial:
    costs = {
        "extract": trial.Cost(1.0, each / 10),
        "embed": trial.Cost(2.0, each),
        "index": trial.Cost(0.5, each / 20),
    }
    return trial.Trial(
        records=records,
        sampled=10_000,
        kept=5000,
        cores=2,
        costs=costs,
        raw=100.0,
        documents=200.0,
        vectors=768.0,
        index=1300.0,
        memory=memory,
        files=files,
        cuttable=False,
        indexes={"text": graph(1.0, 1e-5)},
    )


def test_one_machine_takes_what_the_trial_took_in_proportion() -> None:
    found = plan.plan(measured(), "local")
    assert found.documents == 500_000
    assert (found.workers, found.cores, found.dollars) == (1, 2, 0.0)
    assert found.seconds["embed"] == pytest.approx(1002.0 / 2)
    assert found.seconds["extract"] == pytest.approx(101.0 / 2)
    assert found.seconds["index"] == pytest.approx(0.5 + 50 + 1.0 + 5 * math.log(500_000), abs=0.1)
    assert found.bytes == {"documents": 100_000_000, "embeddings": 384_000_000, "index": 650_000_000}


@given(
    records=st.integers(1, 10**9),
    each=st.floats(1e-6, 0.1),
    hours=st.floats(0.2, 24),
    platform=st.sampled_from(plan.PLATFORMS),
)
def test_a_plan_is_never_silly(records: int, each: float, hours: float, platform: plan.Platform) -> None:
    found = plan.plan(measured(records, each), platform, hours=hours)
    assert 1 <= found.partitions <= max(records, 1)
    assert found.workers >= 1
    assert found.dollars >= 0
    assert found.hours * 3600 == pytest.approx(sum(found.seconds.values()), rel=0.01, abs=2)


def test_what_is_paid_once_does_not_grow() -> None:
    """Code books learn from so many vectors and no more, and an index is measured by so many searches."""
    sampled = dataclasses.replace(measured(), indexes={"text": graph(60.0, 1e-7)})
    grown = [
        plan.plan(dataclasses.replace(sampled, records=n), "local").seconds["index"] for n in (10**5, 10**6)
    ]
    assert grown[1] - grown[0] < 60 + 50


def test_instant_queries_are_fitted_to_so_many_texts_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_trial, "VECTORS", 500)
    text = small.CONFIG.replace('encoder = "hashing"', 'encoder = "hashing"\nquery = "instant"')
    found = trial.run(config.load(small.write(tmp_path, config=text)), 8, records=10**6)
    cost = found.costs["instant"]
    assert 0 < cost.of(8) <= cost.most < math.inf
    assert cost.of(10**6) == cost.most
    whole = plan.plan(found, "local").seconds["index"]
    without = dataclasses.replace(found, costs={n: c for n, c in found.costs.items() if n != "instant"})
    assert whole - plan.plan(without, "local").seconds["index"] == pytest.approx(
        cost.most / found.cores, abs=0.2
    )


@pytest.mark.parametrize(
    ("kind", "few", "many", "whole"), [("graph", 1.80, 6.53, 15.60), ("compact", 3.23, 4.60, 7.48)]
)
def test_an_index_is_foretold_within_30_percent(kind: str, few: float, many: float, whole: float) -> None:
    """Seconds of one core, measured: vectors grown from those of 1,317 titles, and the whole of 51,411."""
    cost = index_trial.IndexCost(kind, 5000, few, 20_000, many, share=1.0, bytes=1300.0)
    assert 0.7 < cost.of(51_411) / whole < 1.3


def test_noise_makes_no_index_free() -> None:
    cost = index_trial.IndexCost("graph", 5000, 3.0, 20_000, 2.5, share=0.5, bytes=1300.0)
    assert cost.of(40_000) == pytest.approx(2.5)
    assert cost.of(4_000_000) > 3 * 2.5


def test_less_time_takes_more_workers_and_a_slower_core_too() -> None:
    large = measured(50_000_000)
    slow, fast = (plan.plan(large, "emr-serverless", hours=hours) for hours in (8, 2))
    assert fast.workers > slow.workers
    assert fast.hours < 2.1 < slow.hours
    assert plan.plan(large, "emr-serverless", hours=2, pace=0.5).workers >= 2 * fast.workers - 1


def test_a_few_bytes_of_costly_rows_still_use_every_core() -> None:
    costly = measured(records=10_000, each=1.0)  # pictures to fetch: a megabyte of addresses
    found = plan.plan(costly, "dataflow", hours=0.5)
    assert found.partitions >= 3 * found.workers * found.cores


def test_a_worker_holds_a_process_on_each_core() -> None:
    found = plan.plan(measured(memory=5 * GB), "emr-serverless")
    assert found.memory >= found.cores * 5 * GB


def test_files_that_cannot_be_cut_are_told() -> None:
    assert any("cannot be read in parts" in note for note in plan.plan(measured(files=1), "dataflow").notes)
    streams = plan.plan(measured(files=0), "dataflow").notes  # such as BigQuery's
    assert not any("cannot be read in parts" in note for note in streams)


def test_an_unknown_platform_is_told() -> None:
    with pytest.raises(ConfigError, match="unknown platform 'moon'"):
        plan.plan(measured(), "moon")  # type: ignore[arg-type] # what a person may type


@pytest.mark.parametrize("name", ["lines.txt", "lines.txt.gz"])
def test_lines_are_estimated_from_the_beginning(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = b"".join(b"line %d\n" % n for n in range(3000))
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert trial.estimate([Split("rows", str(path), "a")]) == 3000


def test_rows_of_parquet_are_known(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": list(range(77))}), tmp_path / "rows.parquet")
    assert trial.estimate([Split("rows", str(tmp_path / "rows.parquet"), "a")]) == 77


def test_a_source_that_does_not_tell_is_asked_about() -> None:
    with pytest.raises(ConfigError, match="--records"):
        trial.estimate([Split("rows", "", "a")])


def test_the_verb_measures_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    books = [{**small.BOOKS[n % 7], "id": f"b{n}"} for n in range(200)]
    file = small.write(tmp_path, books)
    assert run(["plan", "-c", str(file), "--sample", "80", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["trial"]["records"], told["trial"]["sampled"]) == (200, 80)
    assert [each["platform"] for each in told["plans"]] == list(plan.PLATFORMS)
    assert told["plans"][0]["documents"] == 200
    index = told["trial"]["indexes"]["text"]  # tried with as many vectors as the whole will have
    assert (index["kind"], index["few"], index["many"], index["share"]) == ("flat", 50, 200, 1.0)
    assert not (tmp_path / "data").exists()


def test_a_few_vectors_grow_to_so_many_others() -> None:
    chance = np.random.default_rng(0)
    few = chance.standard_normal((30, 8)).astype(np.float16)
    few /= np.linalg.norm(few, axis=1, keepdims=True).astype(np.float16)
    many = index_trial.grown(few, 500)
    assert (many[:30] == few).all()
    assert many.dtype == np.float16
    assert len(np.unique(many, axis=0)) > 450
    assert np.linalg.norm(many.astype(np.float32), axis=1) == pytest.approx(1.0, abs=5e-3)
    assert len(index_trial.grown(few, 10)) == 10


def test_the_kind_that_the_whole_will_get_is_tried(tmp_path: Path) -> None:
    text = small.CONFIG + '[index]\nkind = "compact"\nparams = { lists = 4, threads = 1 }\n'
    found = trial.run(config.load(small.write(tmp_path, config=text)), 8, records=1000)
    assert (found.indexes["text"].kind, found.indexes["text"].many) == (
        "compact",
        875,
    )  # one of the eight has no text


def test_a_sample_is_the_work_of_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be left open how many had a part in it: little work is done by one process alone."""
    asked, whole = [], build.build
    monkeypatch.setattr(build, "build", lambda *a, **o: asked.append(a[0].engine["local"]) or whole(*a, **o))
    file = small.write(tmp_path, config=small.CONFIG + "[engine.local]\nworkers = 2\n")
    trial.run(config.load(file), 8)
    assert asked == [{"workers": 1}] * 2


def test_one_core_starts_no_processes() -> None:
    alone = plan.plan(dataclasses.replace(measured(), cores=1), "local").seconds
    assert (alone["start"], alone["embed"]) == (0.0, pytest.approx(1002.0))


def test_one_core_reads_a_file_that_cannot_be_read_in_parts() -> None:
    assert plan.plan(measured(files=1), "local").seconds["extract"] == pytest.approx(101.0)
    streams = plan.plan(measured(files=0), "local").seconds["extract"]  # such as BigQuery's
    assert streams == pytest.approx(101.0 / 2)


def test_a_sample_of_which_nothing_is_kept_is_told(tmp_path: Path) -> None:
    text = small.CONFIG.replace("[document]", '[filter]\nwhere = "year > 3000"\n[document]')
    with pytest.raises(SourceError, match="--sample"):
        trial.run(config.load(small.write(tmp_path, config=text)), 8)
