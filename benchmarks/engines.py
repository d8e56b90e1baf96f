"""Embedding real titles on Spark and on Beam, beside the local engine: what the engines themselves cost.

    python benchmarks/engines.py [--json] [--quick]

All embed the same texts with MiniLM on two cores: a `local-cluster` of two executors with a core each on
Spark, two worker processes on Beam. A rate is taken from the moment at which as many tasks are done as there
are workers, to the end of the run: so starting processes and loading models is left out, for all alike, and
all else an engine does is in. A ratio is an engine's rate by the local engine's in the same round. Then
10,000 rows of about a megabyte, a millisecond of work each, go through Spark and Beam, and it is counted how
many tasks they made and how long each worker process was busy.
Needs FINDLING_DATA, or ../shared/data.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from _bench import arguments, installed, machine
from _busy import Busy

CORES = 2
OPTIONS: dict[str, dict[str, Any]] = {
    "local": {"workers": CORES},
    "spark": {"master": f"local-cluster[{CORES},1,1024]", "spark.executor.memory": "1g"},
    "beam": {"direct_running_mode": "multi_processing", "direct_num_workers": CORES},
}


def data() -> Path:
    """The collection of titles."""
    named = os.environ.get("FINDLING_DATA")
    home = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    file = home / "titles" / "titles.tsv.gz"
    if not file.is_file():
        sys.exit(f"{file} is not there; set FINDLING_DATA")
    return file


def titles(count: int) -> list[str]:
    """The first so many distinct titles."""
    with gzip.open(data(), "rt", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        found = dict.fromkeys(row["title"].replace("_", " ") for row in rows)
    return list(found)[:count]


def texts(home: Path, values: list[str]) -> Any:
    """Texts with their hashes as the embed stage is given them, in one shard."""
    from findling.engines.base import Shards
    from findling.steps import content_hash

    home.mkdir(parents=True)
    columns = {"hash": pa.array(map(content_hash, values), pa.binary()), "text": pa.array(values)}
    pq.write_table(pa.table(columns), home / "part.parquet", row_group_size=4096)
    return Shards(str(home))


def engine(name: str, home: Path) -> Any:
    """An engine on two cores."""
    from findling import registry
    from findling.progress import Silent

    return registry.load("engine", name).from_options(OPTIONS[name], str(home / "work" / name), Silent())


def rates(engines: dict[str, Any], many: int, few: int, rounds: int, home: Path) -> dict[str, list[float]]:
    """Texts a second of each engine, round by round, once all its workers have something done."""
    from findling import config
    from findling.steps import EmbedStep

    step = EmbedStep("minilm", {}, config.models_cache())
    values = titles(many + few)
    all_texts, some = texts(home / "many", values[:many]), texts(home / "few", values[many:])
    for name in ("local", "spark"):  # these keep their processes
        engines[name].run(some, [step], str(home / "out" / name / "few"))
    found: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):
        for name in list(OPTIONS)[:: 1 if turn % 2 == 0 else -1]:
            begun = time.time()
            shards = engines[name].run(all_texts, [step], str(home / "out" / name / str(turn)))
            ended = time.time()
            if shards.count() != many:
                sys.exit(f"{name} embedded {shards.count()} of {many} texts")
            done = sorted(
                (os.stat(file).st_mtime, pq.read_metadata(file).num_rows) for file in shards.files()
            )
            stood = done[CORES - 1][0]
            rate = sum(rows for _, rows in done[CORES:]) / (ended - stood)
            found[name].append(rate)
            told = f"{rate:,.1f} in {len(done)} tasks; {ended - begun:.1f} s with start-up"
            print(f"round {turn + 1}/{rounds}: {name}: {told}", file=sys.stderr, flush=True)
    return found


def spread(engines: dict[str, Any], rows: int, home: Path) -> dict[str, Any]:
    """How rows that are a megabyte and seconds of work are spread over the cores."""
    addresses = [f"https://covers.example.org/b/id/{n:08d}-M.jpg?default=false&{n:030d}" for n in range(rows)]
    source = texts(home / "addresses", addresses)
    told: dict[str, Any] = {"rows": rows, "bytes": sum(map(len, addresses))}
    for name in ("spark", "beam"):
        notes = home / "notes" / name
        notes.mkdir(parents=True)
        out = engines[name].run(source, [Busy(str(notes))], str(home / "spread" / name))
        busy = [sum(map(float, file.read_text().split())) for file in notes.iterdir()]
        told[name] = {"tasks": len(out.names()), "busy_seconds": sorted(round(each, 2) for each in busy)}
    return told


def main() -> None:
    options = arguments(__doc__ or "", sys.argv[1:])
    many, few, rounds = (5000, 3000, 1) if options.quick else (24_000, 3000, 3)
    if shutil.which("java") is None:
        sys.exit("Spark needs Java, and there is none")
    # Worker processes import the step that this file defines.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory(prefix="findling-engines-") as name:
        engines = {each: engine(each, Path(name)) for each in OPTIONS}
        found = rates(engines, many, few, rounds, Path(name))
        spreading = spread(engines, 10_000, Path(name))
        for each in engines.values():
            each.close()
    ratios = {
        other: round(statistics.median(a / b for a, b in zip(found[other], found["local"], strict=True)), 3)
        for other in ("spark", "beam")
    }
    medians = {each: round(statistics.median(values), 1) for each, values in found.items()}
    versions = installed("pyspark", "apache-beam", "ctranslate2", "pyarrow")
    setting = {**machine(), "texts": many, "rounds": rounds, "engines": OPTIONS, "versions": versions}
    result = {
        "benchmark": "engines",
        "unit": "titles a second, start-up taken out; a ratio is an engine's rate by the local engine's",
        "ours": medians["local"],
        "peers": {name: medians[name] for name in ratios},
        "ratios": ratios,
        "ten_thousand_rows": spreading,
        "setting": setting,
    }
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"local: {medians['local']:,} titles a second")
        for name, ratio in ratios.items():
            print(f"  {name}: {medians[name]:,}, {ratio:.2f} of that; {spreading[name]}")


if __name__ == "__main__":
    main()
