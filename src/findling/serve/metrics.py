"""Numbers about the service in Prometheus's text format (version 0.0.4), summed over its worker processes.

Counters and histograms are sums over all workers, so it does not matter which of them answers a scrape; what
belongs to one process (memory, files, queue) is told for each, by the number of its row on the board.
"""

from __future__ import annotations

import bisect
import datetime
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from findling.serve.board import Board
from findling.serve.visit import Visit
from findling.snapshot import Manifest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGES = ("cache", "wait", "filter", "encode", "index", "lexical", "fuse", "facets", "documents")
CACHE = ("hit", "miss", "off")
OTHER = "other"
_STATUSES = (200, 206, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 413, 421, 429, 499, 500, 503)
_PROCESS = "/proc"


@dataclass(frozen=True)
class _Series:
    """Numbers side by side on the board that share a name: one counter, or a histogram's."""

    name: str
    labels: Mapping[str, str]
    at: int


class _Layout:
    """Where each number stands; the same in every worker that knows the same routes."""

    def __init__(self) -> None:
        self.size = 0

    def place(self, name: str, length: int = 1, **labels: str) -> _Series:
        """Room for the next `length` numbers."""
        series = _Series(name, labels, self.size)
        self.size += length
        return series


class Metrics:
    """Counts requests by route and status, times routes and stages; `directory` is where workers share."""

    def __init__(self, routes: Iterable[str] = (), directory: Path | None = None) -> None:
        layout = _Layout()
        place, histogram = layout.place, len(BUCKETS) + 2
        known = [*dict.fromkeys([*routes, OTHER])]
        self._requests = {
            (route, status): place("findling_requests_total", route=route, status=str(status))
            for route in known
            for status in (*_STATUSES, OTHER)
        }
        self._routes = {r: place("findling_request_seconds", histogram, route=r) for r in known}
        self._stages = {s: place("findling_stage_seconds", histogram, stage=s) for s in STAGES}
        self._cache = {c: place("findling_cache_requests_total", result=c) for c in CACHE}
        self._reloads = place("findling_reload_requests_total")
        self._pid = place("pid").at
        self._waiting = place("findling_queue_depth").at
        self._in_flight = place("findling_requests_in_flight").at
        self._board = Board(layout.size, directory)
        self._board[self._pid] = os.getpid()
        self._board[self._waiting] = self._board[self._in_flight] = 0

    def begin(self) -> None:
        """A request has come."""
        self._board.add(self._in_flight)

    def observe(self, visit: Visit) -> None:
        """A request that had come was answered."""
        board = self._board
        board.add(self._in_flight, -1)
        route = visit.route if visit.route in self._routes else OTHER
        series = self._requests.get((route, visit.status)) or self._requests[route, OTHER]
        board.add(series.at)
        self._time(self._routes[route], visit.seconds)
        for stage, spent in visit.stages.seconds().items():
            if stage in self._stages:
                self._time(self._stages[stage], spent)
        if visit.cache in self._cache:
            board.add(self._cache[visit.cache].at)

    def wait(self, change: int) -> None:
        """So many more (or less) requests wait for their turn."""
        self._board.add(self._waiting, change)

    def ask_reload(self) -> None:
        """Ask all workers to look for a new snapshot, also for one that they have refused."""
        self._board.add(self._reloads.at)

    def reloads(self) -> int:
        """How often that was asked of any worker."""
        return int(self._board.totals()[self._reloads.at])

    def text(self, live: Iterable[Manifest]) -> str:
        """All numbers, and what the snapshots that answer here are."""
        totals = self._board.totals()
        workers = [
            (str(number), int(row[self._pid]), row)
            for number, row in enumerate(self._board.rows())
            if Path(_PROCESS, str(int(row[self._pid]))).exists()
        ]
        lines = [
            *_counter("Requests answered, by route and status.", totals, self._requests.values()),
            *_histogram("Time to answer, by route.", totals, self._routes.values()),
            *_histogram("Time of a search's stages.", totals, self._stages.values()),
            *_counter("Searches by what the query cache said.", totals, self._cache.values(), zeros=True),
            *_counter("Reloads asked for.", totals, [self._reloads], zeros=True),
            *_gauge("findling_workers", "Worker processes.", [({}, len(workers))]),
            *_by_worker("findling_queue_depth", "Requests that wait for their turn.", workers, self._waiting),
            *_by_worker("findling_requests_in_flight", "Requests being answered.", workers, self._in_flight),
            *_gauge(
                "process_resident_memory_bytes",
                "Resident memory; snapshots, which workers share, count in each.",
                [({"worker": number}, _resident(pid)) for number, pid, _ in workers],
            ),
            *_gauge(
                "process_open_fds",
                "Open file descriptors.",
                [({"worker": number}, _descriptors(pid)) for number, pid, _ in workers],
            ),
            *_snapshots(list(live)),
        ]
        return "\n".join(lines) + "\n"

    def _time(self, series: _Series, seconds: float) -> None:
        self._board.add(series.at + bisect.bisect_left(BUCKETS, seconds))
        self._board.add(series.at + len(BUCKETS) + 1, seconds)


