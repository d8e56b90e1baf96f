from __future__ import annotations

import gzip
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from findling import evaluate as ev
from findling.errors import QueryError, SourceError
from findling.lexical import Lexical

GAINS = {"a": 2, "b": 0, "c": 1, "d": 1, "e": -1}


def test_metrics_by_hand() -> None:
    ranked = ["b", "a", "x", "c", "e"]
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ev.ndcg_at_k(ranked, GAINS) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert ev.ndcg_at_k(ranked, GAINS, 2) == pytest.approx((2 / math.log2(3)) / (2 + 1 / math.log2(3)))
    assert ev.average_precision(ranked, GAINS) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert ev.reciprocal_rank(ranked, GAINS) == 0.5
    assert ev.recall_at(ranked, GAINS) == pytest.approx(2 / 3)
    assert ev.recall_at(ranked, GAINS, 2) == pytest.approx(1 / 3)


def test_a_document_judged_below_zero_takes_nothing_away() -> None:
    assert ev.ndcg_at_k(["e", "a", "c", "d"], GAINS) == ev.ndcg_at_k(["b", "a", "c", "d"], GAINS)


@pytest.mark.parametrize("metric", [ev.ndcg_at_k, ev.average_precision, ev.reciprocal_rank, ev.recall_at])
def test_the_ends_of_the_scale(metric: Any) -> None:
    assert metric(["a", "c", "d"], GAINS) == pytest.approx(1.0)
    assert (
        metric([], GAINS)
        == metric(["x", "b", "e"], GAINS)
        == metric(["a"], {})
        == metric(["b"], {"b": 0})
        == 0
    )


@given(
    st.permutations(list("abcdefgh")),
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1, 3)),
    st.integers(0, 6),
)
def test_a_relevant_document_further_up_is_never_worse(ranked, gains, at) -> None:
    up, down = ranked[at], ranked[at + 1]
    if gains.get(down, 0) < gains.get(up, 0):
        ranked[at], ranked[at + 1] = down, up
    better = list(ranked)
    better[at], better[at + 1] = better[at + 1], better[at]
    for metric in (ev.ndcg_at_k, ev.average_precision, ev.reciprocal_rank, ev.recall_at):
        assert 0 <= metric(ranked, gains) <= metric(better, gains) + 1e-12 <= 1 + 1e-9


def test_queries_in_every_layout(tmp_path: Path) -> None:
    layouts = {
        "q.jsonl": '{"_id": "1", "text": "white whale", "metadata": {}}\n\n{"_id": 2, "text": "sea"}\n',
        "q.tsv": "1\twhite whale\n2\tsea\n",
        "h.tsv": "query-id\ttext\r\n1\twhite whale\r\n2\tsea\r\n",
        "topics": "<top>\n<num> Number: 1\n<title> white\nwhale\n<desc> long\n</top>\n"
        "<top><num>2<title>sea</top>",
    }
    for name, text in layouts.items():
        (tmp_path / name).write_bytes(text.encode())
        (tmp_path / (name + ".gz")).write_bytes(gzip.compress(text.encode()))
        for path in (tmp_path / name, tmp_path / (name + ".gz")):
            assert ev.read_queries(path) == {"1": "white whale", "2": "sea"}


def test_qrels_in_both_layouts(tmp_path: Path) -> None:
    (tmp_path / "beir.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\ta\t1\n")
    (tmp_path / "spaces.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta b\t2\n")
    assert ev.read_qrels(tmp_path / "spaces.tsv") == {"1": {"a b": 2}}
    (tmp_path / "trec").write_text("1 0 a 2\n1 0 b 0\n2 Q0 a 1\n2 Q0 a 1\n")
    for name in ("beir.tsv", "trec"):
        assert ev.read_qrels(tmp_path / name) == {"1": {"a": 2, "b": 0}, "2": {"a": 1}}


