"""A BigQuery of our own on loopback: the REST calls and the Storage Read API that the real clients make.

It holds tables as Arrow; a "query" is looked up, not run. Streams are cut by rows, in each session otherwise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

_READ = "google.cloud.bigquery.storage.v1.BigQueryRead"
_SESSIONS = "projects/p/locations/us/sessions"


@dataclass
class BigQueryHost:
    """Tables by name, and answers by query; `read` notes the streams that were read, `refuse` fails."""

    tables: dict[str, pa.Table]
    queries: dict[str, str] = field(default_factory=dict)
    batch_rows: int = 3
    read: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuse: str | None = None
    sessions: int = 0

    def __post_init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        calls = {
            "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                self._session,
                types.CreateReadSessionRequest.deserialize,
                types.ReadSession.serialize,
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self._rows, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
            ),
        }
        self._grpc.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_READ, calls)])
        port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()
        self.options = {
            "project": "p",
            "endpoint": f"http://127.0.0.1:{self._http.server_port}",
            "storage_endpoint": f"127.0.0.1:{port}",
        }

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()

    def _session(self, request: Any, context: Any) -> Any:
        name = request.read_session.table.rpartition("/")[2]
        if name not in self.tables:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no table {name}")
        table = self.tables[name]
        many = min(request.max_stream_count, -(-len(table) // self.batch_rows))
        session = f"{_SESSIONS}/{self.sessions}"
        self.sessions += 1
        return types.ReadSession(
            name=session,
            data_format=types.DataFormat.ARROW,
            arrow_schema=types.ArrowSchema(serialized_schema=table.schema.serialize().to_pybytes()),
            streams=[types.ReadStream(name=f"{session}/streams/{name}-{n}-{many}") for n in range(many)],
        )

    def _rows(self, request: Any, context: Any) -> Iterator[Any]:
        *_, session, _, stream = request.read_stream.split("/")
        self.read.append(stream)
        if stream == self.refuse:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
        name, number, many = stream.rsplit("-", 2)
        table = self.tables[name]
        for at, start in enumerate(range(0, len(table), self.batch_rows)):
            if (at + int(session)) % int(many) != int(number):
                continue
            batch = table.slice(start, self.batch_rows).combine_chunks().to_batches()[0]
            yield types.ReadRowsResponse(
                row_count=batch.num_rows,
                arrow_record_batch=types.ArrowRecordBatch(
                    serialized_record_batch=batch.serialize().to_pybytes(), row_count=batch.num_rows
                ),
                arrow_schema=types.ArrowSchema(serialized_schema=table.schema.serialize().to_pybytes()),
            )

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = path.partition("?")[0].split("/")
        reference = {"projectId": "p", "datasetId": "d"}
        if method == "POST" and parts[-1] in {"jobs", "queries"}:
            query = body["query"] if "query" in body else body["configuration"]["query"]["query"]
            self.asked.append(query)
            if query not in self.queries:
                return 400, {"error": {"code": 400, "message": f"Syntax error: {query}", "errors": []}}
            return 200, self._job(query)
        if parts[-2] in {"jobs", "queries"}:
            query = self.queries_by_job[parts[-1]]
            done = {"jobComplete": True, "totalRows": "0", "rows": [], "schema": {"fields": []}}
            return 200, self._job(query) | done
        if "tables" in parts and parts[-1] in self.tables:
            told = {
                "tableReference": {**reference, "tableId": parts[-1]},
                "lastModifiedTime": "1700000000000",
            }
            return 200, told | {"numRows": str(len(self.tables[parts[-1]])), "id": path, "type": "TABLE"}
        return 404, {"error": {"code": 404, "message": f"Not found: {parts[-1]}", "errors": []}}

    @property
    def queries_by_job(self) -> dict[str, str]:
        return {f"job-{n}": query for n, query in enumerate(self.queries)}

    def _job(self, query: str) -> dict[str, Any]:
        (job,) = [name for name, each in self.queries_by_job.items() if each == query]
        destination = {"projectId": "p", "datasetId": "d", "tableId": self.queries[query]}
        return {
            "kind": "bigquery#job",
            "jobReference": {"projectId": "p", "jobId": job, "location": "us"},
            "configuration": {"jobType": "QUERY", "query": {"query": query, "destinationTable": destination}},
            "status": {"state": "DONE"},
            "statistics": {"query": {"statementType": "SELECT"}},
        }

    def _handler(host: BigQueryHost) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply("GET", None)

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                self._reply("POST", json.loads(self.rfile.read(size) or b"{}"))

            def _reply(self, method: str, body: Any) -> None:
                status, told = host._answer(method, self.path, body)
                content = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler
