"""Job runs of EMR Serverless: asked for, followed, failed and cancelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from findling.cli import run
from findling.clouds import emr
from needs import skip_without

ASKED = emr.request("app", "role", "s3://b/run.py", "s3://b/env.tar.gz", {})


class Service:
    """Answers with one state after the other; an exception among them is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.cancelled = list(answers), []

    def start_job_run(self, **asked: Any) -> dict[str, str]:
        assert asked == ASKED
        return {"jobRunId": "j1"}

    def get_job_run(self, **which: str) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return {"jobRun": {"jobRunId": which["jobRunId"], "state": answer, "stateDetails": "out of\nspace"}}

    def cancel_job_run(self, **which: str) -> None:
        self.cancelled.append(which["jobRunId"])


def test_each_state_is_told_once_until_the_job_ends() -> None:
    said: list[str] = []
    ended = emr.run(Service("PENDING", "RUNNING", "RUNNING", "SUCCESS"), ASKED, said.append, every=0)
    assert ended["state"] == "SUCCESS"
    assert [line.split(": ")[-1] for line in said[1:]] == ["pending", "running", "success"]


def test_a_failed_job_tells_its_reason_in_one_line() -> None:
    with pytest.raises(emr.JobFailed, match="j1 failed: out of space"):
        emr.run(Service("RUNNING", "FAILED"), ASKED, print, every=0)


def test_an_interrupted_wait_cancels_the_job() -> None:
    service = Service("RUNNING", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        emr.run(service, ASKED, print, every=0)
    assert service.cancelled == ["j1"]


def test_a_dry_run_prints_the_request_and_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    words = "submit emr-serverless --application-id app --role-arn role --entry s3://b/run.py"
    assert run([*words.split(), "--archive", "s3://b/env.tar.gz", "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out) == ASKED


@pytest.mark.parametrize("conf", ["spark.executor.cores", "spark.a=b --conf spark.c=d"])
def test_a_setting_that_would_be_torn_apart_is_refused(conf: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = "submit emr-serverless --application-id app --role-arn role --entry s3://b/run.py"
    assert run([*words.split(), "--archive", "s3://b/env.tar.gz", "--dry-run", "--conf", conf]) == 2
    assert "is not KEY=VALUE" in capsys.readouterr().err


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of EMR Serverless on loopback, whose jobs succeed at once; `bucket` is there too."""
    skip_without("moto", "boto3", "s3fs")
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()  # they remember the server of another test
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield emr.client()
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_job_is_run_by_the_real_client(amazon: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = amazon.create_application(name="a", releaseLabel="emr-7.0.0", type="SPARK")["applicationId"]
    role = "arn:aws:iam::123456789012:role/findling"
    words = ["--role-arn", role, "--entry", "s3://b/run.py", "--archive", "s3://b/env.tar.gz", "--json"]
    assert run(["submit", "emr-serverless", "--application-id", made, *words]) == 0
    told = capsys.readouterr()
    job = json.loads(told.out)
    assert job["state"] == "SUCCESS"
    sent = amazon.get_job_run(applicationId=made, jobRunId=job["job"])["jobRun"]["jobDriver"]["sparkSubmit"]
    assert "spark.archives=s3://b/env.tar.gz#environment" in sent["sparkSubmitParameters"]

    assert run(["submit", "emr-serverless", "--application-id", "0" * 16, *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: EMR Serverless: ")
    assert error.count("\n") == 1
    assert "very-secret" not in told.err + error
