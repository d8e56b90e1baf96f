"""Open Library's records as columns: editions, works and authors, and documents made of all three."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct

from findling import schema
from findling.schema import Drop
from findling.sources import openlibrary_fields as fields
from findling.sources.openlibrary_lines import CHECKED, Check, Cut, blocks, cut, excerpt

TEXTS = pa.list_(pa.string())
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("subtitle", pa.string()),
        ("authors", TEXTS),
        ("description", pa.string()),
        ("subjects", TEXTS),
        ("genres", TEXTS),
        ("language", pa.string()),
        ("languages", TEXTS),
        ("pages", pa.int32()),
        ("year", pa.int32()),
        ("first_year", pa.int32()),
        ("cover_id", pa.int64()),
        ("cover_url", pa.string()),
        ("isbn", TEXTS),
        ("publishers", TEXTS),
        ("work_id", pa.string()),
        ("fiction", pa.bool_()),
        ("juvenile", pa.bool_()),
    ]
)
ORDER, AUTHOR, ROWS, NAMES, WORK_NAMES = "_order", "_author", "_rows", "_names", "_work_names"
"""Beside the columns: which of equal rows comes first, an author's key, rows merged, authors' names."""

AUTHOR_KEYS = "_author_keys"
EDITIONS = pa.schema([*COLUMNS, (ORDER, pa.int64()), (AUTHOR_KEYS, TEXTS)])
WORK_KEY, AUTHOR_KEY, AUTHOR_NAME = "_work_key", "_author_key", "_name"
OF_WORK = pa.schema(
    [("_work_subjects", TEXTS), ("_work_description", pa.string()), ("_work_year", pa.int32())]
)
WORKS = pa.schema([(WORK_KEY, pa.string()), *OF_WORK, (ORDER, pa.int64()), (AUTHOR_KEYS, TEXTS)])
AUTHORS = pa.schema([(AUTHOR_KEY, pa.string()), (AUTHOR_NAME, pa.string()), (ORDER, pa.int64())])
_ROWS_AT_ONCE = 1024
_PLACES = 1000  # authors of one record that are told apart in their order


class Edition(Struct, gc=False):
    """The fields of an edition that are read, as they stand there; all others are skipped unparsed."""

    title: Any = None
    title_prefix: Any = None
    full_title: Any = None
    subtitle: Any = None
    authors: Any = None
    by_statement: Any = None
    description: Any = None
    subjects: Any = None
    genres: Any = None
    languages: Any = None
    number_of_pages: Any = None
    pagination: Any = None
    publish_date: Any = None
    covers: Any = None
    isbn_10: Any = None
    isbn_13: Any = None
    publishers: Any = None
    works: Any = None
    revision: Any = None


class Work(Struct, gc=False):
    """The fields of a work that are read."""

    authors: Any = None
    description: Any = None
    subjects: Any = None
    first_publish_date: Any = None
    revision: Any = None


class Author(Struct, gc=False):
    """The fields of an author that are read."""

    name: Any = None
    personal_name: Any = None
    revision: Any = None


Row = tuple[Any, ...]
Result = Row | str | Check
"""A record as a row, or the reason why it is none, or the part of the filter that it fails."""


def parse_lines(
    cuts: Iterable[Cut],
    kind: type[Any],
    row: Callable[[str, Any], Result],
    columns: pa.Schema,
    given: Sequence[str] | None = None,
) -> tuple[pa.RecordBatch, list[Drop]]:
    """Each line's JSON as a row of `columns`; or the reason (a text) why it gives none, or what it fails.

    Rows have the columns `given`, by default all; the others are null.
    """
    given = columns.names if given is None else given
    decode = msgspec.json.Decoder(kind).decode
    drops: list[Drop] = []
    failed: dict[str, int] = {}
    rows: list[Row] = []
    batches = []
    for lines in cuts:
        octets = memoryview(lines.octets)  # type: ignore[arg-type]  # arrays are buffers since Python 3.12
        places = (lines.start, lines.key, lines.key_end, lines.json, lines.end)
        for first in range(0, len(lines), _ROWS_AT_ONCE):
            some = (place[first : first + _ROWS_AT_ONCE].tolist() for place in places)
            with _without_collection():
                for begin, key, key_end, start, end in zip(*some, strict=True):
                    try:
                        record = decode(octets[start:end])
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        record = _second_try(bytes(octets[start:end]), decode)
                    name = str(octets[key:key_end], "utf-8", "replace").rpartition("/")[2].strip()
                    found = "not JSON" if record is None else row(name, record) if name else "no key"
                    if type(found) is tuple:
                        rows.append(found)
                    elif type(found) is Check:
                        failed[found.reason] = failed.get(found.reason, 0) + 1
                    else:
                        drops.append(Drop(str(found), 1, excerpt(lines.octets, begin, end)))
            if len(rows) >= _ROWS_AT_ONCE:
                # They become columns while they are still in the processor's cache.
                batches.append(_batch(rows, columns, given))
                rows = []
    drops += (Drop(reason, count) for reason, count in failed.items())
    if rows or not batches:
        batches.append(_batch(rows, columns, given))
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches), drops


class Told(NamedTuple):
    """What several columns of an edition are made from."""

    title: str
    languages: list[str]
    pages: int | None
    year: int | None
    subjects: list[str]
    genres: list[str]
    fiction: bool
    juvenile: bool


_READ_FOR: dict[str, tuple[str, ...]] = {
    "subtitle": ("subtitle",),
    "authors": ("by_statement",),
    "description": ("description",),
    "subjects": ("subjects", "genres"),
    "genres": ("subjects", "genres"),
    "fiction": ("subjects", "genres"),
    "juvenile": ("subjects", "genres"),
    "cover_id": ("covers",),
    "cover_url": ("covers",),
    "isbn": ("isbn_10", "isbn_13"),
    "publishers": ("publishers",),
    "work_id": ("works",),
    ORDER: ("revision",),
    AUTHOR_KEYS: ("authors",),
}
_ALWAYS_READ = (
    "title", "title_prefix", "full_title", "languages", "number_of_pages", "pagination", "publish_date",
)  # fmt: skip


def edition_of(columns: Sequence[str], checks: Sequence[Check] = ()) -> type[Any]:
    """`Edition` with only what these columns and checks are made from: the rest is skipped unparsed."""
    asked = [*columns, *(check.column for check in checks)]
    read = {*_ALWAYS_READ, *(name for column in asked for name in _READ_FOR.get(column, ()))}
    fields_read = [(name, Any, None) for name in Edition.__struct_fields__ if name in read]
    return msgspec.defstruct("EditionRead", fields_read, gc=False)


def edition_rows(
    cover_url: str, present: int, columns: Sequence[str], checks: Sequence[Check] = ()
) -> Callable[[str, Any], Result]:
    """How an edition becomes a row of some columns, unless it fails a check; the cheap ones come first."""
    tests = sorted(((CHECKED.index(c.column), c.passes, c.value, c) for c in checks), key=itemgetter(0))
    cheap = [test for test in tests if CHECKED[test[0]] in {"year", "pages", "language"}]
    by_heading = tests[len(cheap) :]
    wants_headings = bool(by_heading or {"subjects", "genres", "fiction", "juvenile"} & {*columns})
    getters = [_edition_columns(cover_url)[name] for name in columns]

    def row(key: str, edition: Edition) -> Result:
        # Most fields are absent from most records: they are not worth a call.
        title = fields.title(edition.title, edition.title_prefix, edition.full_title)
        if title is None:
            return "no title"
        year = fields.year(edition.publish_date, present)
        pages = fields.pages(edition.number_of_pages, edition.pagination)
        languages = fields.languages(edition.languages)
        decided: tuple[Any, ...] = (year, pages, languages[0] if languages else None)  # as CHECKED
        for place, passes, value, check in cheap:
            if decided[place] is None or not passes(decided[place], value):
                return check
        subjects: list[str] = []
        genres: list[str] = []
        fiction = juvenile = False
        if wants_headings:
            subjects, fiction, juvenile = fields.headings(edition.subjects)
            if edition.genres:
                genres, also_fiction, also_juvenile = fields.headings(edition.genres)
                fiction, juvenile = fiction or also_fiction, juvenile or also_juvenile
            decided += (fiction, juvenile)
            for place, passes, value, check in by_heading:
                if not passes(decided[place], value):
                    return check
        told = Told(title, languages, pages, year, subjects, genres, fiction, juvenile)
        return tuple([get(key, edition, told) for get in getters])

    return row


def _edition_columns(cover_url: str) -> dict[str, Callable[[str, Edition, Told], Any]]:
    """How each column of an edition is made."""

    def url(_: str, edition: Edition, __: Told) -> str | None:
        cover = fields.cover(edition.covers)
        return cover_url.replace("{id}", str(cover)) if cover else None

    return {
        "id": lambda key, _, __: key,
        "title": lambda _, __, told: told.title,
        "subtitle": lambda _, edition, __: fields.text(edition.subtitle) if edition.subtitle else None,
        "authors": lambda _, edition, __: (
            fields.by_statement(edition.by_statement) if edition.by_statement else []
        ),
        "description": lambda _, edition, __: (
            fields.prose(edition.description) if edition.description else None
        ),
        "subjects": lambda _, __, told: told.subjects,
        "genres": lambda _, __, told: told.genres,
        "language": lambda _, __, told: told.languages[0] if told.languages else None,
        "languages": lambda _, __, told: told.languages,
        "pages": lambda _, __, told: told.pages,
        "year": lambda _, __, told: told.year,
        "first_year": lambda _, __, ___: None,
        "cover_id": lambda _, edition, __: fields.cover(edition.covers),
        "cover_url": url,
        "isbn": lambda _, edition, __: (
            fields.isbns(edition.isbn_10, edition.isbn_13) if edition.isbn_10 or edition.isbn_13 else []
        ),
        "publishers": lambda _, edition, __: fields.texts(edition.publishers) if edition.publishers else [],
        "work_id": lambda _, edition, __: next(iter(fields.keys(edition.works)), None),
        "fiction": lambda _, __, told: told.fiction,
        "juvenile": lambda _, __, told: told.juvenile,
        ORDER: lambda _, edition, __: _newest_first(edition.revision),
        AUTHOR_KEYS: lambda _, edition, __: fields.keys(edition.authors) if edition.authors else [],
    }


def work_rows(present: int) -> Callable[[str, Any], Result]:
    """How a work becomes a row."""

    def row(key: str, work: Work) -> Result:
        return (
            key,
            fields.subjects(work.subjects),
            fields.prose(work.description),
            fields.year(work.first_publish_date, present),
            _newest_first(work.revision),
            fields.keys(work.authors),
        )

    return row


def author_row(key: str, author: Author) -> Result:
    """How an author becomes a row."""
    name = fields.text(author.name) or fields.text(author.personal_name)
    return "no name" if name is None else (key, name, _newest_first(author.revision))


def one_row_per_author(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Each row as often as it names authors, at least once: `_author` is one key, `_order` their order.

    Relational engines join values, not lists. `_rows` is 1 in the first row of each and 0 in the others, so
    that its sum over rows merged again is the number of records.
    """
    lists = batch.column(AUTHOR_KEYS).to_pylist()
    counts = np.array([max(len(names or ()), 1) for names in lists], np.int64)
    parents = np.repeat(np.arange(len(lists)), counts)
    places = np.arange(len(parents)) - np.repeat(np.cumsum(counts) - counts, counts)
    authors = [name for names in lists for name in (names or [None])]
    repeated = batch.take(pa.array(parents))
    order = repeated.column(ORDER).to_numpy(zero_copy_only=False) + np.minimum(places, _PLACES - 1)
    plain = [name for name in batch.schema.names if name not in {AUTHOR_KEYS, ORDER}]
    columns = {name: repeated.column(name) for name in plain}
    columns[ORDER] = pa.array(order, pa.int64())
    columns[AUTHOR] = pa.array(authors, pa.string())
    columns[ROWS] = pa.array((places == 0).astype(np.int64))
    return pa.record_batch(columns)


