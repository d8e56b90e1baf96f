"""Verbs of the batch half: build, and the moves of snapshots."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from findling import build as builder
from findling import snapshot, storage
from findling.catalog import Catalog
from findling.cli.output import Config, Json, amount, duration, print_json, progress, settings_of
from findling.config import FILE, value_of
from findling.errors import ConfigError, FindlingError, NotFound
from findling.evaluate.curves import page

_HERE = Path(FILE)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (build, status, publish, rollback, prune, verify):
        app.command()(verb)


def build(
    config: Config = _HERE,
    engine: Annotated[str, typer.Option(help="Where it runs: local, spark or beam.")] = "local",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the engine; may be repeated."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="Stages to run, by commas: extract, embed, index, publish.")
    ] = ",".join(builder.STAGES),
    limit: Annotated[int | None, typer.Option(min=1, help="Read this many records only.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what could not be embedded before.")
    ] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Write only what differs from the live snapshot.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build a snapshot from the source, and publish it."""
    stages = _stages(only)
    report = builder.build(
        settings_of(config),
        engine,
        stages,
        limit,
        retry_failed=retry_failed,
        incremental=incremental,
        options=options_of(option or []),
        progress=progress(),
    )
    if as_json:
        told = dataclasses.asdict(report)
        for name in ("waited", "failures"):  # of pictures only
            if not told[name]:
                del told[name]
        print_json(told)
    else:
        print("\n".join(summary(report)))


def status(
    config: Config = _HERE,
    report: Annotated[
        Path | None,
        typer.Option(help="Write recall over latency of the live one here, as HTML."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the collection's snapshots and which one is live."""
    catalog = Catalog.of(settings_of(config))
    current = catalog.current()
    if report is not None:
        if current is None:
            raise NotFound(f"{catalog.collection!r} has nothing published", todo="run: findling build")
        storage.write_bytes(str(report), page(catalog.manifest(current)).encode())
    rows = [_row(catalog, identity, identity == current) for identity in catalog.ids()]
    if as_json:
        print_json({"collection": catalog.collection, "current": current, "snapshots": rows})
        return
    if not rows:
        print(f"{catalog.collection}: no snapshot yet; run: findling build")
    for row in rows:
        live = "live" if row["current"] else "    "
        if "damaged" in row:
            print(f"{live}  {row['id']}  {row['damaged']}")
            continue
        recalls = ", ".join(f"{name} recall@10 {recall:.3f}" for name, recall in row["recall_at_10"].items())
        size = amount(row["bytes"], "bytes")
        print(f"{live}  {row['id']}  {row['documents']:>10,} documents  {size:>12}  {recalls}")


def _row(catalog: Catalog, identity: str, current: bool) -> dict[str, Any]:
    """What `status` tells of one snapshot; of one whose manifest cannot be read, why."""
    try:
        manifest = catalog.manifest(identity)
    except FindlingError as error:
        return {"id": identity, "current": current, "damaged": str(error)}
    return {
        "id": manifest.id,
        "created": manifest.created,
        "documents": manifest.documents,
        "bytes": sum(file.size for file in manifest.files.values()),
        "recall_at_10": {name: field.recall_at_10 for name, field in manifest.fields.items()},
        "base": manifest.base and manifest.base.id,
        "current": current,
    }


def publish(
    identity: Annotated[str, typer.Argument(metavar="ID")], config: Config = _HERE, as_json: Json = False
) -> None:
    """Make a snapshot the live one."""
    _moved(Catalog.of(settings_of(config)).publish(identity).id, as_json)


def rollback(config: Config = _HERE, as_json: Json = False) -> None:
    """Make the snapshot before the current one the live one."""
    _moved(Catalog.of(settings_of(config)).rollback().id, as_json)


def prune(
    config: Config = _HERE,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest stay.")] = 3,
    as_json: Json = False,
) -> None:
    """Remove old snapshots; the live one always stays."""
    gone = Catalog.of(settings_of(config)).prune(keep)
    if as_json:
        print_json({"removed": gone})
    else:
        print(f"removed {len(gone)}: {', '.join(gone)}" if gone else "nothing to remove")


def verify(
    identity: Annotated[str | None, typer.Argument(metavar="ID", help="By default the live one.")] = None,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Read every file of a snapshot and compare it with the manifest."""
    catalog = Catalog.of(settings_of(config))
    manifest = snapshot.verify(catalog.local(identity))
    size = sum(file.size for file in manifest.files.values())
    if as_json:
        print_json({"snapshot": manifest.id, "files": len(manifest.files), "bytes": size, "ok": True})
    else:
        print(f"{manifest.id}: {len(manifest.files)} files, {amount(size, 'bytes')}, all as they were built")


def options_of(given: list[str]) -> dict[str, Any]:
    """KEY=VALUE as an engine takes them."""
    for text in given:
        if "=" not in text:
            raise ConfigError(f"--option is {text!r}", todo="write --option KEY=VALUE")
    pairs = (text.partition("=") for text in given)
    return {key.strip(): value_of(value) for key, _, value in pairs}


def _stages(text: str) -> list[str]:
    stages = [name.strip() for name in text.split(",") if name.strip()]
    for name in stages:
        if name not in builder.STAGES:
            raise ConfigError(f"unknown stage {name!r}", todo=f"known are {', '.join(builder.STAGES)}")
    return stages


def _moved(identity: str, as_json: bool) -> None:
    if as_json:
        print_json({"published": identity})
    else:
        print(f"live now: {identity}")


def summary(report: builder.Report) -> list[str]:
    """A build on one screen."""
    records: dict[str, Any] = report.records
    lines = [f"{report.collection}: read {records['read']:,} records, kept {records['kept']:,}"]
    lines += [f"  dropped {count:>12,}  {reason}" for reason, count in records["dropped"].items()]
    for name, counts in report.embedded.items():
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "new")
        if name in report.waited:
            told += f"; the encoder waited for pictures {report.waited[name]:.0%} of its time"
        lines.append(f"embedded {name}: {told}")
        lines += [
            f"  failed  {count:>12,}  {reason}" for reason, count in report.failures.get(name, {}).items()
        ]
    for name, built in report.index.items():
        size = amount(built["bytes"], "bytes")
        lines.append(f"index {name}: {built['kind']}, {size}, recall@10 {built['recall_at_10']:.3f}")
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in report.seconds.items())
    lines.append(f"time: {spent}")
    if report.snapshot:
        lines.append(f"{'live now' if report.published else 'built, not published'}: {report.snapshot}")
    if report.published and sys.stdout.isatty():
        lines.append("try it: findling search WORDS, or findling serve")
    return lines
