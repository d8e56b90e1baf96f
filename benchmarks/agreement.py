"""Do all engines leave the same? Books and titles built on one machine, on Spark and on Beam, and compared.

Books join editions with works and authors; titles are grouped by how they are written, their views summed.
Each engine builds in a home of its own, on two cores: Spark in a `local-cluster` of two executors, Beam in
two worker processes. Documents are the same where the digests of their sorted rows are, vectors where no
number differs by more than 1e-5. The one number is how many documents were the same everywhere; a difference
ends the benchmark with status 1. `setting` tells seconds by stage. With --quick, 2,000 titles alone.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from _bench import arguments, report
from _services import findling
from _titles import DATA
from engines import OPTIONS
from findling import config
from findling.catalog import Catalog

NEAR = 1e-5
BOOKS = f"""
collection = "books"
home = "HOME"
[source]
kind = "openlibrary"
editions = "{DATA}/openlibrary/gutenberg_editions.txt.gz"
works = "{DATA}/openlibrary/gutenberg_works.txt.gz"
authors = "{DATA}/openlibrary/gutenberg_authors.txt.gz"
[document]
title = "title"
keep = ["title", "authors", "subjects", "year"]
[vectors.text]
encoder = "minilm"
input = ["title", "authors", "subjects"]
[index]
kind = "flat"
"""
TITLES = f"""
collection = "titles"
home = "HOME"
[source]
kind = "wikipedia"
path = "{DATA}/titles/titles.tsv.gz"
min_words = 2
[document]
title = "title"
keep = ["title", "views"]
[vectors.text]
encoder = "minilm"
input = ["title"]
[index]
kind = "flat"
"""


@dataclass(frozen=True)
class Left:
    """What a build left: a digest of its documents, how many, and vectors (n, dim) in the order of hashes."""

    digest: str
    documents: int
    hashes: list[bytes]
    vectors: NDArray[np.float32]
    seconds: dict[str, float]


def build(home: Path, text: str, engine: str, quick: bool) -> Left:
    """Build with an engine, and read what came of it."""
    home.mkdir()
    (home / "findling.toml").write_text(text.replace("HOME", "data"), encoding="utf-8")
    words = ["build", "-c", str(home), "--json", "--engine", engine, *(["--limit", "2000"] if quick else [])]
    for key, value in OPTIONS[engine].items():
        words += ["--option", f"{key}={value}"]
    told = json.loads(subprocess.run(findling(*words), check=True, stdout=subprocess.PIPE).stdout)
    catalog = Catalog.of(config.load(home / "findling.toml"))
    with pa.memory_map(str(catalog.local() / "documents.arrow")) as mapped:
        rows = sorted(map(repr, pa.ipc.open_file(mapped).read_all().to_pylist()))
    digest = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    parts = sorted(Path(catalog.root, "embeddings").rglob("*.parquet"))
    table = pa.concat_tables([pq.read_table(part) for part in parts if "_drops" not in part.parts])
    table = table.take(pa.compute.sort_indices(table["hash"]))
    vectors = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    flat = vectors.astype(np.float32).reshape(len(table), -1)
    return Left(digest, len(rows), table["hash"].to_pylist(), flat, told["seconds"])


def compared(one: Left, other: Left) -> dict[str, Any]:
    """In what an engine's build differs from the local one's."""
    alike = one.hashes == other.hashes
    furthest = float(np.abs(one.vectors - other.vectors).max()) if alike else None
    return {"documents alike": one.digest == other.digest, "texts alike": alike, "furthest number": furthest}


def main() -> None:
    """Build all, and compare with the first."""
    options = arguments(__doc__ or "")
    setting: dict[str, Any] = {}
    same, good = 0, True
    with tempfile.TemporaryDirectory(prefix="findling-agreement-") as place:
        for name, text in {"titles": TITLES, **({} if options.quick else {"books": BOOKS})}.items():
            left = {e: build(Path(place, f"{name}-{e}"), text, e, options.quick) for e in OPTIONS}
            local = left["local"]
            told = {engine: compared(local, other) for engine, other in left.items() if engine != "local"}
            setting[name] = {
                "documents": local.documents,
                "vectors": len(local.hashes),
                "digest": local.digest,
            }
            setting[name] |= {
                "to local": told,
                "seconds": {engine: each.seconds for engine, each in left.items()},
            }
            fits = all(
                t["documents alike"] and t["texts alike"] and t["furthest number"] <= NEAR
                for t in told.values()
            )
            same += local.documents * fits
            good = good and fits
    report("agreement", "documents alike", [same], {}, setting, as_json=options.json)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
