"""Verbs of the online half: search and serve."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from findling.catalog import Catalog
from findling.cli.output import Config, Json, print_json, settings_of
from findling.config import FILE, models_cache
from findling.errors import QueryError
from findling.pictures import MAX_BYTES
from findling.records import WAYS, Answer, Mode, Query, Way
from findling.searcher import Searcher

_HERE = Path(FILE)


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    for verb in (search, serve, key):
        app.command()(verb)


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in words.")] = "",
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    offset: Annotated[int, typer.Option(help="How many hits to skip.")] = 0,
    mode: Annotated[str, typer.Option(help="hybrid, semantic or lexical.")] = "hybrid",
    way: Annotated[str | None, typer.Option("--query", help="Who embeds the words: full or instant.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to look for.")] = None,
    like: Annotated[str | None, typer.Option(metavar="ID", help="A document to find others like.")] = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="Only documents for which this holds.")
    ] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out hits that score less.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show each part's rank and score.")] = False,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Search the live snapshot."""
    settings = settings_of(config)
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank, models_cache())
    asked = Query(
        q=query,
        image=_picture(image),
        like=like,
        k=k,
        offset=offset,
        mode=mode_of(mode),
        query=way_of(way),
        where=where,
        min_score=min_score,
        explain=explain,
        highlight=as_json,
    )
    started = time.perf_counter()
    answer = searcher.search(asked)
    took = (time.perf_counter() - started) * 1000
    if as_json:
        print_json(answer.to_json(took))
    else:
        print("\n".join(_shown(answer, searcher.manifest.title, took)))


def serve(
    config: Annotated[
        list[Path] | None, typer.Option("-c", "--config", help="One findling.toml or several.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy lets in only those who may: no keys needed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve the page and the HTTP interface; with --json, the address is printed as JSON."""
    from findling.serve import run

    paths = [path.resolve() for path in config or [_HERE]]
    first = settings_of(paths[0]).serve
    run.run(
        paths,
        host or first.host,
        first.port if port is None else port,
        workers or first.workers,
        told=_as_json if as_json else _as_line,
        behind_proxy=behind_proxy,
    )


def key(
    admin: Annotated[bool, typer.Option("--admin", help="May also reload and roll back.")] = False,
    as_json: Json = False,
) -> None:
    """Make a key for the service, and the line of it for the configuration."""
    from findling.serve import auth

    made, line = auth.new_key("admin" if admin else "search")
    if as_json:
        print_json({"key": made, "line": line})
        return
    print(f"the key, shown only now:      {made}")
    print(f'its line, for [serve] keys:   "{line}"')


def _as_line(address: str, processes: int) -> None:
    print(f"serving on {address} with {processes} process(es); stop with Ctrl-C", file=sys.stderr, flush=True)


def _as_json(address: str, processes: int) -> None:
    print_json({"address": address, "workers": processes})
    sys.stdout.flush()


def mode_of(text: str) -> Mode:
    """A mode by its name; raises QueryError."""
    try:
        mode: Mode = msgspec.convert(text, Mode)
    except msgspec.ValidationError:
        raise QueryError(f"unknown mode {text!r}", todo="known are hybrid, semantic, lexical") from None
    return mode


def way_of(text: str | None) -> Way | None:
    """Who embeds a query's words, by its name; raises QueryError."""
    if text not in (None, *WAYS):
        raise QueryError(f"unknown query {text!r}", todo=f"known are {', '.join(WAYS)}")
    return text


def _picture(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)  # more is refused, whatever it is
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}") from None


def _shown(answer: Answer, title: str, took: float) -> list[str]:
    """Hits as lines: rank, score, title, and what else fits."""
    lines = []
    for hit in answer.hits:
        document: dict[str, Any] = msgspec.json.decode(hit.document)
        others = [_short(document[name]) for name in ("authors", "year") if document.get(name)]
        about = f"  ({', '.join(others)})" if others else ""
        lines.append(f"{hit.rank:>3}. {hit.score:.4f}  {_short(document.get(title, ''))}{about}  [{hit.id}]")
        if hit.ranks is not None:
            parts = (f"{name}: rank {hit.ranks[name]}, score {hit.scores[name]:.4f}" for name in hit.ranks)
            lines.append(f"       {'; '.join(parts)}")
    if not lines:
        lines.append("nothing found")
    if answer.degraded:
        lines.append("the encoder could not be used, so only words were compared")
    return [*lines, f"{took:.1f} ms"]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:89]}…"
