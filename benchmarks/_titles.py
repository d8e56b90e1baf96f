"""Real titles and their MiniLM vectors, embedded once and kept in the user's cache."""

from __future__ import annotations

import gzip
import os
import random
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from findling import config
from findling.encoders.base import open_encoder

DATA = Path(os.environ.get("FINDLING_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def read_titles(count: int | None = None) -> list[str]:
    """Distinct titles in an order drawn with a fixed seed: the first `count`, or all."""
    path = DATA / "titles" / "titles.tsv.gz"
    if not path.is_file():
        sys.exit(f"no titles at {path}: set FINDLING_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        column = next(lines).rstrip("\n").split("\t").index("title")
        titles = list(dict.fromkeys(line.rstrip("\n").split("\t")[column] for line in lines))
    random.Random(7).shuffle(titles)
    return titles[:count]


def title_vectors(titles: list[str]) -> NDArray[np.float32]:
    """(n, 384) unit vectors of titles; those of all titles are kept, and serve for a part of them."""
    encoder = open_encoder("minilm", {"threads": len(os.sched_getaffinity(0))}, config.models_cache())
    kept = config.user_cache() / "benchmarks" / f"titles-{encoder.spec.id}.npy"
    everything = read_titles()
    if kept.exists():
        found: NDArray[np.float16] = np.load(kept, mmap_mode="r")
        place = {title: row for row, title in enumerate(everything)}
        return np.asarray(found[[place[title] for title in titles]], np.float32)
    print(f"embedding {len(titles):,} titles", file=sys.stderr, flush=True)
    vectors = encoder.embed_texts(titles).astype(np.float16)
    if titles == everything:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(aside, vectors)
        aside.replace(kept)
    return vectors.astype(np.float32)
