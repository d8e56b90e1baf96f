"""Lines for a log, written by a thread of their own: a log that is stuck holds up no request."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from typing import TextIO

_MOST = 10_000
_GOODBYE_SECONDS = 1.0


class Lines:
    """Writes lines to a stream in their order; where nobody reads them, some are lost, and it says so."""

    def __init__(self, stream: TextIO, most: int = _MOST) -> None:
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(most)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="findling-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: str) -> None:
        """Take a line (without its end); never waits."""
        try:
            if self._lost:
                self._waiting.put_nowait(f'{{"lost_lines":{self._lost}}}')
                self._lost = 0
            self._waiting.put_nowait(line)
        except queue.Full:
            self._lost += 1

    def close(self) -> None:
        """Write what waits, unless that takes long."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
            self._thread.join(_GOODBYE_SECONDS)

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody will ever read it
                return
