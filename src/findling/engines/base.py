"""What an engine is: where steps run, and where relational work is done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from findling import storage
from findling.errors import FindlingError
from findling.schema import BOOKKEEPING, Drop
from findling.sources.base import Dataset, Split
from findling.steps import EMBEDDED, Step

DROPS = "_drops"
_SUFFIX = ".parquet"
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Shards:
    """A directory of Parquet shards, with what was dropped beside them in `_drops/`.

    `rows` bounds a split, so that a few large shards still keep every worker busy; `only` names the columns
    that are read, where not all are.
    """

    path: str
    rows: int = _BATCH_ROWS
    only: tuple[str, ...] | None = None

    def names(self) -> list[str]:
        """The names of the shards that are complete."""
        return [name.removesuffix(_SUFFIX) for name in self._listing()]

    def files(self) -> list[str]:
        """The shards' URLs."""
        return [storage.join(self.path, name) for name in self._listing()]

    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.schema().names)

    def schema(self) -> pa.Schema:
        """The columns as the first shard has them."""
        with storage.open_read(self.files()[0]) as opened:
            return self._of(pq.ParquetFile(opened).schema_arrow)

    def splits(self) -> list[Split]:
        """Runs of at most `rows` rows; named by the directory, `rows`, the shard and the first row."""
        home = Path(self.path).name
        cut = []
        for place, file in enumerate(self.files()):
            with storage.open_read(file) as opened:
                total = pq.ParquetFile(opened).metadata.num_rows
            for start in range(0, max(total, 1), self.rows):
                name = f"{home}-{self.rows}-{place:05d}-{start:09d}"
                cut.append(Split("", file, name, start, min(self.rows, total - start)))
        return cut

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The split's rows in one batch, or in several where the shard's row groups say so."""
        with storage.open_read(split.path) as opened:
            file = pq.ParquetFile(opened)
            first, wanted = 0, range(split.start, split.start + split.length)
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                begin, end = max(first, wanted.start), min(first + rows, wanted.stop)
                if begin < end or not wanted:
                    table = file.read_row_group(group, self._columns()).slice(
                        begin - first, max(end - begin, 0)
                    )
                    yield from table.combine_chunks().to_batches(_BATCH_ROWS) or [_empty(table.schema)]
                    if not wanted:
                        return
                first += rows
            if not file.num_row_groups:
                yield _empty(self._of(file.schema_arrow))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, shard after shard, in the order in which they stand."""
        for file in self.files():
            with storage.open_read(file) as opened:
                yield from pq.ParquetFile(opened).iter_batches(_BATCH_ROWS, columns=self._columns())

    def count(self) -> int:
        """How many rows there are."""
        total = 0
        for file in self.files():
            with storage.open_read(file) as opened:
                total += pq.ParquetFile(opened).metadata.num_rows
        return total

    def drops(self, but: Collection[str] = ()) -> Iterator[Drop]:
        """What was dropped on the way here, as the shards tell it, without those named in `but`."""
        directory = storage.join(self.path, DROPS)
        for name in self.drops_names():
            if name in but:
                continue
            with storage.open_read(storage.join(directory, name)) as opened:
                for row in pq.read_table(opened).to_pylist():
                    yield Drop(*(row[column] for column in BOOKKEEPING.names))

    def drops_names(self) -> list[str]:
        """The names under which shards have told what was dropped."""
        return storage.listing(storage.join(self.path, DROPS))

    def _columns(self) -> list[str] | None:
        return None if self.only is None else list(self.only)

    def _of(self, schema: pa.Schema) -> pa.Schema:
        return schema if self.only is None else pa.schema([schema.field(name) for name in self.only])

    def _listing(self) -> list[str]:
        names = storage.listing(self.path)
        return [name for name in names if name.endswith(_SUFFIX) and not name.startswith(".")]


class Engine(Protocol):
    """Runs the same steps anywhere; the same input gives the same rows on every engine."""

    def run(self, source: Dataset, steps: Sequence[Step], out: str, name: str = "rows") -> Shards:
        """Read every split, apply the steps, and leave shards in the directory `out`.

        A shard is complete or absent; one that is there from an earlier run is not made again. `name` is
        what progress calls the work.
        """
        ...

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Shards:
        """One row per key, as `findling.sources.base.Relations` has it."""
        ...

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Shards:
        """Rows of `left` with the columns of `right` (`left`), or those without a match (`anti`)."""
        ...

    def close(self) -> None:
        """Let go of what was started: processes, a session."""
        ...


def shards_of(dataset: Dataset) -> Shards:
    """A dataset as shards; raises FindlingError where it is none."""
    if not isinstance(dataset, Shards):
        raise FindlingError("only datasets on disk can be joined or grouped")
    return dataset


def as_stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch as shards hold it: embeddings come as float32, on disk half of that is enough."""
    if batch.schema.names != EMBEDDED:
        return batch
    return batch.set_column(1, "vector", batch.column("vector").cast(pa.list_(pa.float16())))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
