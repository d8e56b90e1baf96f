"""What engines on several machines share: a run is a list of tasks, each of which leaves one shard."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from findling import storage
from findling.config import user_cache
from findling.engines import cutting
from findling.engines.base import Shards
from findling.engines.cutting import DONE, Recut
from findling.engines.writing import Work, opened, telling, write
from findling.errors import FindlingError
from findling.progress import Progress
from findling.sources.base import Dataset, Split
from findling.steps import Step

_TRIES = 4
_LOOK_SECONDS = 2.0  # between two looks at what is there


class Tasks(Protocol):
    """Picklable work in numbered parts that know nothing of one another, and may each be done twice."""

    def __len__(self) -> int: ...

    def open(self) -> None:
        """Make ready in this process what all parts need."""
        ...

    def do(self, place: int) -> int:
        """Do one part; gives the number of rows that it read."""
        ...


class WorkerLost(FindlingError):
    """A worker ended before its work was done; what it had finished is there."""


class Cluster(ABC):
    """An engine whose workers share nothing but `workspace`, a directory or URL that all of them reach."""

    def __init__(self, workspace: str, progress: Progress) -> None:
        self.workspace = workspace
        self.progress = progress

    @abstractmethod
    def cores(self) -> int:
        """How many tasks can run at once."""

    @abstractmethod
    def _do(self, tasks: Tasks, seconds: float) -> None:
        """Do all of them, anywhere, each at least once; raises what a task raised. `seconds` is a guess.

        Raises WorkerLost where the engine itself does not do again what a lost worker left.
        """

    def log(self, name: str) -> Path:
        """Where the words of what runs beneath go: beside `workspace`, whose content comes and goes."""
        local = storage.is_local(self.workspace)
        return (storage.local_path(self.workspace).parent if local else user_cache()) / f"{name}.log"

    def run(self, source: Dataset, steps: Sequence[Step], out: str, name: str = "rows") -> Shards:
        """Apply the steps to every split; see `findling.engines.base.Engine`."""
        return self._persistent(lambda: self._once(source, steps, out, name))

    def _persistent(self, work: Callable[[], Shards]) -> Shards:
        """Work that skips what is there already, again where a worker was lost."""
        for left in reversed(range(_TRIES)):
            try:
                return work()
            except WorkerLost as lost:
                if not left:
                    raise
                self.progress.say(f"{lost.what}: going on without it")
        raise AssertionError("the last try returns or raises")

    def _once(self, source: Dataset, steps: Sequence[Step], out: str, name: str) -> Shards:
        done = {*Shards(out).names(), *storage.listing(storage.join(out, DONE))}
        if isinstance(source, Shards):
            source = cutting.cut(source, steps, self.cores(), done)
        splits = source.splits()
        large = cutting.uncut(splits)
        todo = [(source, split) for split in splits if split not in large and split.name not in done]
        parts = self._parts(source, [split for split in large if split.name not in done], out, name)
        todo += [(parts, part) for part in parts.splits() if part.name not in done]
        if todo:
            left = [split for _, split in todo]
            seconds = sum(max(split.length, 0) for split in left) * cutting.row_seconds(steps)
            with self._watched(left, out, name):
                self._do(_Writing(Work.of(steps, out), tuple(todo)), seconds)
            self._must_be_there([storage.join(out, f"{split.name}.parquet") for split in left])
        return Shards(out)

    def _must_be_there(self, files: list[str]) -> None:
        """Raises FindlingError where workers wrote to a place that is not this machine's."""
        where = files[0].rpartition("/")[0]
        names = {file.rpartition("/")[2] for file in files}
        if not names <= {*storage.listing(where)}:
            raise FindlingError(
                f"the workers are done, but what they wrote is not in {where}",
                todo="let home be a bucket, or a directory that all machines share under the same path",
            )

    def _parts(self, source: Dataset, large: list[Split], out: str, name: str) -> Recut:
        """Files that cannot be cut where they lie, read once and left in parts."""
        parts = Recut(storage.join(self.workspace, f"parts-{Path(out).name}"))
        done = storage.listing(storage.join(parts.home, DONE))
        left = [split for split in large if split.name not in done]
        if left:
            with self._watched(left, storage.join(parts.home, DONE), f"cut for {name}"):
                self._do(_Cutting(source, tuple(left), parts.home), 0.0)
        return parts

    @contextlib.contextmanager
    def _watched(self, splits: Sequence[Split], out: str, name: str) -> Iterator[None]:
        """Progress by what is there, which is the same wherever the workers are."""
        unknown = any(split.length < 0 for split in splits)
        sizes = {split.name: 1 if unknown else split.length for split in splits}
        unit = "tasks" if unknown else "bytes" if any(split.table for split in splits) else "rows"
        with self.progress.task(name, sum(sizes.values()), unit) as task, _looking(out, sizes, task.advance):
            yield


@dataclass(frozen=True)
class _Writing:
    """Splits to shards."""

    work: Work
    splits: tuple[tuple[Dataset, Split], ...]

    def __len__(self) -> int:
        return len(self.splits)

    def open(self) -> None:
        with telling():
            opened(self.work)

    def do(self, place: int) -> int:
        source, split = self.splits[place]
        with telling():
            return write(self.work, split.name, source.read(split))


@dataclass(frozen=True)
class _Cutting:
    """Splits that are whole files to parts."""

    source: Dataset
    splits: tuple[Split, ...]
    home: str

    def __len__(self) -> int:
        return len(self.splits)

    def open(self) -> None:
        pass

    def do(self, place: int) -> int:
        with telling():
            return cutting.recut(self.source, self.splits[place], self.home)


@contextlib.contextmanager
def _looking(out: str, sizes: dict[str, int], advance: Callable[[int], None]) -> Iterator[None]:
    """While the block runs, and once at its end, tells the sizes of what has come into a directory."""
    ended = threading.Event()
    left = dict(sizes)

    def look() -> None:
        there = {name.removesuffix(".parquet") for name in storage.listing(out)} & left.keys()
        if there:
            advance(sum(left.pop(name) for name in there))

    def watch() -> None:
        while not ended.wait(_LOOK_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()
