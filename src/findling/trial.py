"""A build of a small part of the real input, timed: what a plan is made from.

Two parts of different size are built, in homes of their own that are thrown away. What takes longer in the
larger one grows with the input; the rest (starting processes, loading a model, reading a lookup table whole)
is paid once. Indexes are tried apart (`index_trial`).
"""

from __future__ import annotations

import dataclasses
import gzip
import math
import os
import resource
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from findling import build, fitting, index_trial, registry, storage
from findling.catalog import Catalog
from findling.config import Settings
from findling.embeddings import Embeddings
from findling.encoders.base import Encoder
from findling.engines.base import Shards
from findling.errors import ConfigError, SourceError
from findling.index_trial import IndexCost
from findling.indexes.base import Index
from findling.progress import Progress, Silent
from findling.snapshot import SnapshotPaths
from findling.sources.base import Split

STAGES = ("extract", "embed", "index")
_SHARE = 4  # the smaller part is this many times smaller
SAMPLE, PICTURES = 5000, 500  # records, where the number is not given; a picture takes as long as many texts
_LOOK = 16 << 20  # bytes of a file in which lines are counted


@dataclass(frozen=True)
class Cost:
    """Seconds of one step on one core of this machine: `once`, and `each` for every record, `most` in all."""

    once: float
    each: float
    most: float = math.inf

    def of(self, records: int) -> float:
        """Seconds for so many records."""
        return min(self.once + self.each * records, self.most)


@dataclass(frozen=True)
class Trial:
    """What was measured: `records` are there by estimate, `sampled` were read, `kept` became documents.

    `costs` holds each stage's: `index` without the fields' indexes, which are in `indexes`, and without
    fitting instant queries, which is `instant` where there are any. This machine has `cores`. `raw` is bytes
    of input for a record; `documents`, `vectors` and `index` are bytes left for a document kept; `memory` is
    the peak of one process. The input lies in `files`, which are `cuttable` where several workers can read
    parts of one. `untried` are services that the build writes to and the trial did not.
    """

    records: int
    sampled: int
    kept: int
    cores: int
    costs: dict[str, Cost]
    raw: float
    documents: float
    vectors: float
    index: float
    memory: int
    files: int
    cuttable: bool
    indexes: dict[str, IndexCost]
    untried: tuple[str, ...] = ()


