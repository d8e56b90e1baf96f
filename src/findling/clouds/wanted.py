"""What a job in a cloud is made from: a configuration that fits a cluster, and a plan of what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from findling import storage
from findling.config import Settings
from findling.errors import ConfigError
from findling.plan import Plan, Platform


def check(read: Settings, scheme: str) -> None:
    """Raises ConfigError where home or source lie where the workers of a cloud cannot reach them."""
    if not read.home.startswith(scheme):
        todo = f'write home = "{scheme}BUCKET/search"'
        raise ConfigError(f"home is {read.home!r}, which workers there cannot reach", todo=todo)
    for key, value in _texts(read.source_options):
        if "://" not in value and storage.glob(read.path(value)):
            raise ConfigError(
                f"source.{key} is {value!r}, which lies on this machine",
                todo=f"copy it to {scheme}BUCKET, and write that",
            )


def _texts(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield key, each


class _Plans(msgspec.Struct, frozen=True):
    plans: list[Plan]


def plan(file: Path, platform: Platform) -> Plan:
    """The plan for a platform out of what `findling plan --json` printed; raises ConfigError."""
    again = f"write it with: findling plan --json > {file.name}"
    try:
        plans = msgspec.json.decode(file.read_bytes(), type=_Plans).plans
    except OSError as error:
        raise ConfigError(f"--plan {str(file)!r} cannot be read: {error.strerror}", todo=again) from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"--plan {str(file)!r} is not a plan: {error}", todo=again) from None
    for each in plans:
        if each.platform == platform:
            return each
    known = ", ".join(each.platform for each in plans)
    raise ConfigError(f"--plan {str(file)!r} is for {known}, not for {platform}", todo=again)
