"""Verbs that judge: eval."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from findling import storage
from findling.catalog import Catalog
from findling.cli.online import mode_of, way_of
from findling.cli.output import Config, Json, print_json, progress, settings_of
from findling.config import FILE, models_cache
from findling.errors import ConfigError, QueryError
from findling.evaluate import evaluate
from findling.evaluate.judged import read_qrels, read_queries
from findling.evaluate.report import page
from findling.records import Mode, Query, Way
from findling.searcher import Searcher

_HERE = Path(FILE)
_LIKE = 5
_DEPTH = 1000  # hits looked at for each query, as trec_eval does


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("eval")(judge)


def judge(
    queries: Annotated[
        Path | None, typer.Option(help="Queries: BEIR's jsonl, tab-separated, or TREC topics.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="Judgements: BEIR's or TREC's.")] = None,
    mode: Annotated[str, typer.Option(help="hybrid, semantic or lexical.")] = "hybrid",
    way: Annotated[str | None, typer.Option("--query", help="Who embeds the words: full or instant.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
    like_label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Instead: do documents like one share this column's value?"),
    ] = None,
    field: Annotated[str | None, typer.Option(help="The vector field that --like-label looks at.")] = None,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Measure the search against human judgements: nDCG@10, MAP, MRR, recall@100, latency."""
    settings = settings_of(config)
    if like_label is None and (queries is None or qrels is None):
        raise ConfigError(
            "eval needs --queries with --qrels, or --like-label", todo="see: findling eval --help"
        )
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank, models_cache())
    if like_label is not None:
        shown = _like_label(searcher, like_label, field)
    else:
        shown = _judged(searcher, queries or Path(), qrels or Path(), mode_of(mode), way_of(way), report)
    if as_json:
        print_json(shown)
        return
    for name, value in shown.items():
        text = ", ".join(f"{n} {v}" for n, v in value.items()) if isinstance(value, dict) else value
        print(f"{name:>14}: {text}")


def _judged(
    searcher: Searcher, queries: Path, qrels: Path, mode: Mode, way: Way | None, report: Path | None
) -> dict[str, Any]:
    """The measures over all judged queries."""
    texts, judgements = read_queries(queries), read_qrels(qrels)
    searcher.warm()

    def search(text: str) -> list[str]:
        return [hit.id for hit in searcher.search(Query(q=text, mode=mode, query=way, k=_DEPTH)).hits]

    with progress().task(f"eval {mode}", len(texts), "queries") as task:
        measured = evaluate(search, texts, judgements, mode=mode, told=lambda: task.advance(1))
    if report is not None:
        storage.write_bytes(str(report), page(measured).encode())
    return measured.as_json()


def _like_label(searcher: Searcher, column: str, field: str | None) -> dict[str, Any]:
    """Leave-one-out: of the documents most like each one, how many share its value of a column."""
    if column not in searcher.manifest.columns:
        known = ", ".join(searcher.manifest.columns)
        raise QueryError(
            f"documents have no column {column!r}",
            todo=f"known are {known}; what is to be there has to be in document.keep when it is built",
        )
    if field is not None and field not in searcher.fields:
        raise QueryError(
            f"there is no vector field {field!r}", todo=f"known are {', '.join(searcher.fields) or 'none'}"
        )
    labels = searcher.store.column(column).to_pylist()
    ids = searcher.store.column("id").to_pylist()
    label_of = {
        identity: tuple(label) if isinstance(label, list) else label
        for identity, label in zip(ids, labels, strict=True)
        if label is not None  # documents without one have nothing in common
    }
    shares = []
    with progress().task(f"like {column}", len(label_of), "documents") as task:
        for identity, label in label_of.items():
            asked = Query(like=identity, mode="semantic", field=field, k=_LIKE)
            with contextlib.suppress(QueryError):  # a document without a vector is like nothing
                found = [label_of.get(hit.id) for hit in searcher.search(asked).hits]
                shares.append(found.count(label) / _LIKE)
            task.advance(1)
    precision = sum(shares) / len(shares) if shares else 0.0
    return {
        "documents": len(shares),
        "label": column,
        "labels": len(set(label_of.values())),
        "field": field or ", ".join(searcher.fields),
        f"precision_at_{_LIKE}": round(precision, 5),
    }
