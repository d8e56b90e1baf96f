"""A real service in a process of its own, and how to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

PATIENCE = 60.0  # seconds until a test gives up waiting


@dataclass(frozen=True)
class Reply:
    status: int
    type: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Caller:
    """Asks a service at an address."""

    base: str

    def call(
        self,
        path: str,
        body: Any = None,
        method: str | None = None,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**({"Content-Type": kind} if data is not None else {}), **(headers or {})}
        request = urllib.request.Request(self.base + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return _reply(answer.status, answer)
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error.code, error)


@dataclass
class Running(Caller):
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    home: Path

    def until(self, holds: Callable[[], bool]) -> None:
        """Ask again and again until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, "it never came to hold"
            assert self.process.poll() is None, "the service has ended"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)

    def lines(self) -> Iterator[str]:
        """What it writes on standard error from now on, line by line."""
        assert self.process.stderr is not None
        return iter(self.process.stderr)

    def ready(self) -> bool:
        try:
            return self.call("/readyz").status == 200
        except OSError:
            return False


def _reply(status: int, answer: Any) -> Reply:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(status, answer.headers.get_content_type(), headers, answer.read())


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from findling.cli import main; main()", *words]


@contextlib.contextmanager
def serving(home: Path, *words: str) -> Iterator[Running]:
    """`findling serve` on a port of its own, stopped by SIGTERM at the end."""
    process = subprocess.Popen(
        command("serve", "-c", str(home), "--port", "0", *words),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FINDLING_MODELS": str(home / "models")},
    )
    assert process.stderr is not None
    # Nobody may read what it says before the end: a full pipe would hold up whoever says more.
    fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20)
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+?:\d+", line)
        assert found, line + process.stderr.read()
        running = Running(found[0], process, home)
        running.until(running.ready)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def children(parent: int) -> list[int]:
    """The worker processes of a service, without Python's resource tracker."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            command_line = stat.with_name("cmdline").read_bytes()
            if int(fields[1]) == parent and b"spawn_main" in command_line:
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def inside(app: ASGIApp, protocol: type[asyncio.Protocol] | str = "httptools") -> Iterator[Caller]:
    """An application on a socket of its own, in a thread of this process, for as long as the block runs."""
    settings = uvicorn.Config(
        app, port=0, log_level="critical", ws="none", http=protocol, proxy_headers=False, timeout_keep_alive=1
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        thread.join(0.01)
    try:
        yield Caller(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
