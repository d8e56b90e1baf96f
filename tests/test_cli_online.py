"""The verbs of the online half, as a person and as a program would use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import small
from findling import build, cli, config


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli")
    build.build(config.load(small.write(home)))
    (home / "queries.jsonl").write_text(
        '{"_id": "1", "text": "a white whale"}\n{"_id": "2", "text": "desert spice"}\n'
    )
    (home / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tmoby\t1\n2\tdune\t1\n")
    (home / "qrels.trec").write_text("1 0 moby 1\n2 0 dune 1\n")
    return home


def run(home: Path, *words: str) -> int:
    return cli.run([*words, "-c", str(home)])


def test_search_prints_what_http_returns(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "search", "white whale", "-k", "2", "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["hits"][0]["document"]["title"] == "Moby-Dick"
    assert {"hits", "facets", "offset", "k", "snapshot", "cache", "degraded", "took_ms"} == set(answer)


def test_search_for_people_explains_itself(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "search", "white whale", "--explain", "--where", "year < 1900") == 0
    printed = capsys.readouterr().out
    assert "1. " in printed.splitlines()[0]
    assert "Moby-Dick" in printed.splitlines()[0]
    assert "text: rank 1" in printed.splitlines()[1]
    assert "lexical: rank 1" in printed.splitlines()[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search"], "the query is empty"),
        (["search", "x", "-k", "0"], "k is 0"),
        (["search", "x", "-k", "-1"], "k is -1"),
        (["search", "x", "-k", "1000000000"], "k is 1000000000"),
        (["search", "x", "-k", "lots"], "'-k'"),
        (["search", "x" * 10_000], "10000 characters"),
        (["search", "x", "--mode", "psychic"], "unknown mode 'psychic'"),
        (["search", "x", "--where", "title ==== 1"], "where"),
        (["search", "--like", "nope"], "nope"),
        (["search", "--image", "/nope.png"], "cannot be read"),
        (["search", "--image", "/dev/zero"], "too many bytes"),
        (["search", "x", "--quack"], "--quack"),
        (["eval"], "--queries"),
        (["eval", "--like-label", "colour"], "no column 'colour'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(home, *words) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
@pytest.mark.parametrize("qrels", ["qrels.tsv", "qrels.trec"])
def test_eval_measures_every_mode_by_both_kinds_of_judgements(
    home: Path, capsys: pytest.CaptureFixture[str], mode: str, qrels: str
) -> None:
    files = ["--queries", str(home / "queries.jsonl"), "--qrels", str(home / qrels)]
    assert run(home, "eval", *files, "--mode", mode, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured) == {"queries", "mode", "ndcg_at_10", "map", "mrr", "recall_at_100", "latency_ms"}
    assert measured["ndcg_at_10"] == 1.0


def test_eval_writes_a_report(home: Path, tmp_path: Path) -> None:
    files = ["--queries", str(home / "queries.jsonl"), "--qrels", str(home / "qrels.tsv")]
    assert run(home, "eval", *files, "--report", str(tmp_path / "report.html")) == 0
    assert "a white whale" in (tmp_path / "report.html").read_text()


def test_eval_counts_shared_labels(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "eval", "--like-label", "year", "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["documents"] == len(small.BOOKS) - 1
    assert measured["precision_at_5"] == 0.0


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--json"]) == 0
    assert "hashing" in json.loads(capsys.readouterr().out)["encoders"]
    assert cli.run(["doctor"]) == 0
    assert "cores" in capsys.readouterr().out


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    assert "search" in capsys.readouterr().out
