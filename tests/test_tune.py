"""`findling tune`, as a person and as a program would use it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from batch import built, collection, some_rows, tree, write_rows
from findling import cli, config

ROWS = some_rows(400)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = collection(
        tmp_path_factory.mktemp("tune"), ROWS, more='[index]\nkind = "graph"\nparams = { M = 8 }\n'
    )
    built(file)
    (file.parent / "asked.txt").write_text("a whale in a storm\na letter from the war\n")
    return file


def tuned(file: Path, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> dict[str, Any]:
    """What `tune --json` says."""
    capsys.readouterr()
    assert cli.run(["tune", "-c", str(file), *words, "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_sweep_tells_all_and_changes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(file.parent)
    told = tuned(file, capsys)
    field = told["fields"]["text"]
    assert field["kind"] == "graph"
    assert field["queries"] == "200 runs of words out of the documents"
    assert field["met"]
    assert field["chosen"] in field["curve"]
    assert field["search"] in [point["params"] for point in field["curve"]]
    assert all(point["latency_ms"]["p95"] > 0 for point in field["curve"])
    assert told["targets"] == {"recall": 0.95, "memory": 2 * 10**9, "latency_ms": None}
    assert tree(file.parent) == before


def test_targets_and_queries_come_with_the_call(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = str(file.parent / "asked.txt")
    told = tuned(
        file, capsys, "--recall", "0.5", "--latency-ms", "5000", "--memory", "1GB", "--queries", asked
    )
    assert told["fields"]["text"]["queries"] == "2 queries of asked.txt"
    assert told["targets"] == {"recall": 0.5, "memory": 10**9, "latency_ms": 5000}
    assert told["index"] == {
        "kind": "graph",
        "recall": 0.5,
        "memory": "1GB",
        "latency_ms": 5000,
        "queries": asked,
    }


def test_apply_prints_lines_for_the_configuration(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tune", "-c", str(file), "--latency-ms", "5000", "--apply"]) == 0
    shown = capsys.readouterr().out
    assert "chosen" in shown
    lines = tomllib.loads(shown[shown.index("[index]") :])
    assert lines["index"] == {"kind": "graph", "recall": 0.95, "memory": "2GB", "latency_ms": 5000}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ["--latency-ms", "0.0000001"],
            1,
            "of 'text' meet the targets; the nearest: recall@10",
        ),
        (["--recall", "1.5"], 2, "index.recall"),
        (["--latency-ms", "-1"], 2, "index.latency_ms"),
        (["--memory", "lots"], 2, "index.memory is 'lots'"),
        (["--queries", "/nope.txt"], 1, "nope.txt"),
    ],
)
def test_what_cannot_be_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    assert cli.run(["tune", "-c", str(file), *words]) == status
    assert said in capsys.readouterr().err


def test_what_a_delta_replaced_is_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = collection(tmp_path, ROWS)
    built(file)
    write_rows(
        tmp_path / "rows.jsonl", [*ROWS[:-20], *({**row, "title": "a new title"} for row in ROWS[-10:])]
    )
    built(file, incremental=True)
    field = tuned(file, capsys)["fields"]["text"]
    assert field["chosen"]["recall"] == 1.0, "what is gone is no answer that was missed"


def test_nothing_to_tune_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tune", "-c", str(collection(tmp_path / config.FILE.removesuffix(".toml")))]) == 2
    assert "nothing published" in capsys.readouterr().err
