"""The shape of the repository: what a newcomer may rely on wherever they look."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import findling
from findling.registry import BACKENDS

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What names one machine or one index has no place in a file that everyone gets.
PLACES = re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/")
INDEXES = re.compile(
    r"pypi\.org|pythonhosted|download\.pytorch|--(?:extra-)?index-url|--find-links", re.IGNORECASE
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_module_says_what_it_is_for_and_fits_a_reading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module starts with what it is for"
    assert text.count("\n") <= 500, "split it, or ask what it does twice"


@pytest.mark.parametrize(("kind", "name"), sorted(BACKENDS))
def test_a_registered_backend_is_there_and_its_extra_too(kind: str, name: str) -> None:
    entry = BACKENDS[kind, name]
    module, _, attribute = entry.target.partition(":")
    path = SOURCE.joinpath(*module.split(".")).with_suffix(".py")
    assert path.is_file(), f"{entry.target} is registered, but there is no {path.relative_to(REPOSITORY)}"
    defined = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}
    assert attribute in defined
    assert entry.extra is None or entry.extra in PROJECT["optional-dependencies"]


def test_one_version_everywhere() -> None:
    released = re.findall(r"^## \[(\d[^\]]*)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert findling.__version__ == PROJECT["version"] == released[0]


def test_constraints_pin_whatever_is_asked_for() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {normal(line.partition("==")[0]) for line in lines if "==" in line}
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    asked = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), *groups.values()]
    names = {normal(re.split(r"[^\w.-]", wish)[0]) for wishes in asked for wish in wishes}
    assert names <= pinned, f"run `make constraints`: {', '.join(sorted(names - pinned))}"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def test_no_file_names_a_machine_or_an_index() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        if path == Path(__file__).resolve() or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match.group()}" for rule in (PLACES, INDEXES) for match in rule.finditer(text)]
    assert not found
