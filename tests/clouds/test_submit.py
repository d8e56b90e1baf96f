"""A build submitted to EMR Serverless: what is sent, what is asked for, and the counts that come back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_emr import amazon

from batch import collection, some_rows
from findling import plan as planner
from findling import storage
from findling.cli import driver, run
from findling.clouds import emr
from findling.trial import Cost, Trial

__all__ = ["amazon"]
ROLE = "arn:aws:iam::123456789012:role/findling"
TRIAL = Trial(
    records=1_000_000,
    sampled=10_000,
    kept=10_000,
    cores=2,
    costs={"extract": Cost(1, 1e-4), "embed": Cost(2, 5e-3), "index": Cost(0, 2e-4)},
    raw=100.0,
    documents=20_000.0,
    vectors=768.0,
    index=1300.0,
    memory=1_000_000_000,
    files=1,
    cuttable=True,
    indexes={},
)


def planned(path: Path, *platforms: planner.Platform) -> planner.Plan:
    """A plan as the verb prints it, with the last of its platforms."""
    plans = [planner.plan(TRIAL, platform) for platform in platforms]
    path.write_text(json.dumps({"trial": {}, "plans": [dataclasses.asdict(each) for each in plans]}))
    return plans[-1]


def submitted(file: Path, *words: str) -> list[str]:
    named = ["--application-id", "app", "--role-arn", ROLE, "-c", str(file), "--to", "s3://bucket/findling"]
    return ["submit", "emr-serverless", *named, *words]


def asked_for(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What would be asked, with Spark's settings as a dictionary."""
    assert run([*words, "--dry-run"]) == 0
    asked = json.loads(capsys.readouterr().out)
    submit = asked["jobDriver"]["sparkSubmit"]
    parts = submit["sparkSubmitParameters"].split(" ")
    assert parts[::2] == ["--conf"] * (len(parts) // 2)
    return {**asked, **submit, "spark": dict(part.split("=", 1) for part in parts[1::2])}


def test_the_plan_decides_what_workers_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(tmp_path / "plan.json", "local", "dataflow", "emr-serverless")
    file = collection(tmp_path / "c", home="s3://bucket/search")
    (file.parent / "rows.jsonl").unlink()
    words = submitted(file, "--plan", str(tmp_path / "plan.json"), "--conf", "spark.driver.cores=16")
    spark = asked_for(words, capsys)["spark"]
    assert int(spark["spark.executor.cores"]) == plan.cores
    assert int(spark["spark.dynamicAllocation.maxExecutors"]) == plan.workers
    assert spark["spark.driver.cores"] == "16", "what is said beside the plan comes before it"
    heap, beside = (int(spark[f"spark.executor.{n}"].removesuffix("m")) for n in ("memory", "memoryOverhead"))
    assert (heap + beside) % 1024 == 0
    assert (heap + beside) // 1024 == round(plan.memory / 1e9)
    assert beside > heap, "Python works beside the heap"
    assert int(spark["spark.default.parallelism"]) * planner.TASKS_PER_CORE >= plan.partitions
    assert spark["spark.emr-serverless.driver.disk"] == "67G"  # three times documents, vectors and index


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not a plan: "),
        ('{"plans": [{"platform": "local"}]}', "is not a plan: "),
        ("dataflow", "is for dataflow, not for emr-serverless"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    if content == "dataflow":
        planned(path, "dataflow")
    elif content is not None:
        path.write_text(content)
    refused(submitted(tmp_path / "findling.toml", "--plan", str(path)), told, capsys)


def refused(words: Sequence[str], told: str, capsys: pytest.CaptureFixture[str], status: int = 2) -> None:
    """Asserts that these words end with one line that tells this."""
    assert run([*words, "--dry-run"]) == status
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_collection_of_this_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = collection(tmp_path / "one")
    refused(submitted(here), "home is 'data', which workers there cannot reach", capsys)
    there = collection(tmp_path / "two", home="s3://bucket/search")
    refused(submitted(there), "source.path is 'rows.jsonl', which lies on this machine", capsys)


def test_files_that_cannot_be_sent_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = elsewhere(tmp_path / "c")
    refused(
        submitted(file, "--archive", str(tmp_path / "none.tar.gz")), "none.tar.gz' is not there", capsys, 1
    )
    refused(submitted(file, "--archive", str(tmp_path)), "is a directory", capsys, 1)
    refused(submitted(file, "--archive", "s3://bucket/my env.tar.gz"), "has a space, a comma or a #", capsys)
    refused(submitted(file, "--to", "elsewhere"), "--to is 'elsewhere'; name an address in the cloud", capsys)
    refused(submitted(file, "--entry", "s3://bucket/run.py"), "a job is a build or a script", capsys)
    words = ["submit", "emr-serverless", "--application-id", "app", "--role-arn", ROLE]
    refused([*words, "-c", str(file)], "say where to put it: --to s3://BUCKET", capsys)
    refused(words, "a job is a build or a script", capsys)


def elsewhere(path: Path, encoder: str = "hashing") -> Path:
    """A collection whose home and rows are in the bucket."""
    file = collection(path, some_rows(40), home="s3://bucket/search", encoder=encoder)
    file.write_text(file.read_text().replace('"rows.jsonl"', '"s3://bucket/rows.jsonl"'))
    return file


def test_files_of_one_name_stay_apart_and_are_sent_once(
    amazon: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        scripts.append(tmp_path / place / "same.py")
        scripts[-1].write_text(f"print('{place}')")
    application = amazon.create_application(name="a", releaseLabel="emr-7.0.0", type="SPARK")["applicationId"]
    words = ["submit", "emr-serverless", "--application-id", application, "--role-arn", ROLE, "--json"]
    words += ["--entry", str(scripts[0]), "--archive", str(scripts[1]), "--to", "s3://bucket/x"]
    uploads = []
    for _ in range(2):
        assert run(words) == 0
        told = capsys.readouterr()
        uploads.append(told.err.count("uploaded "))
        which = {"applicationId": application, "jobRunId": json.loads(told.out)["job"]}
        sent = amazon.get_job_run(**which)["jobRun"]["jobDriver"]["sparkSubmit"]
        assert storage.read_bytes(sent["entryPoint"]) == b"print('one')"
        archive = sent["sparkSubmitParameters"].split("spark.archives=")[1].partition("#")[0]
        assert storage.read_bytes(archive) == b"print('two')"
        assert archive.rpartition("/")[2] == sent["entryPoint"].rpartition("/")[2] == "same.py"
    assert uploads == [2, 0]


class Playing:
    """EMR Serverless, where a job that is started does its work, if by the engine of one machine."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._ended = ""

    def start_job_run(self, **asked: Any) -> Any:
        submit = asked["jobDriver"]["sparkSubmit"]
        assert storage.read_bytes(submit["entryPoint"]) == driver.SCRIPT
        try:
            driver.main([*submit["entryPointArguments"], "local"])
        except SystemExit as ended:
            self._ended = str(ended.code)
        return self._real.start_job_run(**asked)

    def get_job_run(self, **which: Any) -> Any:
        found = self._real.get_job_run(**which)
        if self._ended:
            found["jobRun"] |= {"state": "FAILED", "stateDetails": "exit code 1"}
        return found


def test_a_build_is_submitted_and_its_counts_come_back(
    amazon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(emr, "client", lambda: Playing(amazon))
    file = elsewhere(tmp_path / "c")
    storage.write_bytes("s3://bucket/rows.jsonl", (file.parent / "rows.jsonl").read_bytes())
    application = amazon.create_application(name="a", releaseLabel="emr-7.0.0", type="SPARK")["applicationId"]
    words = ["submit", "emr-serverless", "--application-id", application, "--role-arn", ROLE]
    words += ["-c", str(file), "--to", "s3://bucket/findling"]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "SUCCESS"
    assert told["report"]["records"] == {"read": 40, "kept": 40, "dropped": {}}
    assert told["report"]["published"] is True
    assert storage.exists(f"s3://bucket/search/books/snapshots/{told['report']['snapshot']}/manifest.json")
    asked = amazon.get_job_run(applicationId=application, jobRunId=told["job"])["jobRun"]
    kept = asked["configurationOverrides"]["monitoringConfiguration"]["s3MonitoringConfiguration"]
    assert kept["logUri"].startswith("s3://bucket/findling/logs")

    assert run(words) == 0
    assert "books: read 40 records, kept 40" in capsys.readouterr().out

    file.write_text(file.read_text().replace('where = ""', "where = \"year = 'x'\""))
    assert run(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "failed: exit code 1; the build says: " in error
    assert "year" in error
