"""What runs a build on the driver of a cluster: its settings and its report are files in the cloud."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from findling import build, config, storage
from findling.cli.output import Lines
from findling.errors import FindlingError

SCRIPT = b"from findling.cli.driver import main\n\nmain()\n"
"""The script that a cluster is given to run, by a Python that has findling."""


def main(words: Sequence[str] | None = None) -> None:
    """Build what the findling.toml at the first address says, and leave the report at the second.

    A third word names the engine. A build that fails leaves `{"error": …}`, and ends with 1.
    """
    settings, report, engine = [*(sys.argv[1:] if words is None else words), "spark"][:3]
    try:
        told: dict[str, Any] = dataclasses.asdict(_build(settings, engine))
    except FindlingError as error:
        told = {"error": str(error)}
    storage.write_bytes(report, msgspec.json.encode(told))
    if "error" in told:
        sys.exit(f"error: {told['error']}")


def _build(address: str, engine: str) -> build.Report:
    with tempfile.TemporaryDirectory(prefix="findling-") as name:
        file = Path(name, config.FILE)
        storage.fetch(address, file)
        return build.build(config.load(file), engine, progress=Lines())
