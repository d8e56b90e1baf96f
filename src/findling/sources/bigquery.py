"""BigQuery: a table or the result of a query, read through the Storage Read API as streams of Arrow batches.

A query runs in BigQuery itself, so what it filters, groups or sums there need not travel. Each stream is a
split, and any worker may read any of them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from msgspec import Meta

from findling.config import Options, convert
from findling.errors import ConfigError, SourceError, extra
from findling.schema import Drop
from findling.sources import table_types as types
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Split
from findling.sources.rows import Rows

if TYPE_CHECKING:
    from findling.filters import Where

ROWS = "rows"
_STREAMS = 64  # asked for; BigQuery gives as many as the data is worth


class BigQueryOptions(Options, frozen=True):
    """The keys of [source]: exactly one of `query` and `table` ("dataset.table" or "project.dataset.table").

    `project` pays for it. `endpoint` and `storage_endpoint` name an emulator, asked without credentials.
    """

    project: str
    query: str | None = None
    table: str | None = None
    id: str | None = None
    location: str | None = None
    streams: Annotated[int, Meta(ge=1, le=1000)] = _STREAMS
    endpoint: str | None = None
    storage_endpoint: str | None = None


@dataclass(frozen=True)
class BigQuery:
    """Rows as documents, with the columns and types that BigQuery says."""

    options: BigQueryOptions

    @classmethod
    def from_options(cls, options: dict[str, Any], base: str) -> BigQuery:
        """The source that [source] describes; raises ConfigError."""
        del base
        chosen = convert(options, BigQueryOptions, at="source")
        if bool(chosen.query) == bool(chosen.table):
            raise ConfigError(
                "source needs exactly one of `query` and `table`", todo='write table = "dataset.table"'
            )
        return cls(chosen)

    @cached_property
    def _session(self) -> _Session:
        """The streams; made once in the process that plans, and not by workers."""
        return _opened(self.options)

    @cached_property
    def _rows(self) -> Rows:
        found = [(field.name, types.of_arrow(field.type) or types.TEXT) for field in self._session.schema]
        at = f"source.table {self.options.table}" if self.options.table else "source.query"
        return Rows.of(pa.schema(found), self.options.id, set(), at)

    @property
    def columns(self) -> pa.Schema:
        """`id`, then the table's columns; one called `id` that is not the id is called `id_`."""
        return self._rows.columns

    def early(self) -> frozenset[str]:
        """All: nothing is joined."""
        return frozenset(self.columns.names)

    def splits(self) -> list[Split]:
        """One for each stream; one that is empty where there is none."""
        session = self._session
        names = session.streams or [""]
        return [
            Split(ROWS, stream, f"stream-{number:05d}", version=session.version)
            for number, stream in enumerate(names)
        ]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The batches of one stream as they come."""
        schema, rows = self._session.schema, 0
        if split.path:
            with _explained("read"):
                for message in _reader(self.options).read_rows(split.path):
                    content = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
                    batch = pa.ipc.read_record_batch(content, schema)
                    rows += batch.num_rows
                    yield batch
        if not rows:
            yield pa.RecordBatch.from_pylist([], schema=schema)

    def parser(
        self,
        table: str,
        where: Where,  # noqa: ARG002 - of the protocol
        columns: frozenset[str] | None = None,  # noqa: ARG002 - of the protocol
    ) -> BatchFunction:
        """What gives the columns the types of documents, and names them."""
        rows = self._rows
        if table == DOCUMENTS:
            return rows.documents

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            drops: list[Drop] = []
            arrays = [types.from_arrow(batch.column(field.name), field.type) for field in rows.found]
            return rows.identified(pa.record_batch(arrays, schema=rows.found), drops)

        return parse

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:  # noqa: ARG002
        """The rows themselves."""
        return tables[ROWS]


@dataclass(frozen=True)
class _Session:
    """What BigQuery promised to give: its columns, the streams, and what changes when the data does."""

    schema: pa.Schema
    streams: list[str]
    version: str


def _opened(options: BigQueryOptions) -> _Session:
    """Run the query or look at the table, and ask for its streams."""
    with extra("gcp", "source bigquery"):
        from google.cloud.bigquery_storage_v1 import types as storage_types
    with _explained("ask for"):
        table, version = _found(options)
        session = _reader(options).create_read_session(
            parent=f"projects/{options.project}",
            read_session=storage_types.ReadSession(table=table, data_format=storage_types.DataFormat.ARROW),
            max_stream_count=options.streams,
        )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    return _Session(schema, [stream.name for stream in session.streams], version)


def _found(options: BigQueryOptions) -> tuple[str, str]:
    """The path of the table to read, and what changes when its content does."""
    with extra("gcp", "source bigquery"):
        from google.cloud import bigquery
    client = bigquery.Client(
        project=options.project,
        location=options.location,
        credentials=_anonymous() if options.endpoint else None,
        client_options={"api_endpoint": options.endpoint} if options.endpoint else None,
    )
    with contextlib.closing(client):
        if options.query:
            job = client.query(options.query)
            job.result()
            return _path(job.destination), str(job.job_id)
        name = options.table or ""
        whole = name if name.count(".") > 1 else f"{options.project}.{name}"
        table = client.get_table(whole)
        return _path(table.reference), f"{table.modified} {table.num_rows}"


def _path(table: Any) -> str:
    return f"projects/{table.project}/datasets/{table.dataset_id}/tables/{table.table_id}"


@functools.lru_cache(maxsize=1)
def _reader(options: BigQueryOptions) -> Any:
    """The client of the Storage Read API, one for each process."""
    with extra("gcp", "source bigquery"):
        from google.cloud import bigquery_storage_v1 as storage
    if not options.storage_endpoint:
        return storage.BigQueryReadClient()
    import grpc
    from google.cloud.bigquery_storage_v1.services.big_query_read import transports

    channel = grpc.insecure_channel(options.storage_endpoint)
    return storage.BigQueryReadClient(transport=transports.BigQueryReadGrpcTransport(channel=channel))


def _anonymous() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()


@contextlib.contextmanager
def _explained(verb: str) -> Iterator[None]:
    """Failures of Google's libraries as one line."""
    with extra("gcp", "source bigquery"):
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
    try:
        yield
    except GoogleAuthError as error:
        raise SourceError(
            f"BigQuery cannot be asked: {error}", todo="run: gcloud auth application-default login"
        ) from None
    except (GoogleAPIError, ValueError) as error:
        told = getattr(error, "message", None) or str(error)
        raise SourceError(f"BigQuery: cannot {verb} the source: {told}") from None