@pytest.mark.parametrize(
    ("read", "content", "says"),
    [
        (ev.read_queries, b'{"_id": "1", "text": "x"}\n{"_id": "2"}\n', "line 2: no "),
        (ev.read_queries, b'{"_id": "1", "text": "x"}\n{"_id": "1", "text": "y"}\n', "line 2: .* twice"),
        (ev.read_queries, b"1\tx\n\n2 no tab\n", "line 3: no id, tab and text"),
        (ev.read_queries, b"1\tx\n2\t\xff\n", "line 2: not UTF-8"),
        (ev.read_queries, b"<top>\n<num> 1\n</top>", "line 1: a topic without"),
        (ev.read_queries, b"", "holds no queries"),
        (ev.read_queries, b"\x1f\x8b broken", "cannot be read"),
        (ev.read_qrels, b"1 0 a 1\n1 a\n", "line 2: 2 words"),
        (ev.read_qrels, b"1 0 a yes\n", "line 1: the judgement 'yes'"),
        (ev.read_qrels, b"1 0 a 1\n1 0 a 2\n", "line 2: 'a' is judged twice"),
        (ev.read_qrels, b"query-id\tcorpus-id\tscore\n", "holds no judgements"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, read: Any, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"file.*{says}"):
        read(path)
    with pytest.raises(SourceError, match="absent cannot be read"):
        read(tmp_path / "absent")


QUERIES = {"1": "whale", "2": "<b>sea</b> & \ud800", "3": "unjudged", "4": "nothing"}
QRELS = {"1": {"a": 1}, "2": {"b": 1, "c": 1}, "4": {"a": 1}, "9": {"a": 1}}


def search(text: str) -> list[str]:
    return [] if text == "nothing" else ["a", "a", "b"]


def test_queries_without_judgements_are_left_out_and_those_without_hits_count() -> None:
    asked = []
    report = ev.evaluate(search, QUERIES, QRELS, mode="lexical", told=lambda: asked.append(1))
    assert report.queries == len(asked) == 3
    assert report.mrr == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert report.recall_at_100 == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert report.map == pytest.approx((1 + 1 / 4 + 0) / 3)
    told = report.as_json()
    assert list(told) == ["queries", "mode", "ndcg_at_10", "map", "mrr", "recall_at_100", "latency_ms"]
    assert told["mode"] == "lexical"
    assert list(told["latency_ms"]) == ["p50", "p95", "p99"]


def test_no_judged_query_is_an_error() -> None:
    with pytest.raises(QueryError, match="no query is judged"):
        ev.evaluate(search, {"7": "x"}, QRELS)


def test_percentiles_are_values_that_occurred() -> None:
    assert ev.percentiles(list(range(1, 101))) == {"p50": 50, "p95": 95, "p99": 99}
    assert ev.percentiles([3.0]) == {"p50": 3, "p95": 3, "p99": 3}


def test_the_report_is_one_file_and_escapes_what_it_shows(tmp_path: Path) -> None:
    report = ev.evaluate(search, QUERIES, QRELS, mode="<hybrid>")
    ev.write_report(report, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;sea&lt;/b&gt; &amp; ?" in html
    assert "&lt;hybrid&gt;" in html
    assert "<b>" not in html
    assert "http" not in html
    assert html.count("<polyline") == 2
    assert html.index("nothing") < html.index("whale")


def test_plots_of_many_and_of_one_query_stay_small(tmp_path: Path) -> None:
    for many in (1, 5000):
        queries = {str(at): "q" for at in range(many)}
        report = ev.evaluate(search, queries, {name: {"a": 1} for name in queries})
        ev.write_report(report, tmp_path / "r.html")
        html = (tmp_path / "r.html").read_text(encoding="utf-8")
        for part in html.split("<svg")[1:]:
            drawing = "<svg" + part.split("</svg>")[0] + "</svg>"
            points = ET.fromstring(drawing.replace("class=grid", "")).find("polyline")  # noqa: S314 - our own
            assert points is not None
            assert 1 <= len(points.attrib["points"].split()) <= 1002


@pytest.mark.needs("data")
@pytest.mark.parametrize(("collection", "least"), [("cranfield", 0.39), ("med", 0.70)])
def test_judged_collections_reach_their_lexical_figures(
    data_dir: Path, tmp_path: Path, collection: str, least: float
) -> None:
    home = data_dir / "ir" / collection
    ids: list[str] = []

    def documents() -> Any:
        import json

        for line in gzip.decompress((home / "corpus.jsonl.gz").read_bytes()).splitlines():
            document = json.loads(line)
            ids.append(document["_id"])
            yield document

    Lexical.build(documents(), tmp_path / "lexical", {"title": 1.0, "text": 1.0})
    index = Lexical.open(tmp_path / "lexical")
    report = ev.evaluate(
        lambda text: [ids[row] for row in index.search(text, 100)[0]],
        ev.read_queries(home / "queries.jsonl.gz"),
        ev.read_qrels(home / "qrels" / "test.tsv"),
    )
    assert report.ndcg_at_10 >= least
    assert np.isfinite(report.latency_ms["p99"])
