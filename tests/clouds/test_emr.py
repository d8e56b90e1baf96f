"""Job runs of EMR Serverless: asked for, followed, failed and cancelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from findling.cli import run
from findling.clouds import emr

ASKED = emr.request("app", "role", "s3://b/run.py", "s3://b/env.tar.gz", [])


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
