"""A process that ends with the one that started it, however that one ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from multiprocessing.connection import Connection


def hold(watched: Connection) -> None:
    """Leave interrupts to the parent, which holds the other end of `watched`, and end when it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        with contextlib.suppress(OSError):
            watched.poll(None)  # nothing is ever sent; it returns when the other end is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
