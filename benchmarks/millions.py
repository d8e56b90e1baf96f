"""10.5 million titles from a table to a search over HTTP, on one machine: what the English Wikipedia has.

There are fewer real titles at hand, so each line joins two of them, as a disambiguation does. The encoder is
a table of word vectors, made on the spot as model2vec distils one: MiniLM's vector of each token of its
vocabulary, centred, and weighted by the token's rank. A network of six layers would add hours of embedding,
which other benchmarks measure. `findling build` does all the rest as ever, and `findling serve` answers:
`setting` has what each stage took, what is on disk, recall, and latency beside the service's resident
memory, mapped files too. The one number is titles built a second; it has no peer.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file

from _bench import arguments, report
from _memory import proportional
from _services import findling, free_port, started, until_answered
from _titles import read_titles
from endure import workers
from findling import config, load
from findling.catalog import Catalog
from findling.encoders import hub
from findling.encoders.base import open_encoder

CONFIG = """
collection = "titles"
[source]
kind = "table"
path = "titles.tsv"
id = "row"
[document]
title = "title"
[vectors.text]
encoder = "./words"
input = ["title"]
[lexical]
input = ["title"]
[index]
memory = "4GB"
"""


def joined(titles: list[str], seed: int) -> Iterator[str]:
    """Titles without end, each of two real ones."""
    chance = random.Random(seed)
    while True:
        yield f"{chance.choice(titles)} ({chance.choice(titles)})"


def distil(home: Path) -> None:
    """A directory of the model2vec family out of MiniLM."""
    files = hub.find("minilm", None, config.models_cache()).paths
    source = files[hub.CONFIG].parent
    home.mkdir()
    shutil.copy(source / "tokenizer.json", home)
    tokens = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    vocabulary = [tokens.id_to_token(number) or "" for number in range(tokens.get_vocab_size())]
    encoder = open_encoder("minilm", {"threads": len(os.sched_getaffinity(0))}, config.models_cache())
    vectors = encoder.embed_texts([token.removeprefix("##") for token in vocabulary])
    vectors -= vectors.mean(axis=0)
    vectors *= np.log(2 + np.arange(len(vectors), dtype=np.float32))[:, None]  # the rarer, the more it says
    save_file({"embeddings": vectors}, home / "model.safetensors")
    (home / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}))


def on_disk(place: Path) -> float:
    """Gigabytes."""
    return round(sum(file.stat().st_size for file in place.rglob("*") if file.is_file()) / 1e9, 2)


def served(home: Path, queries: Iterator[str], seconds: float) -> dict[str, Any]:
    """Latency by ranking and by how many ask at once, all different; memory at the end."""
    port, told = free_port(), {}
    began = time.perf_counter()
    with started(findling("serve", "-c", str(home), "--port", str(port)), {}) as process:
        until_answered(f"http://127.0.0.1:{port}/readyz", process)
        told["ready after s"] = round(time.perf_counter() - began, 2)
        for mode in ("semantic", "hybrid"):
            target = load.Target.of(
                f"http://127.0.0.1:{port}/collections/titles/search?k=10&mode={mode}&q={{}}"
            )
            load.run_alone(target, queries, 4, seconds)  # the files are read from the disk at first
            for clients in (1, 4):
                told[f"{mode}, {clients} at a time"] = load.run_alone(
                    target, queries, clients, seconds
                ).told()
        told["resident GB"] = round(proportional({process.pid} | workers(process.pid)) / 1e9, 2)
    return told


def main() -> None:
    """Draw, build, and ask."""
    options = arguments(__doc__ or "")
    count, seconds = (30_000, 2.0) if options.quick else (10_500_000, 20.0)
    titles = read_titles()
    with tempfile.TemporaryDirectory(prefix="findling-millions-") as place:
        home = Path(place)
        with (home / "titles.tsv").open("w", encoding="utf-8") as file:
            file.write("row\ttitle\n")
            file.writelines(
                f"{row}\t{title}\n" for row, title in zip(range(count), joined(titles, 1), strict=False)
            )
        distil(home / "words")
        (home / "findling.toml").write_text(CONFIG, encoding="utf-8")
        began = time.perf_counter()
        command = findling("build", "-c", place, "--json")
        built = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        took = time.perf_counter() - began
        catalog = Catalog.of(config.load(home / "findling.toml"))
        told = {"titles": count, "build": built, "snapshot GB": on_disk(Path(catalog.local()))}
        told |= {"all files GB": on_disk(home), "service": served(home, joined(titles, 2), seconds)}
    report("millions", "titles/s", [count / took], {}, told, as_json=options.json)


if __name__ == "__main__":
    main()
