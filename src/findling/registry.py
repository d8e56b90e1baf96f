"""Every backend by kind and name, as plain data: adding one is adding a line."""

from __future__ import annotations

import difflib
import importlib
from typing import Any, NamedTuple

from findling.errors import ConfigError, extra


class Entry(NamedTuple):
    """Where a backend lives ("module:Class"), the extra that installs what it needs, and its preset."""

    target: str
    extra: str | None = None
    preset: str | None = None


BACKENDS: dict[tuple[str, str], Entry] = {
    ("source", "openlibrary"): Entry("findling.sources.openlibrary:OpenLibrary"),
    ("source", "wikipedia"): Entry("findling.sources.wikipedia:Wikipedia"),
    ("source", "table"): Entry("findling.sources.table:Table"),
    ("source", "images"): Entry("findling.sources.images:Images"),
    ("source", "bigquery"): Entry("findling.sources.bigquery:BigQuery", "gcp"),
    ("encoder", "hashing"): Entry("findling.encoders.hashing:Hashing"),
    ("encoder", "minilm"): Entry("findling.encoders.bert:Bert", preset="minilm"),
    ("encoder", "all-MiniLM-L6-v2"): Entry("findling.encoders.bert:Bert", preset="minilm"),
    ("encoder", "bge-small"): Entry("findling.encoders.bert:Bert", preset="bge-small"),
    ("encoder", "bge-small-en-v1.5"): Entry("findling.encoders.bert:Bert", preset="bge-small"),
    ("encoder", "e5-small"): Entry("findling.encoders.bert:Bert", preset="e5-small"),
    ("encoder", "e5-small-v2"): Entry("findling.encoders.bert:Bert", preset="e5-small"),
    ("encoder", "potion-base-8m"): Entry("findling.encoders.static:Static", preset="potion-base-8m"),
    ("encoder", "potion-base-8M"): Entry("findling.encoders.static:Static", preset="potion-base-8m"),
    ("encoder", "tiny-clip"): Entry("findling.encoders.clip:Clip", preset="tiny-clip"),
    ("encoder", "clip-vit-b-32"): Entry("findling.encoders.clip:Clip", preset="clip-vit-b-32"),
    ("encoder", "clip-vit-b-16"): Entry("findling.encoders.clip:Clip", preset="clip-vit-b-16"),
    ("encoder", "clip-vit-l-14"): Entry("findling.encoders.clip:Clip", preset="clip-vit-l-14"),
    ("encoder", "laion-clip-vit-b-32"): Entry("findling.encoders.clip:Clip", preset="laion-clip-vit-b-32"),
    ("encoder", "sentence"): Entry("findling.encoders.sentence:Sentence", "torch"),
    ("encoder", "tfhub"): Entry("findling.encoders.tfhub:TfHub", "tf"),
    ("index", "exact"): Entry("findling.indexes.exact:Exact"),
    ("index", "graph"): Entry("findling.indexes.faiss:Graph"),
    ("index", "compact"): Entry("findling.indexes.faiss:Compact"),
    ("index", "flat"): Entry("findling.indexes.faiss:Flat"),
    ("index", "annoy"): Entry("findling.indexes.annoy:Annoy", "annoy"),
    ("index", "milvus"): Entry("findling.indexes.milvus:Milvus", "milvus"),
    ("index", "gpu"): Entry("findling.indexes.gpu:Gpu", "gpu"),
    ("index", "gpu-lists"): Entry("findling.indexes.gpu:GpuLists", "gpu"),
    ("store", "arrow"): Entry("findling.stores.arrow:ArrowStore"),
    ("store", "datastore"): Entry("findling.stores.datastore:DatastoreStore", "gcp"),
    ("engine", "local"): Entry("findling.engines.local:Local"),
    ("engine", "beam"): Entry("findling.engines.beam:Beam", "beam"),
    ("engine", "spark"): Entry("findling.engines.spark:Spark", "spark"),
}


def names(kind: str) -> list[str]:
    """The names known for a kind, in alphabetical order."""
    return sorted(name for of, name in BACKENDS if of == kind)


def find(kind: str, name: str) -> Entry:
    """The entry for a name; raises ConfigError naming what is allowed and what was perhaps meant."""
    entry = BACKENDS.get((kind, name))
    if entry is None:
        known = names(kind)
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"unknown {kind} {name!r}", todo=f"{meant}known are {', '.join(known)}")
    return entry


def load(kind: str, name: str) -> Any:
    """The class of a backend, imported now; raises MissingExtra where its library is not installed."""
    entry = find(kind, name)
    module, _, attribute = entry.target.partition(":")
    with extra(entry.extra, f"{kind} {name!r}"):
        return getattr(importlib.import_module(module), attribute)
