"""Verbs that carry embeddings out of a collection and into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from findling import exchange
from findling.cli.output import Config, Json, print_json, progress, settings_of
from findling.config import FILE
from findling.errors import ConfigError

_HERE = Path(FILE)
Field = Annotated[str, typer.Option(help="The vector field.")]


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("export")(export)
    app.command("import")(bring)


def export(
    out: Annotated[str, typer.Argument(metavar="DIR", help="Where to; any fsspec URL.")],
    field: Field = "text",
    kind: Annotated[str, typer.Option("--format", help="tfrecord or parquet.")] = "parquet",
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Write the live snapshot's vectors to files of id and embedding."""
    if kind not in exchange.SUFFIXES:
        raise ConfigError(f"unknown format {kind!r}", todo=f"known are {', '.join(exchange.SUFFIXES)}")
    chosen: exchange.Kind = "tfrecord" if kind == "tfrecord" else "parquet"
    many = exchange.export(settings_of(config), field, out, chosen, progress())
    if as_json:
        print_json({"field": field, "format": kind, "embeddings": many})
    else:
        print(f"{many:,} embeddings of {field} written to {out}")


def bring(
    files: Annotated[str, typer.Argument(metavar="FILES", help="A path, glob or fsspec URL.")],
    field: Field = "text",
    ids: Annotated[str | None, typer.Option(help="The ids of an Annoy index: JSON or Parquet.")] = None,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Take vectors that were made elsewhere, so that the next build need not embed them."""
    told = exchange.bring(settings_of(config), field, files, ids, progress())
    if as_json:
        print_json(told)
    else:
        print(f"{told['brought']:,} of {told['read']:,} embeddings taken, {told['unknown']:,} of no document")
        print("next: findling build")