def _snapshots(live: Sequence[Manifest]) -> Iterator[str]:
    now = datetime.datetime.now(datetime.UTC)
    named = [({"collection": m.collection}, m) for m in live]
    yield from _gauge(
        "findling_documents",
        "Documents of the live snapshot.",
        [({**labels, "snapshot": m.id}, m.documents) for labels, m in named],
    )
    yield from _gauge(
        "findling_snapshot_age_seconds",
        "Time since the live snapshot was built.",
        [(labels, (now - _moment(m.created)).total_seconds()) for labels, m in named],
    )
    yield from _gauge(
        "findling_snapshot_recall",
        "Recall@10 of the live snapshot's indexes, as its build measured it.",
        [
            ({**labels, "field": name}, field.recall_at_10)
            for labels, m in named
            for name, field in m.fields.items()
        ],
    )


def _moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _counter(
    told: str, totals: Sequence[float], series: Iterable[_Series], zeros: bool = False
) -> Iterator[str]:
    for number, one in enumerate(series):
        if number == 0:
            yield from _head(one.name, told, "counter")
        if totals[one.at] or zeros:
            yield f"{one.name}{_labels(one.labels)} {totals[one.at]:.0f}"


def _histogram(told: str, totals: Sequence[float], series: Iterable[_Series]) -> Iterator[str]:
    for number, one in enumerate(series):
        if number == 0:
            yield from _head(one.name, told, "histogram")
        counts = totals[one.at : one.at + len(BUCKETS) + 1]
        if not any(counts):
            continue
        total = 0.0
        for limit, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
            total += count
            yield f"{one.name}_bucket{_labels({**one.labels, 'le': str(limit)})} {total:.0f}"
        yield f"{one.name}_sum{_labels(one.labels)} {totals[one.at + len(BUCKETS) + 1]:.6f}"
        yield f"{one.name}_count{_labels(one.labels)} {total:.0f}"


def _by_worker(
    name: str, told: str, workers: Iterable[tuple[str, int, Sequence[float]]], at: int
) -> Iterator[str]:
    return _gauge(name, told, [({"worker": number}, row[at]) for number, _, row in workers])


def _gauge(name: str, told: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield from _head(name, told, "gauge")
    for labels, value in values:
        yield f"{name}{_labels(labels)} {value:.10g}"


def _head(name: str, told: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: Mapping[str, str]) -> str:
    """Labels as Prometheus writes them, with backslashes, quotes and line ends escaped."""
    escaped = {n: v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for n, v in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if labels else ""


def _resident(pid: int) -> int:
    try:
        return int(Path(_PROCESS, str(pid), "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(Path(_PROCESS, str(pid), "fd")))
    except OSError:
        return 0
