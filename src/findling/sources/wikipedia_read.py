"""Rows of page-view tables and of lists of titles, out of text and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from findling.errors import SourceError
from findling.sources import delimited, text
from findling.sources.base import Split

RAW = pa.schema([(name, pa.string()) for name in ("language", "title", "views", delimited.BAD)])
_WANTED = ("language", "title", "views")
_LIST_HEADER = "page_title"


@dataclass(frozen=True)
class Layout:
    """How a text file is laid out: a list of titles has no delimiter."""

    names: tuple[str, ...] = ()
    delimiter: str = ""
    has_header: bool = False


def is_parquet(path: str) -> bool:
    """Whether a name says Parquet."""
    return text.bare_name(path).endswith(".parquet")


def read(split: Split) -> Iterator[pa.RecordBatch]:
    """Rows as text in the columns of RAW: views (and a list's language) are null where none are told."""
    if is_parquet(split.path):
        yield from _parquet(split.path)
        return
    layout = _layout(split.path)
    first = split.start == 0 and layout.has_header
    for batch in text.read_lines(split):
        lines = batch.column("line")[1:] if first and len(batch) else batch.column("line")
        first = False
        yield _table(lines, split.path, layout) if layout.delimiter else _list(lines)


def _layout(path: str) -> Layout:
    """What the first line tells: the names of columns, the heading of a list, or a title."""
    with text.open_text(path) as file:
        beginning = file.read(1 << 16).decode("utf-8-sig", "replace")
    line = (beginning.splitlines() or [""])[0]
    name = text.bare_name(path)
    delimiter = "\t" if "\t" in line or name.endswith(".tsv") else ","
    names = tuple(field.strip().strip('"').lower() for field in line.split(delimiter))
    if "title" in names:
        return Layout(names, delimiter, has_header=True)
    if line and name.endswith((".csv", ".tsv")):
        raise SourceError(f"{path} has no column 'title'", todo=f"its first line is {line[:200]!r}")
    return Layout(has_header=line.strip() == _LIST_HEADER)


def _table(lines: pa.Array, path: str, layout: Layout) -> pa.RecordBatch:
    """Lines as rows; a title holds no line break, so a line with half a pair of quotes is no row."""
    bad: list[str] = []
    if layout.delimiter == ",":
        quotes = pc.count_substring(lines, '"')
        odd = pc.equal(pc.bit_wise_and(quotes, 1), 1)
        if pc.any(odd).as_py():
            bad += [line.decode("utf-8", "replace").rstrip("\r\n") for line in lines.filter(odd).to_pylist()]
            lines = lines.filter(pc.invert(odd))
    columns = [name for name in _WANTED if name in layout.names]
    octets, _ = text.octets_of(lines)
    batches = list(
        delimited.rows(
            pa.BufferReader(pa.py_buffer(octets)),
            path,
            layout.names,
            layout.delimiter,
            columns=columns,
            quoted=layout.delimiter == ",",
        )
    )
    table = pa.concat_batches([delimited.with_bad(_nothing(columns), bad), *batches])
    return _raw(table)


def _list(lines: pa.Array) -> pa.RecordBatch:
    title = pc.utf8_rtrim(delimited.as_text(lines), "\r\n")
    title = title.filter(pc.greater(pc.binary_length(title), 0))
    return _raw(pa.record_batch({"title": title}))


def _parquet(path: str) -> Iterator[pa.RecordBatch]:
    with text.told(path), text.open_text(path) as file:
        try:
            opened = pq.ParquetFile(file)
            by_name = {name.lower(): name for name in opened.schema_arrow.names}
            if "title" not in by_name:
                raise SourceError(f"{path} has no column 'title'", todo=f"it has {', '.join(by_name)}")
            columns = [by_name[name] for name in _WANTED if name in by_name]
            for batch in opened.iter_batches(columns=columns):
                texts = {name.lower(): batch.column(name).cast(pa.string()) for name in columns}
                yield _raw(pa.record_batch(texts))
            if not opened.metadata.num_rows:
                yield _raw(pa.record_batch({"title": pa.array([], pa.string())}))
        except pa.ArrowInvalid as error:
            raise SourceError(f"{path} is no Parquet file: {error}", todo="fetch it again") from None


def _raw(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = {name: pa.nulls(batch.num_rows, pa.string()) for name in RAW.names}
    columns |= {name: batch.column(name) for name in batch.schema.names}
    return pa.record_batch([columns[name] for name in RAW.names], schema=RAW)


def _nothing(columns: Sequence[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], pa.binary()) for _ in columns], names=list(columns))
