"""What tests of engines share: which there are, and workers that find the tests' modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent

# Spark takes seconds to start, so the everyday run has one small test of it, in test_spark.py.
ENGINES: list[Any] = [
    "local",
    pytest.param("spark", marks=[pytest.mark.slow, pytest.mark.needs("pyspark", "java")]),
    pytest.param("beam", marks=pytest.mark.needs("apache_beam")),
]


@pytest.fixture(scope="session", autouse=True)
def workers_find_tests() -> None:
    """Worker processes import the steps that tests define."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(TESTS) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), *filter(None, known)])
