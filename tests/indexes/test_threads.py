"""How faiss's threads wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

READ = "import findling.indexes.faiss, os; print(os.environ['OMP_WAIT_POLICY'])"


@pytest.mark.parametrize(("chosen", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_unless_somebody_wants_them_awake(chosen: str | None, used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if chosen:
        environment["OMP_WAIT_POLICY"] = chosen
    done = subprocess.run(
        [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == used
