"""Delimited text (csv, tsv) as columns of text, with the lines that are no rows beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from findling.errors import SourceError

BAD = "_bad"
BLOCK_BYTES = 8 << 20
_HEADER_BYTES = 1 << 20


def header(file: BinaryIO, path: str, delimiter: str) -> list[str]:
    """The names in the first row, made distinct; none in an empty file."""
    beginning = b""
    while len(beginning) < _HEADER_BYTES and (more := file.read(_HEADER_BYTES - len(beginning))):
        beginning += more
    told = beginning.decode("utf-8-sig", "replace")
    if not told.strip():
        return []
    try:
        row = next(csv.reader(io.StringIO(told, newline=""), delimiter=delimiter))
    except (StopIteration, csv.Error) as error:
        raise SourceError(f"{path} has no header: {error}", todo="is it a table?") from None
    names: list[str] = []
    for place, name in enumerate(row, 1):
        plain = " ".join(name.split()) or f"column_{place}"
        unique, again = plain, 2
        while unique in names:
            unique, again = f"{plain}_{again}", again + 1
        names.append(unique)
    return names


def is_quoted(file: BinaryIO, delimiter: str) -> bool:
    """Whether fields may stand in quotes: in any csv, and in a tsv whose first name does."""
    return delimiter == "," or file.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b'"')


def rows(
    file: Any,
    path: str,
    names: Sequence[str],
    delimiter: str,
    *,
    columns: Sequence[str],
    skip: int = 0,
    quoted: bool = True,
) -> Iterator[pa.RecordBatch]:
    """The `columns` among `names` as text, and in `_bad` what has another number of fields.

    An empty field is null. `skip` rows (the header) are left out at the beginning; a row may span lines if
    values are `quoted`.
    """
    bad: list[str] = []

    def refuse(row: Any) -> str:
        bad.append(row.text or "")
        return "skip"

    try:
        reader = arrow_csv.open_csv(
            file,
            arrow_csv.ReadOptions(
                column_names=list(names),
                skip_rows_after_names=skip,
                block_size=BLOCK_BYTES,
                use_threads=False,
            ),
            arrow_csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=refuse,
            ),
            arrow_csv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        for batch in reader:
            yield with_bad(batch if quoted else _unquoted(batch), bad)
            bad.clear()
    except pa.ArrowInvalid as error:
        if "Empty CSV file" not in str(error):
            raise SourceError(f"{path} cannot be read as a table: {error}", todo="check the file") from None
    if bad:
        nothing = pa.record_batch([pa.array([], pa.binary())] * len(columns), names=list(columns))
        yield with_bad(nothing, bad)


def with_bad(batch: pa.RecordBatch, bad: Sequence[str]) -> pa.RecordBatch:
    """Columns of bytes as text, and one row more for each line that is no row."""
    more = len(bad)
    columns = {
        name: pa.concat_arrays([as_text(batch.column(name)), pa.nulls(more, pa.string())])
        for name in batch.schema.names
    }
    columns[BAD] = pa.concat_arrays([pa.nulls(batch.num_rows, pa.string()), pa.array(bad, pa.string())])
    return pa.record_batch(columns)


def as_text(column: pa.Array) -> pa.Array:
    """Bytes as text; what is not UTF-8 is replaced by U+FFFD."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        texts = (None if value is None else value.decode("utf-8", "replace") for value in column.to_pylist())
        return pa.array(texts, pa.string())


def _unquoted(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Values without the quotes that some writers put around a value that holds quotes itself.

    A value in quotes of which those inside are all doubled (and there are some) was quoted by a writer; a
    value such as "Heroes" has its own quotes.
    """
    columns = {}
    for name in batch.schema.names:
        column = as_text(batch.column(name))
        quoted = pc.fill_null(pc.match_substring_regex(column, r'^"(?:[^"]|"")*""(?:[^"]|"")*"$'), False)
        if pc.any(quoted).as_py():
            inner = pc.utf8_slice_codeunits(column.filter(quoted), 1, -1)
            column = pc.replace_with_mask(column, quoted, pc.replace_substring(inner, '""', '"'))
        columns[name] = column
    return pa.record_batch(columns)
