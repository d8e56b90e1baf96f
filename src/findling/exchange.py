"""Embeddings out of a collection and into one, as TFRecord or Parquet files of `id` and `embedding`.

Vectors that were made elsewhere go into the same cache as our own: a build then embeds only what they lack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from findling import build, fields, snapshot, storage, tfrecord
from findling.catalog import Catalog
from findling.config import Settings
from findling.embeddings import Embeddings
from findling.engines.base import Shards, as_stored
from findling.errors import ConfigError, SourceError, extra
from findling.progress import Progress, Silent
from findling.searcher import open_store
from findling.snapshot import SnapshotPaths
from findling.steps import content_hash, texts_of

Kind = Literal["tfrecord", "parquet"]
SUFFIXES: dict[str, str] = {"tfrecord": ".tfrecord", "parquet": ".parquet"}
ROWS = 100_000  # embeddings in one file
_BLOCK = 4096
_LONG = 0.01  # how far a vector's length may be from 1 before it is made so


def export(settings: Settings, field: str, out: str, kind: Kind, progress: Progress | None = None) -> int:
    """Write a field's vectors in the live snapshot to files in the directory `out`; returns how many.

    A file appears when it is whole: FIELD-00000-of-00012 and so on. Documents without a vector are left out.
    """
    root = Catalog.of(settings).local()
    manifest, paths = snapshot.check(root), SnapshotPaths(root)
    _known(field, list(manifest.fields))
    store = open_store(manifest, paths)
    index, rows = fields.open_index(manifest, paths, field)
    places = np.arange(len(index.vectors))
    documents = places if rows is None else np.asarray(rows)
    if manifest.base:
        alive = ~np.isin(documents, snapshot.open_gone(paths))
        places, documents = places[alive], documents[alive]
    many = max(1, -(-len(places) // ROWS))
    with (progress or Silent()).task(f"export {field}", len(places), "vectors") as task:
        for number in range(many):
            part = slice(number * ROWS, (number + 1) * ROWS)
            name = f"{field}-{number:05d}-of-{many:05d}{SUFFIXES[kind]}"
            with storage.stage_file(storage.join(out, name)) as file:
                write = _write_tfrecord if kind == "tfrecord" else _write_parquet
                write(file, _blocks(store, index.vectors, documents[part], places[part], task.advance))
    return len(places)


def bring(
    settings: Settings,
    field: str,
    pattern: str,
    ids: str | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Take embeddings of `id` and `embedding` from files into a field's cache; the next build uses them.

    An Annoy index (.ann) knows numbers only: `ids` is then a JSON list, or Parquet with a column `id`, of the
    id of each.

    Returns `read`, `brought`, and `unknown`: those whose id no document has. Raises SourceError for
    vectors of another length than the field's encoder gives, or not finite.
    """
    _known(field, [name for name, options in settings.vectors.items() if not options.image])
    encoder = build.open_encoders(settings)[field]
    files = storage.glob(pattern if "://" in pattern else settings.path(pattern))
    if not files:
        raise SourceError(f"there is no file {pattern}", todo="name TFRecord or Parquet files")
    progress = progress or Silent()
    documents = build.documents(settings, progress)
    hashes = _hashes(documents, settings.vectors[field].input)
    cache = Embeddings.of(Catalog.of(settings).root, field, encoder.spec.id)
    told = {"read": 0, "brought": 0, "unknown": 0}
    with progress.task(f"import {field}", None, "vectors") as task:
        for url in files:
            kept: dict[bytes, NDArray[np.float32]] = {}
            for identity, vector in _read(url, encoder.spec.dim, ids and settings.path(ids)):
                told["read"] += 1
                known = hashes.get(identity)
                if known is None:
                    told["unknown"] += 1
                else:
                    kept[known] = _checked(vector, encoder.spec.dim, encoder.spec.normalised, identity, url)
                task.advance(1)
            if kept:
                _keep(cache, kept)
            told["brought"] += len(kept)
    return told


def _known(field: str, names: list[str]) -> None:
    if field not in names:
        raise ConfigError(
            f"there is no vector field {field!r} of texts", todo=f"known are {', '.join(names) or 'none'}"
        )


def _blocks(
    store: Any, vectors: Any, documents: NDArray[np.int64], places: NDArray[np.int64], advance: Any
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    for at in range(0, len(places), _BLOCK):
        some = documents[at : at + _BLOCK].tolist()
        yield store.ids(some), np.asarray(vectors[places[at : at + _BLOCK]], np.float32)
        advance(len(some))


def _write_tfrecord(file: Any, blocks: Iterator[tuple[list[str], NDArray[np.float32]]]) -> None:
    for ids, vectors in blocks:
        for identity, vector in zip(ids, vectors, strict=True):
            tfrecord.write_record(file, tfrecord.encode(identity, vector))


def _write_parquet(file: Any, blocks: Iterator[tuple[list[str], NDArray[np.float32]]]) -> None:
    schema = pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32()))])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for ids, vectors in blocks:
            ends = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * vectors.shape[1])
            lists = pa.ListArray.from_arrays(ends, pa.array(vectors.reshape(-1)))
            writer.write_batch(pa.record_batch([pa.array(ids), lists], schema=schema))


