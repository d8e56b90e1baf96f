"""The verb that packs an environment for workers that have none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from findling import storage
from findling.cli.output import Json, amount, print_json, progress, settings_of
from findling.errors import ConfigError
from findling.pack import docker, local, models

_EXTRAS = {"local": "spark", "emr-7": "aws,spark"}


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command()(pack)


def pack(
    platform: Annotated[
        Literal["local", "emr-7"],
        typer.Option(help="What workers run: a system like this, or EMR 7's."),
    ],
    out: Annotated[str, typer.Option(help="Path or URL of the archive.")] = "environment.tar.gz",
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Carry the models of this findling.toml.")
    ] = None,
    with_model: Annotated[
        list[str] | None, typer.Option(help="Carry this encoder's model; may be repeated. [default: minilm]")
    ] = None,
    extras: Annotated[
        str | None, typer.Option(help="Extras, by commas. [default: spark, for EMR aws,spark]")
    ] = None,
    image: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a custom image for EMR Serverless instead.")
    ] = None,
    release: Annotated[str, typer.Option(help="The release of EMR that --image is for.")] = docker.RELEASE,
    as_json: Json = False,
) -> None:
    """Pack Python, findling, what it needs and models into an archive that runs where it is unpacked."""
    if image is not None and platform == "local":
        raise ConfigError("--image is for EMR", todo="say --platform emr-7")
    carried = models.of(settings_of(config)) if config is not None else {}
    named = with_model if with_model is not None else [] if config is not None else ["minilm"]
    carried = {**{name: {} for name in named}, **carried}
    chosen = [name.strip() for name in (extras or _EXTRAS[platform]).split(",") if name.strip()]
    told: dict[str, Any] = {"platform": platform, "models": sorted(carried)}
    if image is not None:
        docker.image(image, release, chosen, carried, progress())
        told |= {"image": image}
        line = f"made the image {image}"
    else:
        make = local.pack if platform == "local" else docker.pack
        make(out, chosen, carried, progress())
        size = storage.size(out)
        told |= {"archive": out, "bytes": size}
        line = f"packed {out}: {amount(size, 'bytes')}, for {platform}, with {', '.join(sorted(carried))}"
    if as_json:
        print_json(told)
    else:
        print(line)
