"""What findling needs of what is installed here: its distributions with their files, and Python itself."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import findling
from findling.errors import ConfigError, FindlingError, MissingExtra

PROVIDED = frozenset({"pyspark", "py4j"})
"""What a cluster brings itself, in the version that fits it."""

_LEFT_OUT = frozenset(
    {"__pycache__", "dist-packages", "ensurepip", "idlelib", "site-packages", "test", "tests"}
)


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its name there, and its content or the file that has it."""

    name: str
    source: Path | bytes
    executable: bool = False


def distributions(extras: Iterable[str]) -> list[metadata.Distribution]:
    """What findling with these extras needs to run, sorted by name, as it is installed here; not itself.

    Raises ConfigError for an unknown extra, MissingExtra for a distribution that is not installed.
    """
    mine = metadata.distribution("findling")
    known = mine.metadata.get_all("Provides-Extra") or []
    if unknown := set(extras) - set(known):
        raise ConfigError(f"unknown extra {min(unknown)!r}", todo=f"known are {', '.join(sorted(known))}")
    found: dict[str, metadata.Distribution] = {"findling": mine}
    wanted = list(_required(mine, extras))
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        each = wanted.pop()
        name, more = each
        if each in seen or name in PROVIDED:
            continue
        seen.add(each)
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise MissingExtra(
                f"{name} is not installed here, so it cannot be packed",
                todo=f"run: pip install 'findling[{','.join(sorted(extras))}]'",
            ) from None
        wanted += _required(found[name], more)
    del found["findling"]
    return [found[name] for name in sorted(found)]


def _required(of: metadata.Distribution, extras: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in of.requires or []:
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield canonicalize_name(needed.name), frozenset(needed.extras)


def files_of(of: metadata.Distribution) -> Iterator[Entry]:
    """A distribution's files below site-packages; raises FindlingError where it was not installed plainly."""
    told = msgspec.json.decode(of.read_text("direct_url.json") or "{}")
    if of.files is None or told.get("dir_info", {}).get("editable"):
        raise FindlingError(
            f"{of.metadata['Name']} is installed as a link to its sources, which cannot be packed",
            todo=f"run: pip install {of.metadata['Name']}=={of.version}",
        )
    for file in of.files:
        path = Path(str(of.locate_file(file)))
        if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
            yield Entry(PurePosixPath(file).as_posix(), path, os.access(path, os.X_OK))


def own_files() -> Iterator[Entry]:
    """findling's own files below site-packages, from wherever this process has it."""
    root = Path(findling.__file__).parent
    for path in _walk(root):
        yield Entry(f"findling/{path.relative_to(root).as_posix()}", path)
    mine = metadata.distribution("findling")
    for name in ("METADATA", "entry_points.txt"):
        if text := mine.read_text(name):
            yield Entry(f"findling-{findling.__version__}.dist-info/{name}", text.encode())


def python_files() -> Iterator[Entry]:
    """Python itself: its program, the standard library, and the library it may be linked to."""
    base = Path(sys.base_prefix)
    program = f"python{sysconfig.get_python_version()}"
    yield Entry(f"bin/{program}", Path(sys.base_exec_prefix, "bin", program).resolve(), executable=True)
    standard = Path(sysconfig.get_path("stdlib"))
    for path in _walk(standard):
        yield Entry(path.relative_to(base).as_posix(), path)
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        name = str(sysconfig.get_config_var("INSTSONAME"))
        yield Entry(f"lib/{name}", Path(str(sysconfig.get_config_var("LIBDIR")), name))
    # Where a program is started from decides where it finds all else, so nothing in it names a directory.
    here = 'here=$(dirname "$(readlink -f "$0")")\n'
    linked = 'export LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n'
    start = f'#!/bin/sh\n{here}{linked}exec "$here/{program}" "$@"\n'
    for name in ("python", "python3"):
        yield Entry(f"bin/{name}", start.encode(), executable=True)
    code = 'import sys; from findling.cli import main; sys.argv[0] = "findling"; main()'
    run = f'#!/bin/sh\n{here}exec "$here/python" -c \'{code}\' "$@"\n'
    yield Entry("bin/findling", run.encode(), executable=True)


def packages_directory() -> str:
    """Where this Python looks for packages below its prefix, which distributions of Linux change."""
    program = Path(sys.base_exec_prefix, "bin", f"python{sysconfig.get_python_version()}")
    code = "import site; print(site.getsitepackages(['/']).pop(0).lstrip('/'))"
    told = subprocess.run([program, "-I", "-c", code], capture_output=True, text=True, check=True)
    return told.stdout.strip()


def _walk(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _LEFT_OUT and not name.startswith("config-")]
        yield from (path for name in files if (path := Path(directory, name)).is_file())
