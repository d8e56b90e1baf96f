"""What a machine has of what tests need, and how a test that needs more is skipped."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "java": ("java",),
    "redis": ("redis-server",),
}


def program(name: str) -> str | None:
    """The path of an installed program by its name in PROGRAMS; FINDLING_CHROMIUM and its like come first."""
    named = os.environ.get(f"FINDLING_{name.upper()}")
    found = (shutil.which(command) for command in ([named] if named else PROGRAMS[name]))
    return next((path for path in found if path), None)


def data_directory() -> Path | None:
    """The larger collections, not part of the repository: FINDLING_DATA, or shared/data beside it."""
    named = os.environ.get("FINDLING_DATA")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return path if path.is_dir() else None


def lacking(name: str) -> str | None:
    """Why a test that needs `name` cannot run here; None where it can."""
    if name == "data":
        return None if data_directory() else "needs data: no ../shared/data, and FINDLING_DATA is not set"
    if name in PROGRAMS:
        return None if program(name) else f"needs {name}: no {' or '.join(PROGRAMS[name])} on the PATH"
    return None if importlib.util.find_spec(name) else f"needs {name}: the module is not installed"


def skip_without(*names: str) -> None:
    """Skips the running test where one of `names` is lacking."""
    for name in names:
        if reason := lacking(name):
            pytest.skip(reason)
