"""What can go wrong, in words for people: what happened, what was expected, what to do next."""

from __future__ import annotations

_MOST_TOLD = 10_000  # characters of what happened: it may quote a request of megabytes


class FindlingError(Exception):
    """A failure that a person can act on; shown as one line, never with a traceback.

    `code` is a stable name for programs, `exit_code` what the command line ends with and `status` what
    HTTP answers. `todo` says what to do next.
    """

    code = "failed"
    title = "It failed"
    exit_code = 1
    status = 500

    def __init__(self, what: str, *, todo: str = "") -> None:
        one_line = " ".join(what[:_MOST_TOLD].split())
        super().__init__(f"{one_line}; {todo}" if todo else one_line)
        self.what = one_line
        self.todo = todo

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default would lose the keyword argument.
        return (_rebuild, (type(self), self.what, self.todo))


def _rebuild(kind: type[FindlingError], what: str, todo: str) -> FindlingError:
    return kind(what, todo=todo)


class ConfigError(FindlingError):
    """The configuration or the command's words are wrong."""

    code, title, exit_code, status = "configuration", "The configuration is wrong", 2, 500


class MissingExtra(ConfigError):
    """An optional library is not installed."""

    code, title = "missing-extra", "An optional library is missing"


class SourceError(FindlingError):
    """A source cannot be read."""

    code, title = "source", "The source cannot be read"


class EncoderError(FindlingError):
    """Weights are missing or damaged, or an encoder cannot take its input."""

    code, title = "encoder", "The encoder cannot be used"


class StorageError(FindlingError):
    """Reading or writing a file failed: no space, no permission, not there."""

    code, title = "storage", "Files cannot be read or written"


class SnapshotError(FindlingError):
    """A snapshot is missing, incomplete, damaged or too poor to publish."""

    code, title = "snapshot", "The snapshot cannot be used"


class QueryError(FindlingError):
    """A request that cannot be answered as it stands."""

    code, title, exit_code, status = "bad-query", "The query is wrong", 2, 400


class NotFound(QueryError):
    """A collection or document that is not there."""

    code, title, status = "not-found", "Not found", 404


class Overloaded(FindlingError):
    """More work than the bounded queue takes; try again shortly."""

    code, title, status = "overloaded", "Too many requests at once", 503


class ClientGone(FindlingError):
    """The client hung up before its search was begun."""

    code, title, status = "client-gone", "The client has gone", 499


class extra:  # noqa: N801 - used as a statement: with extra("spark", "engine 'spark'")
    """Turns the ImportError of an optional library into the pip command that installs it."""

    def __init__(self, name: str | None, user: str) -> None:
        self.name = name
        self.user = user

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.name and isinstance(error, ImportError):
            raise MissingExtra(
                f"{self.user} needs the library {error.name!r}, which is not installed",
                todo=f"run: pip install 'findling[{self.name}]'",
            ) from error
