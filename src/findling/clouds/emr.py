"""Job runs of EMR Serverless: start one, follow it to its end, cancel it when nobody waits any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from findling.errors import FindlingError, MissingExtra
from findling.plan import TASKS_PER_CORE, Plan

_PYTHONS = (
    "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON",
    "spark.emr-serverless.driverEnv.PYSPARK_PYTHON",
    "spark.executorEnv.PYSPARK_PYTHON",
)
_DISKFULS = 3  # of what a build leaves: documents sorted, vectors, and the snapshot beside them
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


def request(
    application: str,
    role: str,
    entry: str,
    archive: str | None,
    settings: Mapping[str, str],
    arguments: Sequence[str] = (),
    logs: str | None = None,
) -> dict[str, Any]:
    """What StartJobRun is asked: `entry` is run with `arguments` by the Python inside `archive`.

    Both are s3:// addresses, as is `logs`, below which Spark's logs go; without an archive it is the Python
    of the application's custom image. `settings` are Spark's. Source: the StartJobRun API and "Using Python
    libraries with EMR Serverless" in Amazon's guide.
    """
    python = dict.fromkeys(_PYTHONS, "./environment/bin/python")
    packed = {"spark.archives": f"{archive}#environment", **python} if archive else {}
    words = [word for key, value in {**packed, **settings}.items() for word in ("--conf", f"{key}={value}")]
    submit: dict[str, Any] = {"entryPoint": entry}
    if words:
        submit["sparkSubmitParameters"] = " ".join(words)
    if arguments:
        submit["entryPointArguments"] = list(arguments)
    asked: dict[str, Any] = {
        "applicationId": application,
        "executionRoleArn": role,
        "name": "findling-build",
        "jobDriver": {"sparkSubmit": submit},
    }
    if logs:
        kept = {"s3MonitoringConfiguration": {"logUri": logs}}
        asked["configurationOverrides"] = {"monitoringConfiguration": kept}
    return asked


def sizes(plan: Plan) -> dict[str, str]:
    """Spark's settings for what a plan asks for.

    Python works outside of the JVM's heap, in what Spark calls overhead, so that gets the larger part; both
    together are the worker's memory. Source: "Worker configurations" and "Spark job properties" there.
    """
    disk = f"{min(max(math.ceil(_DISKFULS * sum(plan.bytes.values()) / 1e9), 20), 200)}G"
    return {
        "spark.executor.cores": str(plan.cores),
        **_memory("executor", plan.memory),
        "spark.driver.cores": f"{plan.driver['cores']:.0f}",
        **_memory("driver", plan.driver["memory"]),
        "spark.emr-serverless.driver.disk": disk,
        "spark.dynamicAllocation.initialExecutors": str(plan.workers),
        "spark.dynamicAllocation.maxExecutors": str(plan.workers),
        # By this the engine knows how many tasks run at once, before executors are there to be counted.
        "spark.default.parallelism": str(math.ceil(plan.partitions / TASKS_PER_CORE)),
    }


def _memory(role: str, size: float) -> dict[str, str]:
    megabytes = round(size / 1e9) * 1024
    heap = megabytes // 4
    return {f"spark.{role}.memory": f"{heap}m", f"spark.{role}.memoryOverhead": f"{megabytes - heap}m"}


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
