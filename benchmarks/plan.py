"""How far a plan is off: the time it predicts for ten times its sample, beside the time that a build takes.

The titles and MiniLM, or whatever findling.toml is named. `ours` is seconds predicted, the peer is seconds
measured; the ratio is predicted over measured, and within 0.7 to 1.3 is the aim.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from _bench import arguments, machine
from findling import build, config, plan, trial

DATA = Path(os.environ.get("FINDLING_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
CONFIG = """
collection = "titles"
[source]
kind = "table"
path = "titles.tsv"
[document]
title = "title"
[vectors.text]
encoder = "minilm"
input = ["title"]
[lexical]
input = ["title"]
"""


def write_input(home: Path, rows: int) -> Path:
    """The first titles as a table of their own."""
    with gzip.open(DATA / "titles" / "titles.tsv.gz", "rt", encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(rows + 1), strict=False)]
    (home / "titles.tsv").write_text("".join(lines), encoding="utf-8")
    (home / "findling.toml").write_text(CONFIG, encoding="utf-8")
    return home / "findling.toml"


def main() -> None:
    """Plan, build, and compare."""
    options = arguments(__doc__ or "")
    sample = 1500 if options.quick else 4000
    with tempfile.TemporaryDirectory(prefix="findling-bench-") as name:
        settings = config.load(write_input(Path(name), 10 * sample))
        settings = msgspec.structs.replace(settings, home=str(Path(name) / "data"))
        found = plan.plan(trial.run(settings, sample), "local")
        predicted = found.hours * 3600
        started = time.perf_counter()
        report = build.build(settings, only=trial.STAGES)
        taken = time.perf_counter() - started
    result = {
        "benchmark": "plan",
        "unit": "s",
        "ours": round(sum(found.seconds.values()), 2),
        "peers": {"the build itself": round(taken, 2)},
        "ratios": {"predicted / measured": round(sum(found.seconds.values()) / taken, 3)},
        "setting": {
            **machine(),
            "sample": sample,
            "records": report.records["read"],
            "predicted": found.seconds,
            "measured": {stage: report.seconds[stage] for stage in trial.STAGES},
            "hours": predicted / 3600,
        },
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
