"""The command line: one module for each family of verbs."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Sequence

import typer

from findling.errors import FindlingError

_INTERRUPTED = "interrupted; what is done is kept, and the same command goes on from it"


@functools.cache
def app() -> typer.Typer:
    """The command with all its verbs; they are imported here, so that even that can be interrupted."""
    from findling.cli import batch, cluster, exchange, load, online, pack, quality, start, submit, tuning

    made = typer.Typer(
        name="findling",
        help="Turn a raw dump into a live semantic search.",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for family in (start, batch, online, quality, exchange, cluster, pack, submit, load, tuning):
        family.register(made)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and end with its exit code: 0 done, 1 failed, 2 wrong words, 130 interrupted."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; errors become one line on standard error. Returns the exit code."""
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        ended = app()(args=words or ["--help"], standalone_mode=False)
        status = ended if isinstance(ended, int) else 0
        if status != 130:  # typer's answer to Ctrl-C, which says nothing
            return status
        line = _INTERRUPTED
    except KeyboardInterrupt:
        line, status = _INTERRUPTED, 130
    except Exception as error:
        if os.environ.get("FINDLING_DEBUG"):
            raise
        line, status = _explained(error)
    with contextlib.suppress(BrokenPipeError):
        print(f"error: {line}", file=sys.stderr)
    return status


def _explained(error: Exception) -> tuple[str, int]:
    """What to say of a failure, and the exit code it ends with."""
    match error:
        case FindlingError():
            return str(error), error.exit_code
        case typer.TyperException():
            # Those of its errors that know which option they speak of say so here only.
            said = getattr(error, "format_message", error.__str__)()
            return f"{' '.join(said.split())}; see: findling --help", error.exit_code
        case typer.Abort():
            return _INTERRUPTED, 130
        case BrokenPipeError():
            # Who reads the output has gone; nothing may be flushed to them at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return "the reader of the output has gone", 1
        case MemoryError():
            return "out of memory; lower index.memory in findling.toml", 1
        case _:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            return f"unexpected {what}; set FINDLING_DEBUG=1 to see where, and please report it", 1
