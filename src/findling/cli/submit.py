"""Verbs that run a job in a cloud: one for each cloud."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from findling import build, storage
from findling.cli import batch, driver
from findling.cli.output import Config, Json, print_json, progress, settings_of
from findling.clouds import dataflow as google
from findling.clouds import emr, wanted
from findling.clouds.uploads import Uploads
from findling.config import FILE, load
from findling.errors import ConfigError, FindlingError

Configured = Annotated[Path | None, typer.Option("-c", "--config", help="What to build: a findling.toml.")]
Planned = Annotated[Path | None, typer.Option("--plan", help="What findling plan --json printed.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(help="Run a build as a job in a cloud, and follow it.", no_args_is_help=True)
    group.command("emr-serverless")(emr_serverless)
    group.command("dataflow")(dataflow)
    group.callback()(_clouds)
    app.add_typer(group, name="submit")


def _clouds() -> None:
    """Run a build as a job in a cloud, and follow it."""


def emr_serverless(
    application_id: Annotated[str, typer.Option(help="The EMR Serverless application.")],
    role_arn: Annotated[str, typer.Option(help="The role the job runs as.")],
    config: Configured = None,
    archive: Annotated[
        str | None, typer.Option(help="The packed environment; without it, a custom image has findling.")
    ] = None,
    entry: Annotated[str | None, typer.Option(help="A script to run, in place of a build.")] = None,
    to: Annotated[str | None, typer.Option(help="s3:// address for what is uploaded, and for logs.")] = None,
    plan: Planned = None,
    conf: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for Spark; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run a build (or a script) on EMR Serverless and tell its counts; Ctrl-C cancels the job."""
    if (config is None) == (entry is None):
        raise ConfigError("a job is a build or a script", todo=f"say -c {FILE}, or --entry SCRIPT")
    spark = emr.sizes(wanted.plan(plan, "emr-serverless")) if plan is not None else {}
    spark |= _pairs(conf or [])
    uploads = Uploads(to, progress().say, dry_run)
    report: str | None = None
    arguments: list[str] = []
    if config is not None:
        # The environment of this machine is not there, so what it would override is not read.
        wanted.check(load(config, environ={}), "s3://")
        report = uploads.at("reports", f"{uuid.uuid4().hex}.json")
        arguments = [uploads.file("-c", str(config)), report]
    packed = uploads.file("--archive", archive) if archive is not None else None
    script = uploads.file("--entry", entry) if entry is not None else uploads.text("run.py", driver.SCRIPT)
    logs = uploads.at("logs", "") if to is not None else None
    asked = emr.request(application_id, role_arn, script, packed, spark, arguments, logs)
    if dry_run:
        print_json(asked)
        return
    with emr.refusals():
        try:
            ended = emr.run(emr.client(), asked, progress().say)
        except emr.JobFailed as failed:
            raise _explained(failed, report, logs) from failed
    _tell(f"job run {ended['jobRunId']}: {ended['state'].lower()}", ended, report, as_json)


def dataflow(
    project: Annotated[str, typer.Option(help="The project that is billed.")],
    region: Annotated[str, typer.Option(help="Where workers run; best where the bucket is.")],
    image: Annotated[str, typer.Option(help="The workers' image: deploy/gcp/dataflow.Dockerfile, pushed.")],
    to: Annotated[str, typer.Option(help="gs:// address for what Dataflow leaves on its way.")],
    config: Config = Path(FILE),
    plan: Planned = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="A pipeline option of Beam; may be repeated."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run a build with its tasks on Dataflow, its index here; Ctrl-C cancels the job."""
    settings = settings_of(config)
    wanted.check(settings, "gs://")
    planned = wanted.plan(plan, "dataflow") if plan is not None else None
    options = google.options(project, region, image, to, planned) | batch.options_of(option or [])
    if dry_run:
        print_json(options)
        return
    report = build.build(settings, "beam", options=options, progress=progress())
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print("\n".join(batch.summary(report)))


def _tell(line: str, ended: dict[str, Any], report: str | None, as_json: bool) -> None:
    told: dict[str, Any] = {"job": ended["jobRunId"], "state": ended["state"]}
    built: build.Report | None = None
    if report is not None:
        built = msgspec.json.decode(storage.read_bytes(report), type=build.Report)
        told["report"] = built
    if as_json:
        print_json(told)
        return
    print("\n".join([line, *(batch.summary(built) if built else [])]))


def _explained(failed: FindlingError, report: str | None, logs: str | None) -> FindlingError:
    """A failed job in the words of the build where it left some, and else where to look."""
    if report is not None and storage.exists(report):
        told = msgspec.json.decode(storage.read_bytes(report), type=dict[str, Any])
        if "error" in told:
            return emr.JobFailed(f"{failed.what}; the build says: {told['error']}")
    return emr.JobFailed(failed.what, todo=f"look into {logs}" if logs else "")


def _pairs(given: list[str]) -> dict[str, str]:
    """KEY=VALUE as Spark takes them; they are sent as one line, parted by spaces."""
    for each in given:
        if "=" not in each or each.split() != [each]:
            raise ConfigError(f"--conf {each!r} is not KEY=VALUE without spaces")
    return dict(each.split("=", 1) for each in given)
