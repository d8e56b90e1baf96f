"""Half an hour of searches at half of what the service can do: does its memory grow, or what it has open?

What a service holds has its size once its caches are full, so memory is read after ten minutes and at the
end. The one number is searches a second that were answered while it ran; there is no peer.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
from pathlib import Path
from typing import Any

from _bench import arguments, report
from _memory import resident
from _titles import read_titles
from endure import CORES, serving, workers
from findling import load
from serve import build

CLIENTS = 8


def opened(processes: set[int]) -> int:
    """File descriptors that processes hold together."""
    return sum(len([*Path(f"/proc/{process}/fd").iterdir()]) for process in processes)


def main() -> None:
    """Find the rate that can be had, then ask for half of it."""
    options = arguments(__doc__ or "")
    many, minutes, settled = (2_000, 0.3, 0.1) if options.quick else (20_000, 30.0, 10.0)
    titles = read_titles()
    queries = itertools.cycle(titles[many:])
    with tempfile.TemporaryDirectory(prefix="findling-soak-") as place:
        build(Path(place), titles[:many])
        with serving(Path(place)) as (port, process):
            target = load.Target.of(f"http://127.0.0.1:{port}/collections/titles/search?k=10&q={{}}")
            most = load.run_alone(target, queries, CLIENTS * CORES, 5).told()["rps"]
            held = workers(process.pid)
            points: list[dict[str, Any]] = []

            def look(name: str) -> None:
                points.append({"at": name, "MB": round(resident(held) / 1e6, 1), "files": opened(held)})

            timers = [threading.Timer(60 * settled, look, ["settled"])]
            timers[0].start()
            told = load.run_alone(target, queries, CLIENTS * CORES, 60 * minutes, rate=most / 2).told()
            look("end")
            same = workers(process.pid) == held
    setting = {
        "minutes": minutes,
        "most/s": most,
        "points": points,
        "no worker was replaced": same,
        "load": told,
    }
    report("soak", "searches/s", [told["rps"]], {}, setting, as_json=options.json)


if __name__ == "__main__":
    main()
