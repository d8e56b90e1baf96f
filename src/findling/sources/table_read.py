"""Files of tables: their formats, their raw rows, and the types that all rows together have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from findling.errors import SourceError
from findling.sources import delimited, text
from findling.sources import table_types as types
from findling.sources.base import Split
from findling.sources.delimited import BAD

_FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BATCH_ROWS = 16_384
JSON = "_json"

Refused = list[tuple[str, str | None]]
"""Rows that are none: (reason, the row, or nothing where there is none to keep)."""


def format_of(path: str) -> str:
    """csv, tsv, jsonl or parquet, by the name; raises SourceError."""
    name = text.bare_name(path)
    for suffix, kind in _FORMATS.items():
        if name.endswith(suffix):
            return kind
    raise SourceError(
        f"source.path: the format of {path} is unknown",
        todo="name it .csv, .tsv, .jsonl or .parquet, each perhaps with .gz",
    )


def find_schema(splits: list[Split]) -> pa.Schema:
    """The columns of all files in the order in which they are met, with types that hold all values."""
    evidence = types.Evidence()
    for split in splits:
        kind = format_of(split.path)
        if kind == "parquet":
            with text.told(split.path), text.open_text(split.path) as file:
                for field in _parquet(file, split.path).schema_arrow:
                    evidence.see(field.name, types.of_arrow(field.type))
            continue
        for batch in read(split):
            if kind == "jsonl":
                for row in _objects(batch.column(JSON), []):
                    for name, value in row.items():
                        evidence.see(name, types.of_value(value))
            else:
                evidence.see_texts(batch, [name for name in batch.schema.names if name != BAD])
    return evidence.schema()


def read(split: Split) -> Iterator[pa.RecordBatch]:
    """The split's raw rows; at least one batch."""
    kind = format_of(split.path)
    if kind == "jsonl":
        yield from (batch.rename_columns([JSON]) for batch in text.read_lines(split))
    elif kind == "parquet":
        yield from _read_parquet(split.path)
    else:
        yield from _read_delimited(split.path, _DELIMITERS[kind])


def typed(batch: pa.RecordBatch, columns: pa.Schema) -> tuple[pa.RecordBatch, Refused]:
    """Raw rows with the columns and types of the whole table, and those that are no rows."""
    refused: Refused = []
    if batch.schema.names == [JSON]:
        rows = list(_objects(batch.column(JSON), refused))
        arrays = [types.from_values([row.get(f.name) for row in rows], f.type) for f in columns]
        return pa.record_batch(arrays, schema=columns), refused
    convert: Any = types.from_arrow
    if BAD in batch.schema.names:
        convert = types.from_texts
        bad = batch.column(BAD)
        refused += [("not a row", line) for line in bad.drop_null().to_pylist()]
        batch = batch.filter(pc.is_null(bad)) if refused else batch
    arrays = [
        convert(batch.column(f.name), f.type)
        if f.name in batch.schema.names
        else pa.nulls(len(batch), f.type)
        for f in columns
    ]
    return pa.record_batch(arrays, schema=columns), refused


def _objects(lines: pa.Array, refused: Refused) -> Iterator[dict[str, Any]]:
    """The JSON objects on lines; an empty line is no row and no error."""
    decode = msgspec.json.Decoder().decode
    for line in lines.to_pylist():
        if not line.strip():
            refused.append(("an empty line", None))
            continue
        try:
            row = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            row = _second_try(line)
        if isinstance(row, dict):
            yield row
        else:
            told = line.decode("utf-8", "replace").rstrip("\r\n")
            refused.append(("not JSON" if row is None else "not a JSON object", told))


def _second_try(line: bytes) -> Any:
    """What the standard library takes beyond msgspec (half of a surrogate pair; NaN, as null)."""
    try:
        row = json.loads(line, parse_constant=lambda _: None)
        return msgspec.json.decode(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None


def _read_delimited(path: str, delimiter: str) -> Iterator[pa.RecordBatch]:
    with text.open_text(path) as file:
        names = delimited.header(file, path, delimiter)
    empty = True
    if names:
        with text.open_text(path) as file:
            quoted = delimited.is_quoted(file, delimiter)
        with text.open_text(path) as file:
            for batch in delimited.rows(file, path, names, delimiter, columns=names, skip=1, quoted=quoted):
                empty = False
                yield batch
    if empty:
        nothing = [pa.array([], pa.string()) for _ in [*names, BAD]]
        yield pa.record_batch(nothing, names=[*names, BAD])


def _read_parquet(path: str) -> Iterator[pa.RecordBatch]:
    with text.told(path), text.open_text(path) as file:
        opened = _parquet(file, path)
        try:
            yield from opened.iter_batches(batch_size=_BATCH_ROWS)
        except pa.ArrowInvalid as error:
            raise SourceError(f"{path} is damaged: {error}", todo="fetch it again") from None
        if not opened.metadata.num_rows:
            nothing = [pa.array([], field.type) for field in opened.schema_arrow]
            yield pa.record_batch(nothing, schema=opened.schema_arrow)


def _parquet(file: Any, path: str) -> pq.ParquetFile:
    try:
        if text.is_gzip(path):
            return pq.ParquetFile(pa.BufferReader(file.read()))
        return pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} is no Parquet file: {error}", todo="fetch it again") from None