def run(
    settings: Settings,
    sample: int | None = None,
    records: int | None = None,
    progress: Progress | None = None,
) -> Trial:
    """Build `sample` records of the configured source, and a quarter of them, and see what they cost.

    By default those are SAMPLE, or PICTURES where pictures are embedded. `records` is how many there are in
    all; by default that is estimated from the files.
    """
    progress = progress or Silent()
    if sample is None:
        sample = PICTURES if any(field.image for field in settings.vectors.values()) else SAMPLE
    settings, untried = _alone(settings)
    splits = build.open_source(settings).splits()
    first = [split for split in splits if split.table == splits[0].table]
    records = records or estimate(first)
    few = min(max(sample // _SHARE, 1), records)
    progress.say(f"about {records:,} records; building {few:,} and {min(sample, records):,} of them")
    encoders = build.open_encoders(settings)
    _warm(encoders)
    small = _timed(settings, few)
    large = _timed(settings, sample)
    read, kept = large.records["read"], large.records["kept"]
    more = read - small.records["read"]
    costs = {stage: _line(small.seconds[stage], large.seconds[stage], read, more or read) for stage in STAGES}
    if fits := large.fits:  # instant queries embed so many runs of words and no more
        most = large.seconds["instant"] * max(
            1.0, (fitting.WINDOWS + fitting.WORDS) * len(fits) / max(sum(fits), 1)
        )
        line = _line(small.seconds["instant"], large.seconds["instant"], read, more or read)
        costs["instant"] = dataclasses.replace(line, most=most)
    total = read if read < sample else records
    indexes = index_trial.run(settings, encoders, large.vectors, kept, round(kept * total / read))
    paths = {split.path for split in first if split.path and not split.version}
    return Trial(
        records=total,
        sampled=read,
        kept=kept,
        cores=len(os.sched_getaffinity(0)),
        costs=costs,
        raw=sum(map(storage.size, paths)) / records,
        documents=large.sizes["documents"] / kept,
        vectors=large.sizes["embeddings"] / kept,
        index=sum(each.bytes * each.share for each in indexes.values()),
        memory=_peak(),
        files=len(paths),
        cuttable=all(split.length >= 0 for split in first),
        indexes=indexes,
        untried=untried,
    )


def _alone(settings: Settings) -> tuple[Settings, tuple[str, ...]]:
    """Settings for a build that writes nowhere but below its home, and the services that are left out."""
    registry.find("store", settings.store_kind)
    untried = []
    if settings.index.kind == "milvus":  # a graph is what Milvus makes too
        index = msgspec.structs.replace(settings.index, kind="graph", params={})
        settings, untried = msgspec.structs.replace(settings, index=index), ["milvus"]
    if settings.store_kind == "datastore":
        settings = msgspec.structs.replace(settings, store={})
        untried.append("datastore")
    return settings, tuple(untried)


def estimate(splits: list[Split]) -> int:
    """About how many records there are: exact for Parquet and pictures, else by the lines in the beginning.

    Raises ConfigError where a source does not tell.
    """
    total = 0.0
    for path in dict.fromkeys(split.path for split in splits):
        mine = [split for split in splits if split.path == path]
        if path.endswith(".parquet"):
            with storage.open_read(path) as file:
                total += pq.ParquetFile(file).metadata.num_rows
        elif path and not mine[0].version and not path.endswith((".zip", ".tar", ".tar.gz", ".tgz")):
            total += _lines(path)
        elif all(split.length >= 0 for split in mine):
            total += sum(split.length for split in mine)
        else:
            raise ConfigError("how many records there are cannot be told", todo="name it: --records 1000000")
    return max(round(total), 1)


def _lines(path: str) -> float:
    """The lines of a file, from how many there are in its beginning."""
    size = storage.size(path)
    with storage.open_read(path) as file:
        if not path.endswith(".gz"):
            content = file.read(_LOOK)
            return content.count(b"\n") * size / max(len(content), 1)
        unpacked = gzip.GzipFile(fileobj=file)
        content = unpacked.read(_LOOK)
        whole = len(content) < _LOOK
        return content.count(b"\n") * (1 if whole else size / max(file.tell(), 1))


@dataclass(frozen=True)
class _Built:
    """One trial build: seconds by stage, records by what became of them, bytes of what it left, vectors.

    `fits` is how many texts the instant queries of each field that has them were fitted to.
    """

    seconds: dict[str, float]
    records: dict[str, int]
    sizes: dict[str, int]
    vectors: dict[str, NDArray[np.float16]]
    fits: list[int]


def _timed(settings: Settings, limit: int) -> _Built:
    """Build the first `limit` records in a home that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="findling-plan-") as home:
        index = msgspec.structs.replace(settings.index, kind="flat", params={})
        # What starting processes takes would hide what a row does.
        engines = {**settings.engine, "local": {"workers": 1}}
        trial = msgspec.structs.replace(settings, home=home, index=index, engine=engines)
        try:
            report = build.build(trial, only=STAGES, limit=limit)
        except SourceError as error:
            raise SourceError(
                f"the first {limit:,} records cannot be built: {error.what}",
                todo="measure more: --sample 100000",
            ) from None
        root = Path(Catalog.of(trial).root)
        live = root / "snapshots" / str(report.snapshot)
        sizes = {
            "documents": _size(live / "documents.arrow") + _size(live / "lexical"),
            "embeddings": _size(root / "embeddings"),
        }
        vectors = {name: _vectors(live, name) for name in report.index}
        fits = [
            Shards(Embeddings.of(str(root), name, f"{encoder.spec.id}-queries").path).count()
            for name, encoder in build.open_encoders(settings).items()
            if settings.vectors[name].query == "instant"
        ]
    seconds = {stage: report.seconds[stage] for stage in STAGES}
    seconds["instant"] = sum(report.seconds.get(f"instant {name}", 0.0) for name in vectors)
    seconds["index"] -= seconds["instant"] + sum(built["seconds"] for built in report.index.values())
    return _Built(seconds, report.records, sizes, vectors, fits)


def _vectors(live: Path, name: str) -> NDArray[np.float16]:
    """A field's vectors out of a snapshot, (n, dim)."""
    flat: Index = registry.load("index", "flat").open(SnapshotPaths(live).field(name))
    return np.array(flat.vectors[np.arange(len(flat.vectors))])


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _line(small: float, large: float, many: int, more: int) -> Cost:
    """A stage's cost from two measurements; noise may not make the larger one seem free."""
    each = max((large - small) / more, large / many / 4)
    return Cost(max(large - each * many, 0.0), each)


def _warm(encoders: Mapping[str, Encoder]) -> None:
    """Convert and load every text encoder once, so that the trial does not pay for it."""
    for encoder in encoders.values():
        if "text" in encoder.spec.modalities:
            encoder.embed_texts(["findling"])


def _peak() -> int:
    """Bytes of memory that the largest process of the trial held."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(kind).ru_maxrss for kind in kinds)
