"""What all tests share: what a machine has, what it lacks, and when lacking it is a failure.

A test marked `@pytest.mark.needs("java", "pyspark")` is skipped, with its reason, where one of these is not
there. Known are the programs and data that needs.py names, and every importable module. The environment
variable FINDLING_REQUIRE (`chromium,java`) names what this machine must have: a test that is skipped for lack
of one of these, however it says so, is then a failure.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from needs import data_directory, program, skip_without

# A test never asks a hub for anything: what it reads is in the repository, installed, or made by the test.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long one example takes says more about what else the machine is doing than about the code.
settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): programs, modules or data without which it is skipped")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        skip_without(*mark.args)


def required() -> set[str]:
    """What FINDLING_REQUIRE says that this machine must have."""
    return {name.strip() for name in os.environ.get("FINDLING_REQUIRE", "").split(",")} - {""}


def fail_if_required(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip whose reason names something that FINDLING_REQUIRE promises into a failure."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or not isinstance(report.longrepr, tuple):
        return
    missing = required() & set(re.findall(r"[\w-]+", report.longrepr[2].lower()))
    if missing:
        report.outcome = "failed"
        report.longrepr = (
            f"{report.longrepr[2]}, though FINDLING_REQUIRE promises {', '.join(sorted(missing))}"
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fail_if_required(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    fail_if_required(report)
    return report


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The larger collections; skips where they are not there."""
    skip_without("data")
    found = data_directory()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium, for playwright's `executable_path`; skips where there is none."""
    skip_without("chromium", "playwright")
    return program("chromium") or ""


@pytest.fixture(scope="session")
def java() -> str:
    """The path of an installed Java; skips where there is none."""
    skip_without("java")
    return program("java") or ""


@pytest.fixture
def free_port() -> int:
    """A TCP port on the loopback address that nothing listened on a moment ago."""
    return find_free_port()


def find_free_port() -> int:
    """A TCP port on the loopback address that nothing listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis server of its own, kept in memory only; skips where there is none."""
    skip_without("redis")
    port = find_free_port()
    options = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no")
    with subprocess.Popen(
        [program("redis") or "", *options],
        cwd=tmp_path_factory.mktemp("redis"),
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            wait_for_port(port, server)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()


def wait_for_port(port: int, server: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """Returns once something listens on the port; fails the test when the server ends or takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"no server on port {port} (exit status {server.poll()})")
