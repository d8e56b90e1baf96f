"""What stores share: documents' ids and columns in one mapped Arrow file, and with each row one value more.

The columns serve filters and facets. Ids ascend in row order (by their UTF-8 bytes, as Arrow sorts), so that
a row is found by binary search in the mapped column.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from findling.errors import FindlingError, SnapshotError

ID = "id"
BATCH_ROWS = 16_384  # every batch but the last, so that a row's place is a shift and a mask
_SHIFT, _MASK = BATCH_ROWS.bit_length() - 1, BATCH_ROWS - 1


Encode = Callable[[list[bytes]], list[bytes]]


class Mapped:
    """Documents by row and by id, and the `values` that stand beside them. Thread-safe."""

    def __init__(self, table: pa.Table, beside: str) -> None:
        self._table = table
        self._beside = beside
        self.values = Values(table.column(beside))
        self._ids = Values(table.column(ID))
        self._first_ids = [self._ids[at] for at in range(0, len(table), BATCH_ROWS)]

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def schema(self) -> pa.Schema:
        """The columns that filters and facets may use."""
        return self._table.drop_columns([self._beside]).schema

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Each row's id, in the order asked; raises IndexError for no such row."""
        return [value.decode() for value in self._ids.many(rows)]

    def row_of(self, id: str) -> int | None:  # noqa: A002 - the word that everything else uses
        """The row of a document, or None where there is none of this id."""
        wanted = id.encode("utf-8", "surrogatepass")
        part = bisect.bisect_right(self._first_ids, wanted) - 1
        if part < 0:
            return None
        low, high = part << _SHIFT, min((part + 1) << _SHIFT, len(self))
        row = bisect.bisect_left(self._ids, wanted, low, high)
        return row if row < high and self._ids[row] == wanted else None

    def column(self, name: str) -> pa.ChunkedArray:
        """A column for filters and facets, in row order; raises KeyError where there is none."""
        if name == self._beside:
            raise KeyError(name)
        return self._table.column(name)

    def rebuilt(self, row: int) -> bytes:
        """A document as JSON, put together from its columns."""
        return as_json(self._table.drop_columns([self._beside]).slice(row, 1).to_pylist())[0]


def write(documents: Iterable[pa.RecordBatch], path: Path, beside: str, encode: Encode) -> int:
    """Write documents, in order of ascending `id`, to the file `path`; returns how many there were.

    `encode` gives for the JSON of some documents what is kept beside them, in the column of that name. A
    document's JSON holds `id` and each other column that is not null; columns beginning with an underscore
    are left out. Raises FindlingError for ids that are missing, repeated or out of order.
    """
    count, last, writer = 0, "", None
    with pa.OSFile(str(path), "wb") as sink:
        try:
            for batch in _evenly(documents):
                last = _check_ids(batch, last, count)
                ready = pa.array(encode(as_json(batch.to_pylist())), pa.large_binary())
                whole = batch.append_column(beside, ready)
                if writer is None:
                    writer = pa.ipc.new_file(sink, whole.schema)
                writer.write_batch(whole)
                count += batch.num_rows
            if writer is None:
                writer = pa.ipc.new_file(sink, pa.schema([(ID, pa.string()), (beside, pa.large_binary())]))
        finally:
            if writer is not None:
                writer.close()
    return count


def open_table(path: Path, beside: str) -> pa.Table:
    """The file `path`, mapped; raises SnapshotError where it is not such a file."""
    try:
        with pa.memory_map(str(path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise SnapshotError(f"the documents in {path} cannot be opened: {error}") from error
    if not {ID, beside} <= set(table.column_names):
        raise SnapshotError(f"{path} holds no documents: it lacks {ID} or {beside}")
    if any(len(chunk) != BATCH_ROWS for chunk in table.column(ID).chunks[:-1]):
        raise SnapshotError(f"{path} holds batches of other than {BATCH_ROWS} rows")
    return table


def open_documents(path: Path) -> Mapped:
    """The ids and columns in a file that any of the stores wrote."""
    with pa.memory_map(str(path)) as mapped:
        beside = pa.ipc.open_file(mapped).schema.names[-1]
    return Mapped(open_table(path, beside), beside)


def as_json(documents: list[dict[str, Any]]) -> list[bytes]:
    """Documents as JSON objects of what they have."""
    return [
        msgspec.json.encode({name: value for name, value in document.items() if value is not None})
        for document in documents
    ]


class Values(Sequence[bytes]):
    """The values of a string or binary column as bytes, straight from the mapped buffers.

    Python objects for whole batches, or one Arrow scalar for each value, would cost ten times as much.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._count = len(column)
        self._keep = column
        self._parts = []
        for chunk in column.chunks:
            _, offsets, data = chunk.buffers()
            wide = chunk.type in (pa.large_binary(), pa.large_string())
            view = memoryview(offsets).cast("B").cast("q" if wide else "i")[chunk.offset :]
            self._parts.append((view, memoryview(data) if data is not None else memoryview(b"")))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> bytes:  # type: ignore[override] # rows one at a time, no slices
        return self.many((row,))[0]

    def many(self, rows: Iterable[int]) -> list[bytes]:
        """The values of some rows, in the order asked; raises IndexError for no such row."""
        parts, count, found = self._parts, self._count, list[bytes]()
        for row in map(int, rows):  # numpy's integers are slow to shift
            if not 0 <= row < count:
                raise IndexError(f"row {row} of {count}")
            offsets, data = parts[row >> _SHIFT]
            at = row & _MASK
            found.append(bytes(data[offsets[at] : offsets[at + 1]]))
        return found


def _evenly(documents: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of BATCH_ROWS, plain columns only, `id` first."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in documents:
        held.append(_plain(batch))
        rows += batch.num_rows
        while rows >= BATCH_ROWS:
            table = pa.Table.from_batches(held)
            yield _one_batch(table.slice(0, BATCH_ROWS))
            held = table.slice(BATCH_ROWS).to_batches()
            rows -= BATCH_ROWS
    if rows:
        yield _one_batch(pa.Table.from_batches(held))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    if ID not in batch.schema.names:
        raise FindlingError(f"documents need a column {ID!r}, but have {', '.join(batch.schema.names)}")
    names = [ID, *(name for name in batch.schema.names if name != ID and not name.startswith("_"))]
    columns = []
    for name in names:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        columns.append(column.cast(pa.string()) if name == ID else column)
    return pa.record_batch(columns, names=names)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    # Taken row by row: a slice carries its whole batch, and the bytes must not tell how the input was cut.
    return table.combine_chunks().take(pa.array(range(len(table)))).to_batches()[0]


def _check_ids(batch: pa.RecordBatch, last: str, row: int) -> str:
    """The batch's last id; raises FindlingError unless ids ascend from `last`."""
    for at, found in enumerate(batch.column(ID).to_pylist(), start=row):
        if not found:
            raise FindlingError(f"the document of row {at} has no id")
        # Code points order as their UTF-8 bytes do.
        if found <= last:
            wrong = "is there twice" if found == last else f"comes after {last!r}"
            raise FindlingError(f"ids must ascend, but {found!r} (row {at}) {wrong}")
        last = found
    return last
