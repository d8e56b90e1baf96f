"""A Dataflow of our own on loopback: it takes jobs by the REST calls that Beam's client makes, and does them.

What a job is to do it reads where the client has put it, and lets Beam's runner in Python do that at once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from findling import storage

_DONE, _FAILED = "JOB_STATE_DONE", "JOB_STATE_FAILED"


class DataflowHost:
    """`jobs` holds what was asked for; while `state` is set, jobs are not done, but have this state.

    `when_asked` is called once, when a job's state is asked for.
    """

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.state: str | None = None
        self.cancelled: list[str] = []
        self.when_asked: Callable[[], object] = lambda: None
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        # Beam's client talks plain HTTP to this name only.
        self.endpoint = f"http://localhost:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def options(self, place: int = 0) -> dict[str, Any]:
        """The pipeline options of a job, as they were sent."""
        found: dict[str, Any] = self.jobs[place]["environment"]["sdkPipelineOptions"]["options"]
        return found

    def _take(self, job: dict[str, Any]) -> dict[str, Any]:
        self.jobs.append(job)
        state = self.state
        if state is None:
            state = self._do(self.options(-1)["pipelineUrl"])
        return self._told(f"job-{len(self.jobs)}", state)

    def _told(self, identity: str, state: str) -> dict[str, Any]:
        return {"id": identity, "projectId": "books-1234", "location": "europe-west1", "currentState": state}

    def _do(self, url: str) -> str:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
        from apache_beam.portability.api import beam_runner_api_pb2
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        proto = beam_runner_api_pb2.Pipeline.FromString(storage.read_bytes(url))
        for environment in proto.components.environments.values():
            environment.urn = "beam:env:embedded_python:v1"
            environment.payload = b""
            del environment.dependencies[:]
        options = PipelineOptions(["--direct_num_workers=1", "--direct_running_mode=in_memory"])
        runner = FnApiRunner()
        pipeline = beam.Pipeline.from_runner_api(proto, runner, options)
        return _DONE if pipeline.run().wait_until_finish() == "DONE" else _FAILED

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer(host._take(self._body()))

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path.endswith("/messages"):
                    message = {"messageText": "no workers", "messageImportance": "JOB_MESSAGE_ERROR"}
                    self._answer({"jobMessages": [message]})
                    return
                when_asked, host.when_asked = host.when_asked, lambda: None
                when_asked()
                identity = path.rpartition("/")[2]
                state = "JOB_STATE_CANCELLED" if identity in host.cancelled else host.state or _DONE
                self._answer(host._told(identity, state))

            def do_PUT(self) -> None:
                identity = self.path.partition("?")[0].rpartition("/")[2]
                if self._body().get("requestedState") in ("JOB_STATE_CANCELLED", 5):
                    host.cancelled.append(identity)
                self._answer(host._told(identity, "JOB_STATE_CANCELLED"))

            def _body(self) -> dict[str, Any]:
                found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                return found

            def _answer(self, told: dict[str, Any]) -> None:
                content = json.dumps(told).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
