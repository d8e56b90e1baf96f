"""The batch story: a source's records become documents, their texts vectors, and both a snapshot.

    extract   source -> parse -> filter -> documents, with every dropped record counted under its reason
    embed     documents -> texts -> vectors, but only those that the cache does not hold
    index     documents and vectors -> a snapshot, measured and sealed
    publish   CURRENT moves to it

Each stage leaves what it made under a name that tells what it was made from. So a killed build goes on
where it was, and a build over unchanged input repeats nothing.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow as pa

from findling import config, indexing, lexical, registry, schema, snapshot, storage, tuning
from findling.catalog import Catalog
from findling.config import Settings
from findling.embeddings import Embeddings
from findling.encoders.base import Encoder, open_encoder
from findling.engines.base import Engine, Shards
from findling.engines.local import Local
from findling.errors import ConfigError, NotFound
from findling.fetch import FetchOptions
from findling.filters import EVERYTHING, Where
from findling.indexing import Indexing
from findling.progress import Progress, Silent
from findling.schema import READ, Drop
from findling.sources.base import DOCUMENTS, Source, Split
from findling.steps import (
    EmbedPicturesStep,
    EmbedStep,
    FilterStep,
    ParseStep,
    PictureStep,
    SelectStep,
    Step,
    TextStep,
)
from findling.workplace import Workplace, needed_columns, workplace

STAGES = ("extract", "embed", "index", "publish")
DUPLICATE = "duplicate id"


@dataclass
class Report:
    """What a build did; of `records`, what was read equals what was kept and all that was dropped."""

    collection: str
    snapshot: str | None = None
    records: dict[str, Any] = field(default_factory=dict)
    embedded: dict[str, dict[str, int]] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)  # an encoder's share of time, for pictures
    failures: dict[str, dict[str, int]] = field(default_factory=dict)  # pictures not had, by field and reason
    index: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    published: bool = False

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage takes."""
        started = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - started, 3)


@dataclass(frozen=True)
class _Build:
    """What the stages share."""

    settings: Settings
    catalog: Catalog
    source: Source
    where: Where
    encoders: dict[str, Encoder]
    work: Workplace
    engine: Engine
    local: Local
    limit: int | None
    retry_failed: bool
    incremental: bool
    progress: Progress


def build(
    settings: Settings,
    engine: str = "local",
    only: Sequence[str] = STAGES,
    limit: int | None = None,
    *,
    retry_failed: bool = False,
    incremental: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Build a collection; whatever fails, what was published before is still published.

    `only` names the stages to run, `limit` reads so many records, `retry_failed` embeds again what failed,
    `incremental` writes only what differs from the published snapshot, where that is little. `options` are
    the engine's, and come before those of the configuration.
    """
    progress = progress or Silent()
    catalog = Catalog.of(settings)
    _check_names(settings, engine)
    if settings.index.queries:
        tuning.read_queries(settings.path(settings.index.queries))
    source = open_source(settings)
    where = _checked(settings, source)
    encoders = open_encoders(settings)
    FetchOptions.read(settings.fetch)  # what is wrong with it is told now, and not after hours of reading
    report = Report(settings.collection)
    with contextlib.ExitStack() as held:
        work = held.enter_context(workplace(settings, catalog, source.splits(), limit, engine))
        local = Local.from_options(
            _engine_options(settings, "local", engine, options),
            str(work.path),
            progress,
            settings.index.memory_bytes // 2,
        )
        held.callback(local.close)
        runner: Engine = local
        if engine != "local":
            chosen = _engine_options(settings, engine, engine, options)
            runner = registry.load("engine", engine).from_options(chosen, work.shared, progress)
            held.callback(runner.close)
        shared = _Build(
            settings,
            catalog,
            source,
            where,
            encoders,
            work,
            runner,
            local,
            limit,
            retry_failed,
            incremental,
            progress,
        )
        if "extract" in only:
            if "embed" in only and work.records() is None:
                _try_out(encoders)
            with report.timed("extract"):
                extract(shared)
        report.records = _records(shared)
        if "embed" in only:
            with report.timed("embed"):
                report.embedded = {name: embed(shared, name, report) for name in encoders}
        if "index" in only:
            with report.timed("index"):
                stage = Indexing(settings, catalog, encoders, work, local, incremental, progress)
                manifest = stage.write(report.records, report.seconds)
                report.snapshot = manifest.id
                report.index = indexing.told(manifest, report.seconds)
        if "publish" in only:
            with report.timed("publish"):
                report.snapshot = publish(shared, report.snapshot or _newest(catalog))
                report.published = True
            work.tidy()
    return report


def documents(settings: Settings, progress: Progress | None = None) -> Shards:
    """The documents of the source as it stands, extracted unless they are there already."""
    build(settings, only=("extract",), progress=progress)
    splits = open_source(settings).splits()
    with workplace(settings, Catalog.of(settings), splits, limit=None) as work:
        return work.documents


def open_source(settings: Settings) -> Source:
    """The configured source; it reads nothing yet but what tells its columns."""
    kind = registry.load("source", settings.source_kind)
    return cast(Source, kind.from_options(settings.source_options, settings.base))


def open_encoders(settings: Settings) -> dict[str, Encoder]:
    """The encoder of each vector field; none has loaded its weights yet.

    Raises ConfigError where one reads no pictures, or no texts, and its field has some.
    """
    cache = config.models_cache()
    encoders = {
        name: open_encoder(field.encoder, dict(field.options), cache)
        for name, field in settings.vectors.items()
    }
    for name, encoder in encoders.items():
        wanted = "text" if settings.vectors[name].image is None else "image"
        if wanted not in encoder.spec.modalities:
            raise ConfigError(
                f"vectors.{name} has {wanted}s, and the encoder {encoder.spec.name} reads none",
                todo=f'take one that does, such as "{"minilm" if wanted == "text" else "clip-vit-b-32"}"',
            )
    return encoders


def _try_out(encoders: Mapping[str, Encoder]) -> None:
    """Missing or wrong weights are told now, and not after hours of reading."""
    for encoder in encoders.values():
        if "text" in encoder.spec.modalities:
            encoder.embed_texts(["findling"], role="query")


def extract(build: _Build) -> None:
    """Records to documents, in the work directory, unless they are there."""
    if build.work.records() is not None:
        build.progress.say("the source has not changed: its documents are used again")
        return
    engine, source = build.engine, build.source
    build.work.begin([split.path for split in source.splits() if split.version])
    early = build.where.over(source.early())
    late = build.where.without(early)
    tables: dict[str, Shards] = {}
    for place, table in enumerate(_tables(source)):
        counted = place == 0
        parts = early if counted else EVERYTHING
        steps: list[Step] = [ParseStep(source, table, parts, counted, _read(build))]
        if counted and early.parts:
            steps.append(FilterStep(early))
        rows = _TableOf(source, table, build.limit if counted else None)
        tables[table] = engine.run(rows, steps, build.work.passing(f"table-{table}"), f"read {table}")
    whole = source.assemble(engine, tables)
    finish: list[Step] = [
        ParseStep(source, DOCUMENTS, late, columns=_read(build)),
        FilterStep(late),
        SelectStep(_columns(build)),
    ]
    kept = engine.run(whole, finish, build.work.passing("kept"), "filter")
    documents = build.local.sort(_near(build, kept, "kept"), "id", build.work.documents.path)
    counted_table = tables[_tables(source)[0]]
    drops = [*counted_table.drops(), *kept.drops()]
    drops.append(Drop(DUPLICATE, kept.count() - documents.count()))
    lookups = [drop for table in list(tables.values())[1:] for drop in table.drops()]
    _write_failures(build.catalog, [*drops, *lookups])
    build.work.finish(_counted(drops, documents.count()))


def embed(build: _Build, name: str, report: Report) -> dict[str, int]:
    """Vectors of one field that the cache does not hold; says how many were new, and how many failed."""
    cache = Embeddings.of(build.catalog.root, name, build.encoders[name].spec.id)
    read, make, aggregates = _recipe(build, name)
    made_from = [build.work.documents_version(), repr(read)]
    if build.settings.vectors[name].image:
        made_from.append(repr(sorted(build.settings.fetch.items())))  # what failed may be had by other rules
    stage = f"embed-{name}"
    before = None if build.retry_failed else build.work.recall(stage, [*made_from, cache.version()])
    if before is not None and "failed" not in before:  # which earlier versions counted without reasons
        _report_failures(build, report, name, before["failures"], before["embedded"])
        return {"new": 0, "reused": before["embedded"], "failed": sum(before["failures"].values())}
    inputs = build.engine.run(
        build.work.offered(), [read], build.work.made_from(f"inputs-{name}", made_from), f"read {name}"
    )
    distinct = build.engine.group(inputs, ["hash"], aggregates)
    pending = _lacking(build, distinct, cache)
    new, every = pending.count(), distinct.count()
    if new:
        before_it = Shards(cache.path).drops_names()
        build.engine.run(pending, [make], cache.path, f"embed {name}")
        if build.settings.vectors[name].image:
            report.waited[name] = schema.waited_share(Shards(cache.path).drops(but=before_it))
    failures: dict[str, int] = {}
    if build.settings.vectors[name].image:
        failures = _tell_failed(build, name, _lacking(build, distinct, cache), cache)
    failed = sum(failures.values())
    _report_failures(build, report, name, failures, every - failed)
    build.work.remember(
        stage, [*made_from, cache.version()], {"embedded": every - failed, "failures": failures}
    )
    return {"new": new - failed, "reused": every - new, "failed": failed}


def _report_failures(build: _Build, report: Report, name: str, failures: dict[str, int], had: int) -> None:
    if failures:
        report.failures[name] = failures
    if failures and not had:
        told = ", ".join(f"{count:,} {reason}" for reason, count in failures.items())
        build.progress.say(f"none of the pictures of {name!r} could be had: {told}")


def _recipe(build: _Build, name: str) -> tuple[Step, Step, dict[str, tuple[str, str]]]:
    """What is read of a document for a field, what embeds it, and what stays of documents that are alike."""
    options, settings = build.settings.vectors[name], build.settings
    models = config.models_cache()
    if options.image is None:
        step = EmbedStep(options.encoder, options.options, models)
        return TextStep(tuple(options.input)), step, {"text": ("min", "text")}
    roots: list[str] = getattr(build.source, "roots", list)()
    pictures = EmbedPicturesStep(
        options.encoder,
        options.options,
        models,
        FetchOptions.read(settings.fetch),
        config.user_cache() / "pictures",
        settings.base,
        tuple(roots),
        build.retry_failed,
    )
    kept = {"text": ("min", "text"), "id": ("min", "id")}
    return PictureStep(options.image, settings.base), pictures, kept


def _lacking(build: _Build, distinct: Shards, cache: Embeddings) -> Shards:
    """What the cache holds no vector for."""
    if not cache.parts():
        return distinct
    return build.engine.join(distinct, _known(build, cache), on=("hash", "hash"), how="anti")


def _tell_failed(build: _Build, name: str, lacking: Shards, cache: Embeddings) -> dict[str, int]:
    """failures/embed-FIELD.jsonl: each picture that could not be had or read; gives how many by reason."""
    known = {
        row["hash"]: (row, d.reason)
        for d in Shards(cache.path).drops()
        if (row := json.loads(d.detail or "{}"))
    }
    lines = []
    reasons: Counter[str] = Counter()
    for batch in lacking.batches():
        for key, identity, reference in zip(
            *(batch.column(n).to_pylist() for n in ("hash", "id", "text")), strict=True
        ):
            reason = known[key.hex()][1] if key.hex() in known else "not tried"
            reasons[reason] += 1
            told = {"step": f"embed {name}", "id": identity, "reason": reason, "record": reference}
            lines.append(msgspec.json.encode(told) + b"\n")
    storage.write_bytes(storage.join(build.catalog.root, "failures", f"embed-{name}.jsonl"), b"".join(lines))
    return dict(reasons.most_common())


def publish(build: _Build, identity: str) -> str:
    """Make a snapshot the current one, unless it is; gives its id."""
    if build.catalog.current() == identity:
        return snapshot.check(build.catalog.local(identity)).id
    return build.catalog.publish(identity).id


@dataclass(frozen=True)
class _TableOf:
    """One of a source's tables; with `limit`, its first records only, in one split."""

    source: Source
    table: str
    limit: int | None = None

    def splits(self) -> list[Split]:
        splits = [split for split in self.source.splits() if split.table == self.table]
        return splits if self.limit is None else [Split(self.table, "", f"first-{self.limit}")]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        if self.limit is None:
            yield from self.source.read(split)
            return
        left = self.limit
        for each in _TableOf(self.source, self.table).splits():
            for batch in self.source.read(each):
                yield batch.slice(0, left)
                left -= batch.num_rows
                if left <= 0:
                    return


def _tables(source: Source) -> list[str]:
    return list(dict.fromkeys(split.table for split in source.splits()))


def _read(build: _Build) -> frozenset[str]:
    """The source's columns that the filter or anything after it reads."""
    asked = {column for part in build.where.parts for column in part.columns}
    needed = set(needed_columns(build.settings))
    return frozenset(name for name in build.source.columns.names if name in needed or name.lower() in asked)


def _columns(build: _Build) -> tuple[str, ...]:
    return tuple(needed_columns(build.settings))


def _checked(settings: Settings, source: Source) -> Where:
    """The filter, once it and every column that the configuration names fit the source."""
    known = source.columns.names
    for name in needed_columns(settings):
        if name not in known:
            raise ConfigError(
                f"the configuration names the column {name!r}, which the source does not have",
                todo=f"columns are {', '.join(known)}",
            )
    for name in settings.document.columns:
        if name.startswith("_"):
            raise ConfigError(
                f"document names the column {name!r}, but its columns may not begin with an underscore",
                todo="rename it in the source, or leave it out",
            )
    where = Where.parse(settings.filter.where)
    where.check(source.columns)
    return where


def _check_names(settings: Settings, engine: str) -> None:
    """What is looked up late is known early, before hours of work."""
    for name in (engine, *settings.engine):
        registry.find("engine", name)
    registry.find("store", settings.store_kind)
    if settings.index.kind != "auto":
        registry.find("index", settings.index.kind)
    if settings.lexical:
        lexical.analyzer(settings.lexical.language)


def _known(build: _Build, cache: Embeddings) -> Shards:
    """The hashes that the cache holds, where a join can read them."""
    held = Shards(cache.path)
    if storage.is_local(cache.path) or build.engine is not build.local:
        return held
    hashes = replace(held, only=("hash",))
    known = build.work.made_from("known", cache.version())
    return build.local.run(hashes, [SelectStep(("hash",))], known, "cache")


def _near(build: _Build, shards: Shards, name: str) -> Shards:
    """Shards on this machine: those that workers left elsewhere are fetched."""
    if storage.is_local(shards.path):
        return shards
    here = build.work.at(f"{name}-fetched")
    for file in shards.files():
        storage.fetch(file, Path(here, file.rpartition("/")[2]))
    return Shards(here)


def _engine_options(
    settings: Settings, name: str, chosen: str, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """An engine's options out of the configuration, and what was said beside it for the chosen one."""
    return {**settings.engine.get(name, {}), **((given or {}) if name == chosen else {})}


def _counted(drops: Iterable[Drop], kept: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for drop in drops:
        counts[drop.reason] += drop.count
    read = counts.pop(READ, 0)
    return {"read": read, "kept": kept, "dropped": {reason: n for reason, n in counts.most_common() if n}}


def _records(build: _Build) -> dict[str, Any]:
    records = build.work.records()
    if records is None:
        raise ConfigError(
            "nothing has been extracted from this input yet", todo="build with --only extract,…"
        )
    return records


def _write_failures(catalog: Catalog, drops: Iterable[Drop]) -> None:
    """failures/extract.jsonl: each record that could not be taken, with the step and the reason."""
    lines = [
        msgspec.json.encode({"step": "extract", "reason": drop.reason, "record": drop.detail})
        for drop in drops
        if drop.detail is not None
    ]
    url = storage.join(catalog.root, "failures", "extract.jsonl")
    storage.write_bytes(url, b"".join(line + b"\n" for line in lines))


def _newest(catalog: Catalog) -> str:
    ids = catalog.ids()
    if not ids:
        raise NotFound(f"collection {catalog.collection!r} has no snapshot", todo="run: findling build")
    return ids[-1]
