"""What the service tells of itself: metrics over all workers, the access log, request ids and traces."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Caller, Running, inside

from findling.config import ServeOptions
from findling.serve.app import create
from findling.serve.board import Board
from findling.serve.lines import Lines
from findling.serve.live import Collection
from findling.serve.metrics import BUCKETS, STAGES

SEARCH = "/collections/small/search"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def counted(service: Running, series: str) -> float:
    """A number of /metrics, 0 where it is not there yet."""
    text = service.call("/metrics").body.decode()
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def settled(service: Running, holds: Callable[[], bool]) -> None:
    """Counting comes after answering; wait for it."""
    service.until(holds)


def test_every_worker_tells_the_same_sums(service: Running) -> None:
    service.until(lambda: counted(service, "findling_workers") == 2)
    series = 'findling_requests_total{route="/openapi.json",status="200"}'
    before = counted(service, series)
    for _ in range(10):  # a connection each, so both workers get some
        service.call("/openapi.json")
    settled(service, lambda: counted(service, series) == before + 10)
    assert {counted(service, series) for _ in range(10)} == {before + 10}


def test_histograms_add_up_and_know_the_stages(service: Running) -> None:
    route = '{route="/collections/{collection}/search"'
    before = counted(service, f"findling_request_seconds_count{route}}}")
    stage = counted(service, 'findling_stage_seconds_count{stage="lexical"}')
    for number in range(3):
        service.call(f"{SEARCH}?q=histogram+{number}&where=year+>+1800&facets=authors")
    settled(service, lambda: counted(service, f"findling_request_seconds_count{route}}}") == before + 3)
    assert counted(service, 'findling_stage_seconds_count{stage="lexical"}') == stage + 3
    text = service.call("/metrics").body.decode()
    searched = set(STAGES) - {"cache"}
    assert searched <= set(re.findall(r'findling_stage_seconds_count\{stage="(\w+)"\}', text))
    buckets = [
        int(count)
        for count in re.findall(
            r'findling_request_seconds_bucket\{route="/collections/\{collection\}/search",le="[^"]+"\} (\d+)',
            text,
        )
    ]
    assert len(buckets) == len(BUCKETS) + 1
    assert buckets == sorted(buckets)


def test_metrics_are_in_prometheus_own_format(service: Running) -> None:
    service.call(f"{SEARCH}?q=format")
    text = service.call("/metrics").body.decode()
    assert text.endswith("\n")
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    label = r'[a-z_]+="(?:[^"\\\n]|\\.)*"'
    for line in text.splitlines():
        if not line.startswith("#"):
            found = re.fullmatch(
                rf"(\w+?)(_bucket|_sum|_count)?(\{{{label}(?:,{label})*\}})? [\d.e+-]+", line
            )
            assert found, line
            assert found[1] in kinds or found[1] + (found[2] or "") in kinds, line
    assert counted(service, 'findling_snapshot_recall{collection="small",field="text"}') == 1
    assert 0 < counted(service, 'findling_snapshot_age_seconds{collection="small"}') < 3600
    assert counted(service, 'process_resident_memory_bytes{worker="0"}') > 1e7
    service.until(lambda: counted(service, 'process_open_fds{worker="1"}') > 3)


def test_nothing_is_in_flight_but_the_scrape_itself(service: Running) -> None:
    def in_flight() -> float:
        return sum(counted(service, f'findling_requests_in_flight{{worker="{n}"}}') for n in (0, 1))

    settled(service, lambda: in_flight() == 1)


def test_a_worker_counts_on_from_the_one_before(tmp_path: Path) -> None:
    first, second = Board(3, tmp_path), Board(3, tmp_path)
    first.add(0, 5)
    second.add(0)
    assert second.totals() == first.totals() == [6, 0, 0]
    del first
    third = Board(3, tmp_path)
    assert len(list(tmp_path.iterdir())) in (2, 3)
    third.add(1)
    assert second.totals()[0] == 6


@pytest.mark.parametrize("wished", ["abc-123", "0af7:x/y=z+@"])
def test_a_sane_request_id_is_kept(service: Running, wished: str) -> None:
    assert service.call("/livez", headers={"X-Request-Id": wished}).headers["x-request-id"] == wished


@pytest.mark.parametrize("wished", ["", "a b", "x" * 129, "naïve", '"}{'])
def test_an_odd_request_id_is_replaced(service: Running, wished: str) -> None:
    given = service.call("/livez", headers={"X-Request-Id": wished}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", given)


def test_a_good_trace_comes_back_and_a_bad_one_does_not(service: Running) -> None:
    assert service.call("/livez", headers={"traceparent": PARENT}).headers["traceparent"] == PARENT
    bad = ["00-0-0-01", PARENT.replace("00-", "ff-", 1), PARENT.replace(TRACE, "0" * 32), PARENT + "x"]
    for parent in bad:
        assert "traceparent" not in service.call("/livez", headers={"traceparent": parent}).headers


def logged(
    collection: Collection,
    monkeypatch: pytest.MonkeyPatch,
    options: ServeOptions,
    ask: Callable[[Caller], Any],
) -> tuple[str, Any]:
    """The line that the access log has on a request with the id "mine"."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    app = create([collection], options)
    with inside(app) as caller:
        ask(caller)
        waited = threading.Event()
        while '"mine"' not in log.getvalue():
            waited.wait(0.01)
    [line] = [line for line in log.getvalue().splitlines() if '"mine"' in line]
    return line, json.loads(line)


def test_the_access_log_tells_everything_but_the_words(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"X-Request-Id": "mine", "traceparent": PARENT}
    line, told = logged(
        collection,
        monkeypatch,
        ServeOptions(access_log=True),
        lambda caller: caller.call(f"{SEARCH}?q=secretwords&k=2", headers=headers),
    )
    assert "secretwords" not in line
    assert told["route"] == "/collections/{collection}/search"
    assert (told["method"], told["path"], told["status"]) == ("GET", SEARCH, 200)
    assert (told["trace_id"], told["client"]) == (TRACE, "127.0.0.1")
    assert told["ms"] >= sum(told["stages_ms"].values()) > 0
    assert told["bytes"] > 100
    assert time.strptime(told["time"][:19], "%Y-%m-%dT%H:%M:%S")


def test_the_access_log_tells_the_words_where_asked(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = 'line\nend "quoted"'
    _, told = logged(
        collection,
        monkeypatch,
        ServeOptions(access_log=True, log_queries=True),
        lambda caller: caller.call(SEARCH, {"q": words}, headers={"X-Request-Id": "mine"}),
    )
    assert told["query"] == words


def test_a_log_that_nobody_reads_holds_up_nothing() -> None:
    read, write = os.pipe()
    with open(write, "w", encoding="utf-8") as stream:
        lines = Lines(stream, most=1000)
        for number in range(5000):
            lines.write(f"{number} " + "x" * 100)
        with open(read, encoding="utf-8") as reader:
            seen = [reader.readline() for _ in range(1000)]
            lines.write("last")
            told = iter(reader.readline, "last\n")
            seen += list(told)
        lines.close()
    assert seen[0].startswith("0 ")
    numbers = [int(line.split()[0]) for line in seen if line[0].isdigit()]
    assert numbers == sorted(numbers)
    lost = sum(json.loads(line)["lost_lines"] for line in seen if line.startswith("{"))
    assert lost > 0
    assert lost + len(numbers) == 5000
