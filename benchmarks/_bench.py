"""What the benchmarks share: alternating runs, and one JSON document at the end.

Peers run in the same process environment, on the same input and cores, in alternation with ours, so that a
noisy machine disturbs all of them alike. Rates are "more is better"; a ratio above 1 means ours is better.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def arguments(description: str, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options that every benchmark takes: --json, and --quick to end within 50 seconds on 2 cores."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--quick", action="store_true", help="a smaller input and fewer rounds")
    return parser.parse_args(argv)


def run_alternating(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Rates by name: each callable does its work once and returns its rate; all run once per round.

    Every second round goes backwards, so that none always follows the same neighbour.
    """
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        order = list(runs) if turn % 2 == 0 else list(reversed(runs))
        for name in order:
            rate = runs[name]()
            rates[name].append(rate)
            print(f"round {turn + 1}/{rounds}: {name}: {rate:,.1f}", file=sys.stderr, flush=True)
    return rates


def installed(*names: str) -> dict[str, str]:
    """Versions of libraries, "not installed" where one is not; for a report's setting."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """Where it ran: cores this process may use, processor and Python; for a report's setting."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "processor": platform.machine(), "python": platform.python_version()}


def report(
    benchmark: str,
    unit: str,
    ours: Sequence[float],
    peers: Mapping[str, Sequence[float]],
    setting: Mapping[str, Any],
    *,
    compare: Mapping[str, Sequence[float]] | None = None,
    as_json: bool = True,
) -> dict[str, Any]:
    """Prints and returns the result: medians of rates, and for each peer the median ratio of rounds.

    `compare` gives, for a peer that had other work than the main one, our rates at that work.
    """
    ratios = {}
    for name, theirs in peers.items():
        against = (compare or {}).get(name, ours)
        each = [mine / other for mine, other in zip(against, theirs, strict=True)]
        ratios[name] = round(statistics.median(each), 3)
    result = {
        "benchmark": benchmark,
        "unit": unit,
        "ours": round(statistics.median(ours), 1),
        "peers": {name: round(statistics.median(rates), 1) for name, rates in peers.items()},
        "ratios": ratios,
        "setting": {**machine(), **setting},
    }
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{benchmark}: {result['ours']:,} {unit}")
        for name, ratio in ratios.items():
            print(f"  {ratio:.2f} x {name} ({result['peers'][name]:,} {unit})")
    return result
