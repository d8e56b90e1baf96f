"""Generated requests over HTTP: whatever they say, the service answers or refuses, and goes on."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Running

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    """benchmarks/fuzz.py, as a module."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("fuzz", BENCHMARKS / "fuzz.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["fuzz"] = module
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_no_request_makes_the_service_fail(service: Running, fuzz: ModuleType) -> None:
    grammar = fuzz.grammar_of(service.base)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(st.randoms(use_true_random=False))
    def ask(random: Random) -> None:
        status, _ = caller.ask(grammar.request(random))
        assert 200 <= status < 500

    with fuzz.Caller(service.base) as caller:
        ask()


def test_the_requests_are_as_different_as_they_should_be(service: Running, fuzz: ModuleType) -> None:
    asked = fuzz.Asked(service.base, fuzz.grammar_of(service.base), seed=1)
    asked.run(range(300), threads=2)
    assert sum(asked.statuses.values()) == 300
    assert asked.statuses[200] > 60
    assert asked.statuses[400] > 60
    assert {404, 405} <= asked.statuses.keys()
    assert asked.failed == []
    assert asked.request(7) == asked.request(7) != asked.request(8)


@pytest.mark.slow
def test_no_request_of_tens_of_thousands_fails_or_takes_over_a_second() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "fuzz.py"), "--count", "30000", "--seed", "7", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    setting = json.loads(done.stdout)["setting"]
    assert (setting["failed"], setting["slow"]) == ([], [])
    assert sum(setting["statuses"].values()) == 30_000
    assert done.returncode == 0