def _read(url: str, dim: int, ids: str | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    if url.endswith(".ann"):
        yield from _read_annoy(url, dim, ids)
        return
    with storage.open_read(url) as file:
        if not url.endswith(SUFFIXES["parquet"]):
            for content in tfrecord.read_records(file, url):
                yield tfrecord.decode(content, url)
            return
        try:
            batches = pq.ParquetFile(file).iter_batches(_BLOCK, columns=["id", "embedding"])
            for batch in batches:
                lists = batch.column("embedding").to_pylist()
                for identity, vector in zip(batch.column("id").to_pylist(), lists, strict=True):
                    yield str(identity), np.array(vector or [], np.float32)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise SourceError(
                f"{url} holds no embeddings: {' '.join(str(error).split())}",
                todo="write the columns id (string) and embedding (list of floats)",
            ) from None


def _read_annoy(url: str, dim: int, ids: str | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The vectors of an Annoy index that somebody has, with the ids that stand beside it."""
    if ids is None:
        raise ConfigError(f"{url} holds no ids", todo="name them: --ids ids.json, in the order of its items")
    with extra("annoy", "an Annoy index"):
        from annoy import AnnoyIndex
    if not storage.is_local(url):
        raise ConfigError(f"{url} is not on this machine", todo="copy it here first")
    index, names = AnnoyIndex(dim, "angular"), _ids(ids)
    try:
        index.load(str(storage.local_path(url)))
    except OSError as error:
        raise SourceError(
            f"{url} is no Annoy index of {dim} dimensions: {error}", todo="was it made by the same encoder?"
        ) from None
    if index.get_n_items() != len(names):
        raise SourceError(f"{url} holds {index.get_n_items():,} items, {ids} has {len(names):,} ids")
    for row, name in enumerate(names):
        yield name, np.array(index.get_item_vector(row), np.float32)


def _ids(url: str) -> list[str]:
    """A list of ids from JSON or Parquet."""
    try:
        if url.endswith(".parquet"):
            with storage.open_read(url) as file:
                return [str(name) for name in pq.read_table(file, columns=["id"]).column("id").to_pylist()]
        found = json.loads(storage.read_bytes(url))
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise SourceError(f"{url} holds no ids: {' '.join(str(error).split())}") from None
    if isinstance(found, dict):  # {"0": "first", "1": "second"}, as maps from item to id are often kept
        found = [found.get(str(row)) for row in range(len(found))]
    if not isinstance(found, list) or not all(isinstance(name, str | int) for name in found):
        raise SourceError(f"{url} holds no list of ids", todo='write ["first", "second", …]')
    return [str(name) for name in found]


def _checked(
    vector: NDArray[np.float32], dim: int, normalised: bool, identity: str, url: str
) -> NDArray[np.float32]:
    if len(vector) != dim or not np.isfinite(vector).all():
        wrong = f"has {len(vector)} numbers" if len(vector) != dim else "holds what is no number"
        raise SourceError(
            f"{url}: the embedding of {identity!r} {wrong}", todo=f"{dim} finite numbers are wanted"
        )
    length = float(np.linalg.norm(vector))
    if normalised and length > 0 and abs(length - 1) > _LONG:
        return vector / np.float32(length)
    return vector


def _hashes(documents: Shards, columns: list[str]) -> dict[str, bytes]:
    """For each id the content hash of its text; those without a text are left out."""
    found = {}
    for batch in documents.batches():
        for identity, text in zip(batch.column("id").to_pylist(), texts_of(batch, columns), strict=True):
            if text:
                found[identity] = content_hash(text)
    return found


def _keep(cache: Embeddings, kept: dict[bytes, NDArray[np.float32]]) -> None:
    """One file's vectors as one part of the cache, named by their content: brought again, it is the same."""
    order = sorted(kept)
    flat = np.concatenate([kept[key] for key in order])
    ends = np.arange(len(order) + 1, dtype=np.int32) * (len(flat) // len(order))
    batch = pa.record_batch(
        {
            "hash": pa.array(order, pa.binary()),
            "vector": pa.ListArray.from_arrays(pa.array(ends), pa.array(flat)),
        }
    )
    digest = hashlib.sha256(b"".join(order) + flat.tobytes()).hexdigest()[:16]
    with storage.stage_file(storage.join(cache.path, f"imported-{digest}.parquet")) as file:
        pq.write_table(pa.table(as_stored(batch)), file, compression="zstd")
