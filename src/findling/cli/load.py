"""The verb that loads a service, to see what it can take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from findling import load as generator
from findling.cli.output import Json, print_json
from findling.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add this verb."""
    app.command()(load)


def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="A service, its search, or a URL with {}.")],
    queries: Annotated[Path, typer.Option(help="A query a line, or BEIR's jsonl.")],
    concurrency: Annotated[int, typer.Option(min=1, max=4096, help="Connections.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 20.0,
    rate: Annotated[float | None, typer.Option(min=0.1, help="Requests due a second: an open loop.")] = None,
    order: Annotated[str, typer.Option(help="file or zipf.")] = "file",
    key: Annotated[str | None, typer.Option(help="An API key to send.", envvar="FINDLING_KEY")] = None,
    as_json: Json = False,
) -> None:
    """Load a service with searches, and tell how fast it answers."""
    if order not in generator.ORDERS:
        raise ConfigError(f"unknown order {order!r}", todo=f"known are {', '.join(generator.ORDERS)}")
    chosen: generator.Order = "zipf" if order == "zipf" else "file"
    asked = _queries(queries)
    target = generator.Target.of(url, [("Authorization", f"Bearer {key}")] if key else [])
    stream = generator.queries_in(chosen, asked)
    report = generator.run_alone(target, stream, concurrency, seconds, rate, _progress)
    told = report.told()
    if as_json:
        print_json(told)
        return
    latency = ", ".join(f"{name} {value:g} ms" for name, value in told["latency_ms"].items())
    print(f"{told['requests']:,} requests, {told['errors']:,} errors, {told['rps']:,} answered a second")
    print(f"{latency}; {told['cache_hits']:,} from a cache")
    for kind, count in report.failures.items():
        print(f"  failed {count:>8,}  {kind}")


def _queries(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
        found = [json.loads(line)["text"] if line.startswith("{") else line for line in lines]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError) as error:
        raise ConfigError(
            f"{path} holds no queries: {error}", todo='write a query a line, or {"text": "…"}'
        ) from None
    if not found:
        raise ConfigError(f"{path} holds no queries", todo="write one a line")
    return found


def _progress(report: generator.Report) -> None:
    told = report.told()
    print(
        f"{report.seconds:4.0f} s: {told['rps']:,} a second, p99 {told['latency_ms']['p99']:g} ms, "
        f"{told['errors']} errors",
        file=sys.stderr,
        flush=True,
    )
