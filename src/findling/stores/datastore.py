"""Documents in Google's Datastore: only their ids and columns stay in the snapshot.

A document's key is a hash of its JSON. So it never changes under its key, snapshots share what they have in
common, going back to an older one finds everything, and a daily update writes what is new.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Self

import pyarrow as pa
from msgspec import Meta

from findling.config import Options, convert
from findling.errors import StorageError, extra
from findling.stores.mapped import Mapped, open_table, write

KEY = "_key"
_PUT, _GET = 400, 1000  # Datastore takes 500 entities in a commit, and 1,000 keys in a lookup
_PUT_BYTES = 8 << 20  # and 10 MiB in a request


class DatastoreOptions(Options, frozen=True):
    """The keys of [store]: whose Datastore, and below which names; `seconds` bounds one request.

    Google's library finds credentials, and an emulator by DATASTORE_EMULATOR_HOST.
    """

    project: str
    namespace: str | None = None
    entity: str = "findling-document"
    seconds: Annotated[float, Meta(gt=0)] = 5.0


class DatastoreStore(Mapped):
    """The documents of a snapshot by row and by id, each fetched by its key. Thread-safe."""

    def __init__(self, table: pa.Table, options: DatastoreOptions) -> None:
        super().__init__(table, KEY)
        self._options = options

    @classmethod
    def write(cls, documents: Iterable[pa.RecordBatch], path: Path, options: Mapping[str, Any] = {}) -> int:
        """Put each document into Datastore, then ids, columns and keys into the file `path`."""
        chosen = _options(options)
        return write(documents, path, KEY, functools.partial(_put, chosen))

    @classmethod
    def open(cls, path: Path, options: Mapping[str, Any] = {}) -> Self:
        """The ids and columns in the file `path`, mapped; raises SnapshotError."""
        return cls(open_table(path, KEY), _options(options))

    def get_many(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's document as a JSON object, in the order asked; raises IndexError for no such row.

        One that Datastore has lost is put together from its columns. Raises StorageError where it cannot be
        asked.
        """
        keys = [value.decode() for value in self.values.many(rows)]
        found: dict[str, bytes] = {}
        wanted = list(dict.fromkeys(keys))
        client = _client(self._options)
        for at in range(0, len(wanted), _GET):
            with _explained("fetch documents from"):
                entities = client.get_multi(
                    [client.key(self._options.entity, key) for key in wanted[at : at + _GET]],
                    timeout=self._options.seconds,
                )
            found |= {entity.key.name: bytes(entity["json"]) for entity in entities}
        return [found.get(key) or self.rebuilt(int(row)) for key, row in zip(keys, rows, strict=True)]


def _options(given: Mapping[str, Any]) -> DatastoreOptions:
    return convert(given, DatastoreOptions, at="store")


def _put(options: DatastoreOptions, documents: list[bytes]) -> list[bytes]:
    """Put documents under the hashes of their content; gives the keys."""
    with extra("gcp", "store datastore"):
        from google.cloud import datastore
    client = _client(options)
    keys = [blake2b(document, digest_size=16).hexdigest() for document in documents]
    for batch in _batches(dict(zip(keys, documents, strict=True))):
        entities = []
        for key, document in batch:
            entity = datastore.Entity(client.key(options.entity, key), exclude_from_indexes=("json",))
            entity["json"] = document
            entities.append(entity)
        with _explained("write documents to"):
            client.put_multi(entities, timeout=options.seconds * 6)
    return [key.encode() for key in keys]


def _batches(documents: Mapping[str, bytes]) -> Iterator[list[tuple[str, bytes]]]:
    """Documents in groups of which each fits one commit."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for key, document in documents.items():
        if batch and (len(batch) >= _PUT or size + len(document) > _PUT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((key, document))
        size += len(document)
    if batch:
        yield batch


@functools.lru_cache(maxsize=8)
def _client(options: DatastoreOptions) -> Any:
    with extra("gcp", "store datastore"):
        from google.cloud import datastore
    with _explained("find"):
        return datastore.Client(project=options.project, namespace=options.namespace)


@contextlib.contextmanager
def _explained(verb: str) -> Iterator[None]:
    """Failures of Google's libraries as one line."""
    with extra("gcp", "store datastore"):
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        told = getattr(error, "message", None) or str(error)
        failure = StorageError(f"cannot {verb} Datastore: {told}", todo="check [store] and credentials")
        failure.status = 503
        raise failure from None
