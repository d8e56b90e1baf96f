"""A step for benchmarks that keeps a core busy; in a module of its own, which worker processes import."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa


@dataclass(frozen=True)
class Busy:
    """A step that takes a millisecond of processor time for each row, and notes where and how long."""

    told: str
    row_seconds: ClassVar[float] = 1e-3

    def open(self) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
        """The work, noted in a file for each process."""
        file = Path(self.told, str(os.getpid()))

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            start = time.process_time()
            while time.process_time() - start < 1e-3 * batch.num_rows:
                pass
            with file.open("a") as notes:
                notes.write(f"{time.process_time() - start}\n")
            return batch

        return run
