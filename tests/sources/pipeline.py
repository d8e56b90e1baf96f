"""A source taken through the local engine the way a build does it, without what comes after."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from findling import registry, schema
from findling.filters import Where
from findling.schema import READ, Drop
from findling.sources.base import DOCUMENTS, Split
from findling.steps import FilterStep, ParseStep, chain


class Built(NamedTuple):
    """Documents by id, how many rows were dropped by reason, rows read, and what is kept of failures."""

    documents: dict[str, dict[str, Any]]
    dropped: Counter[str]
    read: int
    failures: list[tuple[str, str]]
    rows: int

    def adds_up(self) -> bool:
        return self.read == self.rows + sum(self.dropped.values())


class Only:
    """A source with the splits of one table."""

    def __init__(self, source: Any, table: str) -> None:
        self.source = source
        self.table = table

    def splits(self) -> list[Split]:
        return [split for split in self.source.splits() if split.table == self.table]

    def read(self, split: Split) -> Any:
        return self.source.read(split)


def load(kind: str, options: dict[str, Any], base: Path | str) -> Any:
    return registry.load("source", kind).from_options(options, str(base))


def build(source: Any, work: Path, where: str = "", workers: int = 1) -> Built:
    engine = registry.load("engine", "local")(work, workers=workers)
    whole = Where.parse(where)
    whole.check(source.columns)
    early = whole.over(source.early())
    tables = list(dict.fromkeys(split.table for split in source.splits()))
    parsed = {}
    told: list[Drop] = []
    for table in tables:
        first = table == tables[0]
        parts = early if first else Where()
        steps = [ParseStep(source, table, parts, count=first), FilterStep(parts)]
        parsed[table] = engine.run(Only(source, table), steps, str(work / f"table-{table}"))
        drops = list(parsed[table].drops())
        told += drops if first else [drop for drop in drops if drop.reason == READ]
    steps = [ParseStep(source, DOCUMENTS), FilterStep(whole.without(early))]
    made = engine.run(source.assemble(engine, parsed), steps, str(work / "documents"))
    told += made.drops()
    rows = [row for split in made.splits() for batch in made.read(split) for row in batch.to_pylist()]
    counts: Counter[str] = Counter()
    for drop in told:
        counts[drop.reason] += drop.count
    read = counts.pop(READ, 0)
    failures = [(drop.reason, drop.detail) for drop in told if drop.detail is not None]
    return Built({row["id"]: row for row in rows}, counts, read, failures, len(rows))


def parse(source: Any, table: str, where: str = "") -> tuple[list[dict[str, Any]], list[Drop]]:
    """The parsed rows of one table, filtered, in this process; and everything that was told."""
    parts = Where.parse(where).over(source.early())
    run = chain([ParseStep(source, table, parts, count=True), FilterStep(parts)])
    rows: list[dict[str, Any]] = []
    drops: list[Drop] = []
    for split in Only(source, table).splits():
        for batch in source.read(split):
            kept, told = schema.without_drops(run(batch))
            rows += kept.to_pylist()
            drops += told
    return rows, drops


def line(key: str, record: Any, kind: str = "edition") -> str:
    """One line of an Open Library dump."""
    told = record if isinstance(record, str) else json.dumps(record)
    home = {"edition": "books", "work": "works", "author": "authors"}.get(kind, kind)
    return f"/type/{kind}\t/{home}/{key}\t1\t2020-01-01T00:00:00.000000\t{told}\n"


def write(path: Path, content: str | bytes) -> Path:
    """A file, gzipped where its name says so."""
    octets = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(octets) if path.suffix == ".gz" else octets)
    return path
