"""A real service over the small collection, for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Running, serving

import small
from findling import build, config
from findling.serve.live import Collection


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small collection, built."""
    home = tmp_path_factory.mktemp("served")
    build.build(config.load(small.write(home)))
    return home


@pytest.fixture(scope="session")
def collection(small_home: Path) -> Collection:
    """The small collection as a service has it, for applications in this process."""
    return Collection(config.load(small_home), small_home / "models")


@pytest.fixture(scope="session")
def service(small_home: Path) -> Iterator[Running]:
    """A service over the small collection, with two workers."""
    with serving(small_home, "--workers", "2") as running:
        yield running
