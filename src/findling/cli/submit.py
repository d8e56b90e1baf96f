"""Verbs that run a job in a cloud: one for each cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from findling.cli.output import Json, print_json, progress
from findling.clouds import emr
from findling.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    group = typer.Typer(help="Run a build as a job in a cloud, and follow it.", no_args_is_help=True)
    group.command("emr-serverless")(emr_serverless)
    group.callback()(_clouds)
    app.add_typer(group, name="submit")


def _clouds() -> None:
    """Run a build as a job in a cloud, and follow it."""


def emr_serverless(
    application_id: Annotated[str, typer.Option(help="The EMR Serverless application.")],
    role_arn: Annotated[str, typer.Option(help="The role the job runs as.")],
    entry: Annotated[str, typer.Option(help="s3:// address of the script to run.")],
    archive: Annotated[str, typer.Option(help="s3:// address of the packed environment.")],
    conf: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for Spark; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run a script that lies in S3 on EMR Serverless; Ctrl-C cancels the job."""
    for each in conf or []:
        if "=" not in each or each.split() != [each]:  # they are sent as one line, parted by spaces
            raise ConfigError(f"--conf {each!r} is not KEY=VALUE without spaces")
    parameters = [word for each in conf or [] for word in ("--conf", each)]
    asked = emr.request(application_id, role_arn, entry, archive, parameters)
    if dry_run:
        print_json(asked)
        return
    with emr.refusals():
        ended = emr.run(emr.client(), asked, progress().say)
    told = {"job": ended["jobRunId"], "state": ended["state"]}
    if as_json:
        print_json(told)
    else:
        print(f"job run {told['job']}: {told['state'].lower()}")
