"""A collection in Milvus: made, loaded, counted, read, given its alias, and dropped.

A name is findling_COLLECTION_FIELD_SNAPSHOT, its alias the same without the snapshot. The alias moves with
publish and rollback, so that others who read Milvus follow too.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from findling import config
from findling.errors import ConfigError, FindlingError, SnapshotError, StorageError, extra
from findling.indexes import milvus_fields
from findling.indexes.base import Mask, Params, Rows
from findling.indexes.milvus_fields import Columns

ABOUT = "milvus.json"
ROW, VECTOR, SHARED = "row", "vector", "shared"
MOST = 16_384  # rows that Milvus gives at most
SECONDS, LONG = 10.0, 600.0  # what one request may take: a search, and what loads or builds
_BATCH = 1 << 21  # bytes of vectors in one request
_LITE = threading.Lock()
_TRIES, _PAUSE = 5, 0.2  # of one batch; the pause doubles


class About(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the vectors are: `count` of `dim` numbers, in a collection of the Milvus at `uri`.

    `scalars` names, by column, the field that holds it and what that holds.
    """

    uri: str
    collection: str
    count: int
    dim: int
    scalars: dict[str, tuple[str, str]] = {}


class Fetched:
    """(n, dim) float16 vectors that Milvus holds: read like an array, by slice or by rows."""

    dtype = np.dtype(np.float16)
    ndim = 2

    def __init__(self, about: About) -> None:
        self.shape = (about.count, about.dim)
        self._about = about

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[np.float16]:
        wanted = np.arange(len(self))[rows]
        each, places = np.unique(wanted, return_inverse=True)
        found = np.empty((len(each), self.shape[1]), np.float16)
        step = batch_rows(self.shape[1])
        for at in range(0, len(each), step):
            part = each[at : at + step]
            with explained("read from", self._about.uri):
                answer = client_of(self._about.uri).query(
                    self._about.collection, ids=part.tolist(), output_fields=[ROW, VECTOR], timeout=LONG
                )
            if len(answer) != len(part):
                raise StorageError(f"Milvus lacks vectors of {self._about.collection}", todo="build again")
            for one in answer:
                found[at + np.searchsorted(part, one[ROW])] = one[VECTOR]
        return found[places]


def named(params: Params, base: str, parts: Sequence[str]) -> dict[str, Any]:
    """The parameters with a name for the collection, and a file that is looked for from `base`."""
    uri = params.get("uri", "")
    if isinstance(uri, str) and uri.endswith(".db"):
        uri = os.path.abspath(os.path.join(base, uri))
    return {**params, "uri": uri, "name": "_".join(["findling", *map(_plain, parts)])}


def follow(path: Path, collection: str, field: str) -> None:
    """Let findling_COLLECTION_FIELD stand for the collection of the index in `path`, if that is in Milvus.

    Whoever asks by the alias gets the collection of before or this one, never anything between.
    """
    if not (path / ABOUT).exists():
        return
    about = told((path / ABOUT).read_bytes())
    with explained("publish in", about.uri):
        client = client_of(about.uri)
        alias = "_".join(["findling", _plain(collection), _plain(field)])
        there = alias in _aliases(client)
        (client.alter_alias if there else client.create_alias)(about.collection, alias, timeout=SECONDS)


def told(content: bytes) -> About:
    """What a milvus.json says; raises SnapshotError."""
    try:
        return msgspec.json.decode(content, type=About)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"what tells of a Milvus collection cannot be read: {error}") from error


def drop(about: About) -> None:
    """Remove a collection, if it is there."""
    with explained("remove from", about.uri):
        client = client_of(about.uri)
        if client.has_collection(about.collection, timeout=SECONDS):
            client.drop_collection(about.collection, timeout=LONG)


def _plain(part: str) -> str:
    """A part of a name in the letters that Milvus takes."""
    return re.sub(r"\W", "_", part, flags=re.ASCII)


def _aliases(client: Any) -> list[str]:
    return [alias for name in client.list_collections() for alias in client.list_aliases(name)["aliases"]]


