"""Verbs that judge: eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from findling import storage
from findling.catalog import Catalog
from findling.cli.online import mode_of
from findling.cli.output import Config, Json, print_json, progress, settings_of
from findling.config import FILE, models_cache
from findling.evaluate import evaluate
from findling.evaluate.judged import read_qrels, read_queries
from findling.evaluate.report import page
from findling.records import Query
from findling.searcher import Searcher

_HERE = Path(FILE)
_DEPTH = 1000  # hits looked at for each query, as trec_eval does


def register(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("eval")(judge)


def judge(
    queries: Annotated[Path, typer.Option(help="Queries: BEIR's jsonl, tab-separated, or TREC topics.")],
    qrels: Annotated[Path, typer.Option(help="Judgements: BEIR's or TREC's.")],
    mode: Annotated[str, typer.Option(help="hybrid, semantic or lexical.")] = "hybrid",
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
    config: Config = _HERE,
    as_json: Json = False,
) -> None:
    """Measure the search against human judgements: nDCG@10, MAP, MRR, recall@100, latency."""
    settings = settings_of(config)
    asked = mode_of(mode)
    texts, judgements = read_queries(queries), read_qrels(qrels)
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank, models_cache())
    searcher.warm()

    def search(text: str) -> list[str]:
        return [hit.id for hit in searcher.search(Query(q=text, mode=asked, k=_DEPTH)).hits]

    with progress().task(f"eval {mode}", len(texts), "queries") as task:
        measured = evaluate(search, texts, judgements, mode=mode, told=lambda: task.advance(1))
    if report is not None:
        storage.write_bytes(str(report), page(measured).encode())
    if as_json:
        print_json(measured.as_json())
        return
    shown = measured.as_json()
    latency = shown.pop("latency_ms")
    print("\n".join(f"{name:>14}: {value}" for name, value in shown.items()))
    print(f"{'latency':>14}: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in latency.items()))
