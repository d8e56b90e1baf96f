"""What verbs say: JSON on standard output for programs, lines for people, progress on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from findling import config
from findling.progress import Progress, Task

Config = Annotated[Path, typer.Option("-c", "--config", help="The findling.toml to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_EVERY = 5.0  # seconds between two lines of progress where there is no terminal


def settings_of(path: Path) -> config.Settings:
    """The configuration a verb was pointed at."""
    return config.load(path)


def print_json(value: Any) -> None:
    """The one JSON document of a verb."""
    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def progress() -> Progress:
    """Bars with rate and time left on a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


class Lines:
    """Progress as plain lines, a few seconds apart."""

    @contextlib.contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """A step told at its begin, sometimes in between, and at its end."""
        counter = _Counter(name, total, unit)
        yield counter
        counter.finish()

    def say(self, line: str) -> None:
        """One line on standard error."""
        print(line, file=sys.stderr, flush=True)


class _Counter:
    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.started = self.told = time.monotonic()

    def advance(self, amount: int) -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.told >= _EVERY:
            self.told = now
            self._tell(now)

    def finish(self) -> None:
        self._tell(time.monotonic(), done=True)

    def _tell(self, now: float, done: bool = False) -> None:
        seconds = max(now - self.started, 1e-3)
        rate = self.done / seconds
        line = f"{self.name}: {amount(self.done, self.unit)} in {seconds:.1f} s ({amount(rate, self.unit)}/s)"
        if not done and self.total and rate:
            line += f", {duration((self.total - self.done) / rate)} left"
        print(line, file=sys.stderr, flush=True)


class Bars:
    """Progress as bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Task]:
        """A bar with rate and time left, which stays as a line when the step ends."""
        from rich import progress as bars

        class Rate(bars.ProgressColumn):
            def render(self, task: bars.Task) -> str:
                speed = task.finished_speed or task.speed
                return f"{amount(task.completed, unit)} ({amount(speed, unit)}/s)" if speed else ""

        columns = ("{task.description:<16}", bars.BarColumn(), Rate(), bars.TimeRemainingColumn())
        with bars.Progress(*columns, console=self._console) as shown:
            identity = shown.add_task(name, total=total)
            yield _Bar(shown, identity)
            task = shown.tasks[0]
            shown.update(identity, total=max(task.completed, 1), completed=max(task.completed, 1))

    def say(self, line: str) -> None:
        """One line on standard error."""
        self._console.print(line, markup=False, highlight=False)


class _Bar:
    def __init__(self, shown: Any, identity: Any) -> None:
        self._shown, self._identity = shown, identity

    def advance(self, amount: int) -> None:
        self._shown.advance(self._identity, amount)


def amount(number: float, unit: str) -> str:
    """A number with its unit as people read it."""
    if unit == "bytes":
        return f"{number / 1e6:,.1f} MB"
    return f"{number:,.0f} {unit}"


def duration(seconds: float) -> str:
    """A time span as people read it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
