"""Verbs for more than one machine: what a build will cost, before anyone pays."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from findling import plan as planner
from findling import trial
from findling.cli.output import Config, Json, amount, duration, print_json, progress, settings_of
from findling.config import FILE
from findling.errors import ConfigError

_HERE = Path(FILE)
_ENGINES: dict[str, list[planner.Platform]] = {
    "all": list(planner.PLATFORMS),
    "local": ["local"],
    "spark": ["emr-serverless"],
    "beam": ["dataflow"],
}


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(plan)


def plan(
    config: Config = _HERE,
    engine: Annotated[str, typer.Option(help="local, spark, beam, or all of them.")] = "all",
    sample: Annotated[
        int | None, typer.Option(min=8, help="Records to build for measuring: 5000, or 500 with pictures.")
    ] = None,
    records: Annotated[int | None, typer.Option(min=1, help="How many there are, where known.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="How long it may take on a cluster.")] = 1.0,
    pace: Annotated[float, typer.Option(min=0.05, help="Speed of a core there, beside one here.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Measure a sample, and tell time, memory, disk and cost of the whole."""
    if engine not in _ENGINES:
        raise ConfigError(f"unknown engine {engine!r}", todo=f"known are {', '.join(_ENGINES)}")
    measured = trial.run(settings_of(config), sample, records, progress())
    plans = [planner.plan(measured, where, hours=hours, pace=pace) for where in _ENGINES[engine]]
    if as_json:
        told: dict[str, Any] = {"trial": dataclasses.asdict(measured)}
        print_json(told | {"plans": [dataclasses.asdict(each) for each in plans]})
    else:
        print("\n".join(line for each in plans for line in _shown(each)))


def _shown(plan: planner.Plan) -> list[str]:
    """A plan in a few lines."""
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in plan.seconds.items())
    left = ", ".join(f"{what} {amount(size, 'bytes')}" for what, size in plan.bytes.items())
    lines = [
        f"{plan.platform}: {plan.records:,} records, {plan.documents:,} documents",
        f"  {plan.partitions:,} partitions, {plan.workers} worker(s) of {plan.cores} cores and "
        f"{amount(plan.memory, 'bytes')}",
        f"  {duration(plan.hours * 3600)}: {spent}",
        f"  leaves {left}",
    ]
    if plan.price["date"]:
        lines.append(f"  about ${plan.dollars:,.2f} ({plan.price['source']}, {plan.price['date']})")
    return [*lines, *(f"  note: {note}" for note in plan.notes), ""]
