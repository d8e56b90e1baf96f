"""A packed environment out of what runs here: for machines with this one's system libraries."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution
from pathlib import Path

from findling.config import PACKED_MODELS
from findling.pack import archive, installed, models
from findling.pack.installed import Entry
from findling.pack.models import Models
from findling.progress import Progress


def pack(out: str, extras: Sequence[str], carried: Models, progress: Progress) -> int:
    """Write the archive to a path or URL; gives the number of files in it.

    Raises ConfigError and MissingExtra for what cannot be packed, before anything is written.
    """
    models.check(carried)
    needed = installed.distributions(extras)
    with tempfile.TemporaryDirectory(prefix="findling-pack-") as name:
        models.lay_out(carried, Path(name))
        entries = [*installed.python_files(), *_packages(needed), *_below(Path(name), PACKED_MODELS)]
        return archive.write(entries, out, progress)


def _packages(needed: Sequence[Distribution]) -> Iterator[Entry]:
    directory = installed.packages_directory()
    for entry in (*installed.own_files(), *(file for each in needed for file in installed.files_of(each))):
        yield Entry(f"{directory}/{entry.name}", entry.source, entry.executable)


def _below(root: Path, at: str) -> Iterator[Entry]:
    for path in root.rglob("*"):
        if path.is_file():
            yield Entry(f"{at}/{path.relative_to(root).as_posix()}", path)
