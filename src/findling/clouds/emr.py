"""Job runs of EMR Serverless: start one, follow it to its end, cancel it when nobody waits any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from findling.errors import FindlingError, MissingExtra

_FAILED = {"FAILED", "CANCELLED"}
_ENDED = _FAILED | {"SUCCESS"}


class JobFailed(FindlingError):
    """A job in a cloud did not end well."""

    code, title = "job", "The job failed"


@contextmanager
def refusals() -> Iterator[None]:
    """What Amazon's client raises within, such as missing credentials or a refusal, as a FindlingError."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise MissingExtra("boto3 is not installed", todo="pip install 'findling[aws]'") from error
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise JobFailed(f"EMR Serverless: {error}", todo="check region, application and role") from error


def client() -> Any:
    """EMR Serverless by boto3, with the account and region it finds by itself; MissingExtra without it."""
    try:
        import boto3
    except ImportError as error:
        raise MissingExtra("boto3 is not installed", todo="pip install 'findling[aws]'") from error
    return boto3.client("emr-serverless")


def request(application: str, role: str, entry: str, archive: str, parameters: list[str]) -> dict[str, Any]:
    """What StartJobRun is asked: `entry` is run by the Python inside `archive`, both s3:// addresses.

    `parameters` go to spark-submit too. Source: the StartJobRun API and "Using Python libraries with EMR
    Serverless" in Amazon's guide.
    """
    python = "./environment/bin/python"
    settings = {
        "spark.archives": f"{archive}#environment",
        "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": python,
        "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": python,
        "spark.executorEnv.PYSPARK_PYTHON": python,
    }
    words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    submit = {"entryPoint": entry, "sparkSubmitParameters": " ".join([*words, *parameters])}
    return {
        "applicationId": application,
        "executionRoleArn": role,
        "name": "findling-build",
        "jobDriver": {"sparkSubmit": submit},
    }


def run(emr: Any, asked: dict[str, Any], say: Callable[[str], None], every: float = 10.0) -> dict[str, Any]:
    """Start a job run and follow it, asking its state `every` so many seconds; returns the ended job run.

    JobFailed, with the job's own reason, where it fails. Interrupted, the job run is cancelled first.
    """
    job = emr.start_job_run(**asked)["jobRunId"]
    which = {"applicationId": asked["applicationId"], "jobRunId": job}
    try:
        say(f"job run {job} started")
        return _followed(emr, which, say, every)
    except KeyboardInterrupt:
        emr.cancel_job_run(**which)
        say(f"job run {job} is being cancelled")
        raise


def _followed(emr: Any, which: dict[str, str], say: Callable[[str], None], every: float) -> dict[str, Any]:
    told = ""
    while True:
        job: dict[str, Any] = emr.get_job_run(**which)["jobRun"]
        state = job["state"]
        if state != told:
            say(f"job run {which['jobRunId']}: {state.lower()}")
            told = state
        if state in _FAILED:
            reason = job.get("stateDetails") or "no reason given"
            raise JobFailed(f"job run {which['jobRunId']} {state.lower()}: {reason}")
        if state in _ENDED:
            return job
        time.sleep(every)
