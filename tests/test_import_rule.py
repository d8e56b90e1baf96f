"""The layers of the design hold, and the contract that says so is complete."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = {
    "pyspark",
    "apache_beam",
    "torch",
    "tensorflow",
    "transformers",
    "pymilvus",
    "annoy",
    "boto3",
    "redis",
}


def test_the_contracts_are_kept() -> None:
    pytest.importorskip("importlinter", reason="needs importlinter: the module is not installed")
    words = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c()",
        "--no-cache",
    ]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_module_has_its_layer() -> None:
    rules = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(rule for rule in rules if rule["type"] == "layers")
    named = {
        name.strip() for line in layers["layers"] for part in line.split("|") for name in part.split(":")
    }
    package = REPOSITORY / "src" / "findling"
    there = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert there - {"__init__"} - named == set()
    assert layers["exhaustive"] is True


@pytest.mark.parametrize("path", sorted((REPOSITORY / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_heavy_libraries_are_imported_only_where_they_are_used(path: Path) -> None:
    top = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} & HEAVY == set()
