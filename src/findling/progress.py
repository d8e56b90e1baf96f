"""How long work tells where it stands; the command line decides how that looks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Task(Protocol):
    """One long step under way."""

    def advance(self, amount: int) -> None:
        """So many more units are done."""
        ...


class Progress(Protocol):
    """Who is told of long steps."""

    def task(self, name: str, total: int | None, unit: str) -> contextlib.AbstractContextManager[Task]:
        """A step begins, with `total` units to do where that is known; it ends with the block."""
        ...

    def say(self, line: str) -> None:
        """A line worth reading."""
        ...


class Silent:
    """Progress that nobody watches."""

    @contextlib.contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """A step that is not shown."""
        del name, total, unit
        yield _Unseen()

    def say(self, line: str) -> None:
        """Nothing is said."""
        del line


class _Unseen:
    def advance(self, amount: int) -> None:
        del amount
