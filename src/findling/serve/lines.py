"""Lines for a log, written by a thread of their own: a log that is stuck holds up no request."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from typing import TextIO

_MOST = 10_000
_AT_ONCE = 100
_GOODBYE_SECONDS = 1.0


class Lines:
    """Writes lines to a stream in their order; where nobody reads them, some are lost, and it says so."""

    def __init__(self, stream: TextIO, most: int = _MOST) -> None:
        self._stream = stream
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._most = most
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="findling-log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: str) -> None:
        """Take a line (without its end); never waits."""
        if self._waiting.qsize() >= self._most:
            self._lost += 1
            return
        if self._lost:
            self._waiting.put(f'{{"lost_lines":{self._lost}}}')
            self._lost = 0
        self._waiting.put(line)

    def close(self) -> None:
        """Write what waits, unless that takes long."""
        self._waiting.put(None)
        self._thread.join(_GOODBYE_SECONDS)

    def _write(self) -> None:
        open_ended = True
        while open_ended:
            lines = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while lines[-1] is not None and len(lines) < _AT_ONCE:
                    lines.append(self._waiting.get_nowait())
            open_ended = lines[-1] is not None
            try:
                self._stream.write("".join(f"{line}\n" for line in lines if line is not None))
                self._stream.flush()
            except (OSError, ValueError):  # nobody will ever read it
                return
