"""Verbs that tune: tune."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from findling import tuning
from findling.catalog import Catalog
from findling.cli.output import Config, Json, amount, print_json, progress, settings_of
from findling.config import FILE, IndexOptions, Settings, convert, models_cache
from findling.errors import SnapshotError
from findling.indexes import measure
from findling.indexes.planner import Targets
from findling.searcher import Searcher
from findling.tuning import Tuned

_HERE = Path(FILE)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(tune)


def tune(
    recall: Annotated[float | None, typer.Option(help="The recall@10 that is wanted.")] = None,
    memory: Annotated[str | None, typer.Option(help='What searches may keep in memory, as "2GB".')] = None,
    latency_ms: Annotated[
        float | None, typer.Option("--latency-ms", help="What 95% of the searches must keep to.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help='Queries, one a line or JSON lines with "q".')] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help=r"Print the \[index] lines that make a build keep to this.")
    ] = False,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Sweep the live snapshot's search parameters against the exact answer.

    Targets that are not said are those of the configuration.
    """
    settings = settings_of(config)
    asked = None if queries is None else str(queries.resolve())
    given = {"recall": recall, "memory": memory, "latency_ms": latency_ms, "queries": asked}
    said = {name: value for name, value in given.items() if value is not None}
    options = convert({**msgspec.to_builtins(settings.index), **said}, IndexOptions, "index")
    targets = Targets(options.recall, options.memory_bytes, options.latency_ms)
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank, models_cache())
    found = {}
    for name in searcher.fields:
        with progress().task(f"tune {name}", None, "settings") as task:
            path = options.queries and settings.path(options.queries)
            found[name] = tuning.tune(searcher, name, _columns(settings, searcher, name), targets, path)
            task.advance(len(found[name].curve))
    lines = _lines(options)
    if as_json:
        fields = {name: dataclasses.asdict(tuned) for name, tuned in found.items()}
        told = dataclasses.asdict(targets)
        print_json({"snapshot": searcher.manifest.id, "targets": told, "fields": fields, "index": lines})
    else:
        print("\n".join(line for name, tuned in found.items() for line in _shown(name, tuned)))
        if apply:
            print("\n".join(["", "[index]", *(f"{name} = {_toml(value)}" for name, value in lines.items())]))
    for name, tuned in found.items():
        if not tuned.met:
            raise _missed(name, tuned, targets)


def _columns(settings: Settings, searcher: Searcher, name: str) -> list[str]:
    """What a field embeds of a document, as far as the snapshot keeps it; nothing for pictures."""
    field = settings.vectors.get(name)
    if field is None or field.image or "text" not in searcher.fields[name].encoder.spec.modalities:
        return []
    kept = [column for column in field.input if column in {"id", *searcher.manifest.columns}]
    return kept or [searcher.manifest.title]


def _shown(name: str, tuned: Tuned) -> list[str]:
    """A field's curve, fastest first, with the chosen point and that of now marked."""
    lines = [f"{name}: {tuned.kind}, {tuned.queries}; searches keep about {amount(tuned.memory, 'bytes')}"]
    lines.append("            recall@10    p50 ms    p95 ms  queries/s")
    for point in sorted(tuned.curve, key=lambda point: point["latency_ms"]["p95"]):
        marks = [("chosen", point == tuned.chosen), ("now", point["params"] == tuned.search)]
        mark = "+".join(text for text, holds in marks if holds)
        latency = point["latency_ms"]
        params = ", ".join(f"{key} {value}" for key, value in point["params"].items())
        figures = f"{point['recall']:9.4f} {latency['p50']:9.3f} {latency['p95']:9.3f} {point['qps']:10,.0f}"
        lines.append(f"{mark:>11} {figures}  {params}".rstrip())
    return lines


def _missed(name: str, tuned: Tuned, targets: Targets) -> SnapshotError:
    if targets.met_by(tuned.chosen):
        return SnapshotError(
            f"searches of {name!r} keep about {amount(tuned.memory, 'bytes')} in memory, "
            f"over {amount(targets.memory, 'bytes')}",
            todo='let index.kind be "auto" or "compact", and build with these targets',
        )
    near = measure.nearest(tuned.curve, targets.recall, targets.latency_ms)
    return SnapshotError(
        f"no search parameters of {name!r} meet the targets; the nearest: {near}",
        todo='ask for less, or let index.kind be "auto" and build with these targets',
    )


def _lines(options: IndexOptions) -> dict[str, Any]:
    """The targets as keys of [index]."""
    names = ("kind", "recall", "memory", "latency_ms", "queries")
    found = ((name, getattr(options, name)) for name in names)
    return {name: value for name, value in found if value is not None}


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()  # a text or number is the same in both
