"""A host on loopback that does whatever a test wants of it, down to single bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

Sent = Callable[["Request"], None]


class Request:
    """One request as it came, and the connection to answer on."""

    def __init__(self, host: Host, connection: socket.socket, path: str, headers: dict[str, str]) -> None:
        self.host = host
        self.connection = connection
        self.path = path
        self.headers = headers
        self.times = host.asked[path]

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def drip(self, piece: bytes, every: float = 0.02) -> None:
        """Send a piece again and again until the other side or the test has had enough."""
        while not self.host.closing.wait(every):
            self.send(piece)

    def hang(self) -> None:
        """Say nothing more until the other side or the test has had enough."""
        self.connection.settimeout(None)
        self.connection.recv(1)

    def answer(self, status: str, body: bytes = b"", **headers: Any) -> None:
        told = {"Content-Length": len(body), **{name.replace("_", "-"): v for name, v in headers.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value is not None)
        self.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)


class Host:
    """Answers by path; counts who asked for what. Paths without an answer of their own are 404."""

    def __init__(self) -> None:
        self.routes: dict[str, Sent] = {}
        self.asked: Counter[str] = Counter()
        self.seen: list[Request] = []
        self.closing = threading.Event()
        self.default: Sent = lambda request: request.answer("404 Not Found")
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def left(self, seconds: float) -> bool:
        """Whether all connections are closed by the other side within so many seconds."""
        for thread in self._threads[1:]:
            thread.join(seconds)
        return not self._open

    def close(self) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                rest = b""
                while True:
                    while b"\r\n\r\n" not in rest:
                        got = connection.recv(65_536)
                        if not got:
                            return
                        rest += got
                    head, _, rest = rest.partition(b"\r\n\r\n")
                    first, *lines = head.decode("latin-1").split("\r\n")
                    path = first.split(" ")[1]
                    headers = {
                        name.lower(): value.strip() for name, _, value in (ln.partition(":") for ln in lines)
                    }
                    self.asked[path] += 1
                    request = Request(self, connection, path, headers)
                    self.seen.append(request)
                    self.routes.get(path.partition("?")[0], self.default)(request)
            except OSError:
                pass
            finally:
                self._open.discard(connection)
