"""Numbers about the service in Prometheus's text format (version 0.0.4), one set for each worker process."""

from __future__ import annotations

import bisect
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Requests by route and status, and how long they took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._sums: Counter[str] = Counter()

    def observe(self, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route][bisect.bisect_left(BUCKETS, seconds)] += 1
            self._sums[route] += seconds  # type: ignore[assignment] # a Counter adds floats as well

    def text(self, snapshots: Iterable[tuple[str, str, int]]) -> str:
        """All numbers, with (collection, snapshot, documents) of what is live."""
        with self._lock:
            lines = [
                "# HELP findling_requests_total Requests answered, by route and status.",
                "# TYPE findling_requests_total counter",
            ]
            lines += [
                f'findling_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._requests.items())
            ]
            lines += [
                "# HELP findling_request_seconds Time to answer, by route.",
                "# TYPE findling_request_seconds histogram",
            ]
            for route, counts in sorted(self._seconds.items()):
                total = 0
                for limit, count in zip((*BUCKETS, "+Inf"), counts, strict=True):
                    total += count
                    lines.append(f'findling_request_seconds_bucket{{route="{route}",le="{limit}"}} {total}')
                lines.append(f'findling_request_seconds_sum{{route="{route}"}} {self._sums[route]:.6f}')
                lines.append(f'findling_request_seconds_count{{route="{route}"}} {total}')
        lines += [
            "# HELP findling_documents Documents of the live snapshot.",
            "# TYPE findling_documents gauge",
        ]
        lines += [
            f'findling_documents{{collection="{name}",snapshot="{snapshot}"}} {count}'
            for name, snapshot, count in snapshots
        ]
        lines += [
            "# HELP process_resident_memory_bytes Resident memory of this worker.",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {_resident()}",
        ]
        return "\n".join(lines) + "\n"


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
