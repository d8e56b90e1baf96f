"""The load generator: what it sends, what it counts, and what it says of wrong words."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from findling import load
from findling.cli import run
from findling.errors import ConfigError


class Host:
    """Answers every query with its own words; `fail` fails each so many'th."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fail = 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path == "/collections":
                    self._send(200, {"collections": [{"name": "things"}]})
                    return
                host.asked.append(parse_qs(parts.query)["q"][0])
                failed = host.fail and len(host.asked) % host.fail == 0
                self._send(503 if failed else 200, {"cache": "hit", "path": parts.path})

            def _send(self, status: int, value: object) -> None:
                content = json.dumps(value, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def run_plainly(*asked: Any) -> load.Report:
    return asyncio.run(load.run(*asked))


@pytest.mark.parametrize("run", [load.run_alone, run_plainly])
def test_a_closed_loop_counts_what_was_answered(host: Host, run: Callable[..., load.Report]) -> None:
    target = load.Target.of(f"{host.url}/collections/things/search?k=3")
    report = run(target, itertools.cycle(["a b", "naïve & 鯨"]), 4, 0.3)
    told = report.told()
    assert told["requests"] == len(host.asked) == told["cache_hits"] > 4
    assert told["errors"] == 0
    assert set(host.asked) == {"a b", "naïve & 鯨"}
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p95"] <= told["latency_ms"]["p99"]


def test_an_open_loop_asks_as_often_as_it_was_told(host: Host) -> None:
    target = load.Target.of(f"{host.url}/collections/things/search")
    report = load.run_alone(target, itertools.cycle(["x"]), 8, 0.5, rate=40)
    assert report.requests == 20


def test_errors_are_counted_by_their_kind(host: Host) -> None:
    host.fail = 2
    target = load.Target.of(f"{host.url}/search?q={{}}")
    report = load.run_alone(target, itertools.cycle(["x"]), 1, 0.2)
    assert report.failures.keys() == {"503"}
    assert report.errors == report.requests // 2
    nobody = load.Target("127.0.0.1", 9, "/?q={}")
    report = load.run_alone(nobody, itertools.cycle(["x"]), 1, 0.05, rate=100)
    assert report.errors == report.requests > 0


def test_the_verb_finds_the_collection_by_itself(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "whales"}\n{"_id": "2", "text": "ships"}\n')
    words = ["load", host.url, "--queries", str(tmp_path / "q.jsonl"), "--seconds", "0.2", "--json"]
    assert run([*words, "--concurrency", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["requests", "errors", "rps", "latency_ms", "cache_hits"]
    assert set(host.asked) == {"whales", "ships"}


@pytest.mark.parametrize("url", ["ftp://x/", "https://x/", "x", "http://"])
def test_a_url_that_cannot_be_loaded_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load.Target.of(url)


def test_queries_that_are_none_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_text("\n")
    assert run(["load", "http://127.0.0.1:1/search", "--queries", str(tmp_path / "empty")]) == 2
    assert run(["load", "http://127.0.0.1:1/search", "--queries", str(tmp_path / "absent")]) == 2
    assert "holds no queries" in capsys.readouterr().err


def test_zipf_asks_for_the_first_most() -> None:
    drawn = Counter(itertools.islice(load.queries_in("zipf", [f"q{n}" for n in range(100)]), 20_000))
    assert drawn.most_common(1)[0][0] == "q0"
    assert 1.6 < drawn["q0"] / drawn["q1"] < 2.5  # the second is half as likely


@given(st.lists(st.floats(2e-6, 60.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_percentiles_are_right_to_a_hundredth(seconds: list[float], share: float) -> None:
    histogram = load.Histogram()
    for each in seconds:
        histogram.add(each)
    wanted = sorted(seconds)[max(0, -(-int(share * 1000 * len(seconds)) // 1000) - 1)]
    assert histogram.percentile(share) == pytest.approx(wanted, rel=0.011)
