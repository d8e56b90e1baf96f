"""The examples: each is a configuration that findling accepts, and `findling new` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from findling import cli, config, registry

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
KINDS = sorted(path.parent.name for path in EXAMPLES.glob("*/findling.toml"))


def test_there_are_examples() -> None:
    assert {"books", "covers", "titles", "table"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_accepted_and_written(kind: str, tmp_path: Path) -> None:
    settings = config.load(EXAMPLES / kind, environ={})
    registry.find("source", settings.source_kind)
    assert cli.run(["new", kind, str(tmp_path / "mine")]) == 0
    written = tmp_path / "mine" / "findling.toml"
    assert written.read_bytes() == (EXAMPLES / kind / "findling.toml").read_bytes()


def test_an_existing_configuration_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "findling.toml").write_text("mine")
    assert cli.run(["new", "table", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "findling.toml").read_text() == "mine"


def test_an_unknown_example_names_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["new", "quack", str(tmp_path)]) == 2
    assert "known are books" in capsys.readouterr().err