def load(
    about: About,
    vectors: NDArray[np.floating[Any]],
    rows: Rows,
    shared: Mask,
    chosen: Mapping[str, Any],
    columns: Columns | None = None,
) -> None:
    """Create the collection with some rows' vectors, unless all of it is there.

    `shared` (r,) says which of them several documents have: their fields tell of the first alone. `chosen`
    are the parameters of a build.
    """
    from pymilvus import DataType

    client = client_of(about.uri)
    if not chosen["name"] and counted(about) == about.count:
        return  # named by a hash of what it holds
    drop(about)
    with explained("create a collection in", about.uri):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ROW, DataType.INT64, is_primary=True)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=about.dim)
        schema.add_field(SHARED, DataType.BOOL)
        milvus_fields.add_to(schema, about.scalars)
        graph = client.prepare_index_params()
        built = {"M": int(chosen["M"]), "efConstruction": int(chosen["ef_construction"])}
        graph.add_index(VECTOR, index_type="HNSW", metric_type="IP", params=built)
        client.create_collection(about.collection, schema=schema, timeout=LONG)
    try:
        step = batch_rows(about.dim)
        for at in range(0, len(rows), step):
            block = vectors[rows[at : at + step]].astype(np.float32)
            batch = [
                {ROW: at + n, VECTOR: vector, SHARED: bool(shared[at + n])} for n, vector in enumerate(block)
            ]
            values = columns.block(rows[at : at + step], about.scalars) if columns else {}
            for field, each in values.items():
                for row, value in zip(batch, each, strict=True):
                    row[field] = value
            _put(about, batch)
        with explained("load a collection in", about.uri):
            client.flush(about.collection, timeout=LONG)
            client.create_index(about.collection, graph, timeout=LONG)
            client.load_collection(about.collection, timeout=LONG)
    except BaseException:
        with contextlib.suppress(FindlingError):
            drop(about)
        raise


def _put(about: About, batch: list[dict[str, Any]]) -> None:
    """Write a batch, again where that fails; what a failed try has written is replaced, not doubled."""
    client, pause = client_of(about.uri), _PAUSE
    for left in reversed(range(_TRIES)):
        write = client.insert if left == _TRIES - 1 else client.upsert
        try:
            with explained("write to", about.uri):
                write(about.collection, batch, timeout=LONG)
            return
        except StorageError:
            if not left:
                raise
        time.sleep(pause)
        pause *= 2


def counted(about: About) -> int | None:
    """How many vectors the collection has, all of them ready to be found; None where there is none."""
    with explained("open a collection in", about.uri):
        client = client_of(about.uri)
        if not client.has_collection(about.collection, timeout=SECONDS):
            return None
        client.load_collection(about.collection, timeout=LONG)
        found = client.query(
            about.collection, output_fields=["count(*)"], consistency_level="Strong", timeout=LONG
        )
        return int(found[0]["count(*)"])


def batch_rows(dim: int) -> int:
    """How many vectors go into one request."""
    return max(1, min(MOST, _BATCH // (4 * dim)))


def check_uri(uri: str) -> str:
    """The uri of a server or file; raises ConfigError for another, or one that holds a secret."""
    if urlsplit(uri).username or urlsplit(uri).password:
        raise ConfigError("index.params uri holds a user or password", todo=f"set {config.MILVUS_TOKEN}")
    if not uri.endswith(".db") and urlsplit(uri).scheme not in ("http", "https", "tcp", "unix"):
        raise ConfigError(
            f"the milvus index needs a uri, not {uri!r}",
            todo='set index.params = { uri = "http://localhost:19530" }, or a file: "milvus.db"',
        )
    return uri


def in_turn(uri: str) -> contextlib.AbstractContextManager[object]:
    """What a search holds: of a file one at a time, as Milvus Lite keeps `ef` where all searches share it."""
    return _LITE if uri.endswith(".db") else contextlib.nullcontext()


@functools.lru_cache(maxsize=8)
def client_of(uri: str) -> Any:
    """The one client of this process for a server or file; raises StorageError, MissingExtra."""
    with extra("milvus", "index 'milvus'"):
        from pymilvus import MilvusClient

        if uri.endswith(".db"):
            import milvus_lite  # noqa: F401 - named here where it is missing
    for library in ("pymilvus", "milvus_lite", "grpc._server"):  # they log what they also raise
        logging.getLogger(library).setLevel(logging.CRITICAL)
    with explained("open", uri):
        if uri.endswith(".db"):
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            # Its server takes the usual pings for an attack.
            return MilvusClient(uri, timeout=SECONDS, grpc_options={"grpc.keepalive_time_ms": 600_000})
        return MilvusClient(uri, token=config.milvus_token(), timeout=SECONDS)


@contextlib.contextmanager
def explained(verb: str, uri: str) -> Iterator[None]:
    """Failures of the library as one line."""
    with extra("milvus", "index 'milvus'"):
        from pymilvus.exceptions import MilvusException
    try:
        yield
    except (MilvusException, OSError) as error:
        said = getattr(error, "message", None) or str(error)
        todo = "let no other process have it open" if uri.endswith(".db") else "check that it runs"
        failure = StorageError(f"cannot {verb} the Milvus at {uri}: {said}", todo=todo)
        failure.status = 503
        raise failure from None