def documents(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The final columns, with what the work and the authors add; records merged by their id are told."""
    present = set(batch.schema.names)
    columns = {name: _column(batch, name) for name in COLUMNS.names}
    if "_work_subjects" in present:
        columns |= _with_work(batch, columns)
    if NAMES in present:
        choices = [batch.column(name).to_pylist() for name in (NAMES, WORK_NAMES) if name in present]
        columns["authors"] = pa.array(_authors([*choices, columns["authors"].to_pylist()]), TEXTS)
    made = pa.record_batch([columns[name] for name in COLUMNS.names], schema=COLUMNS)
    merged = int(np.sum(batch.column(ROWS).to_numpy(zero_copy_only=False) - 1)) if ROWS in present else 0
    return schema.with_drops(made, [Drop("the same id again", merged)] if merged > 0 else [])


def kinds(kind: str) -> bytes:
    """The type in a dump line's first column."""
    return f"/type/{kind}".encode()


def cut_all(lines: pa.Array, kind: str, drops: list[Drop]) -> Iterator[Cut]:
    """The lines of one type, block by block; those that are no dump lines are told in `drops`.

    Lines of other types are another table's.
    """
    for block in blocks(lines):
        places, is_kind, told = cut(block, kinds(kind))
        drops += (drop for drop in told if drop.detail is not None)
        yield places.take(is_kind)


def _with_work(batch: pa.RecordBatch, columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    of_work = zip(*(batch.column(name).to_pylist() for name in OF_WORK.names), strict=True)
    own = zip(
        columns["subjects"].to_pylist(),
        columns["description"].to_pylist(),
        columns["genres"].to_pylist(),
        strict=True,
    )
    rows: list[Row] = []
    for (subjects, description, genres), (more, other, first_year) in zip(own, of_work, strict=True):
        together, fiction, juvenile = fields.headings(subjects, more)
        _, also_fiction, also_juvenile = fields.headings(genres)
        told = (fiction or also_fiction, juvenile or also_juvenile)
        rows.append((together, description or other, first_year, *told))
    names = ["subjects", "description", "first_year", "fiction", "juvenile"]
    made = _batch(rows, pa.schema([COLUMNS.field(name) for name in names]))
    return dict(zip(names, made.columns, strict=True))


def _authors(lists: list[list[list[str | None] | None]]) -> Iterator[list[str]]:
    """The edition's authors, or else the work's, or else the title page's, each once."""
    for choices in zip(*lists, strict=True):
        told = ([name for name in names or [] if name is not None] for names in choices)
        yield list(dict.fromkeys(next((names for names in told if names), [])))


def _newest_first(revision: Any) -> int:
    number = revision if isinstance(revision, int) and 0 <= revision < 2**40 else 0
    return -number * _PLACES


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection meanwhile: rows hold no cycles, and looking for some takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _batch(rows: list[Row], columns: pa.Schema, given: Sequence[str] | None = None) -> pa.RecordBatch:
    names = columns.names if given is None else given
    by_column: Iterable[tuple[Any, ...]] = zip(*rows, strict=True) if rows else ((),) * len(names)
    made = {n: pa.array(v, columns.field(n).type) for n, v in zip(names, by_column, strict=True)}
    arrays = [
        made[field.name] if field.name in made else pa.nulls(len(rows), field.type) for field in columns
    ]
    return pa.record_batch(arrays, schema=columns)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column as typed at first: relational engines name the items of lists in their own way."""
    return batch.column(name).cast(COLUMNS.field(name).type)


def _second_try(line: bytes, decode: Callable[[bytes], Any]) -> Any:
    """What msgspec refuses and the standard library takes, such as half of a surrogate pair."""
    try:
        record = json.loads(line, parse_constant=lambda _: None)
        if not isinstance(record, dict):
            return None
        return decode(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
