"""Open Library's dumps (https://openlibrary.org/developers/dumps): editions, works and authors as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from findling import schema
from findling.config import Options, convert
from findling.errors import ConfigError
from findling.schema import Drop
from findling.sources import openlibrary_lines as dump
from findling.sources import openlibrary_tables as tables
from findling.sources import text
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Split

if TYPE_CHECKING:
    from findling.filters import Where

COVER_URL = "https://covers.openlibrary.org/b/id/{id}-M.jpg?default=false"
_FROM_WORK = frozenset({"description", "subjects", "first_year", "fiction", "juvenile"})


class OpenLibraryOptions(Options, frozen=True):
    """The keys of [source]: paths or globs of .txt and .txt.gz dumps; `{id}` in `cover_url` is the cover."""

    editions: str | list[str]
    works: str | list[str] | None = None
    authors: str | list[str] | None = None
    cover_url: str = COVER_URL


@dataclass(frozen=True)
class OpenLibrary:
    """Editions as documents, with subjects and first publication of the works and names of the authors."""

    options: OpenLibraryOptions
    base: str = ""

    @classmethod
    def from_options(cls, options: dict[str, Any], base: str) -> OpenLibrary:
        """The source that [source] describes, paths being relative to `base`; raises ConfigError."""
        read = convert(options, OpenLibraryOptions, at="source")
        if read.cover_url and "{id}" not in read.cover_url:
            raise ConfigError(f"source.cover_url is {read.cover_url!r}", todo="write {id} where the id goes")
        return cls(read, base)

    @property
    def columns(self) -> pa.Schema:
        """The columns of the documents."""
        return tables.COLUMNS

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that are read, the counted one first."""
        given = {"works": self.options.works, "authors": self.options.authors}
        return ("editions", *(name for name, paths in given.items() if paths is not None))

    def early(self) -> frozenset[str]:
        """Columns that are final once editions are parsed, before works and authors are joined."""
        later = set(_FROM_WORK) if "works" in self.tables else set()
        if "authors" in self.tables:
            later.add("authors")
        return frozenset(tables.COLUMNS.names) - later

    def splits(self) -> list[Split]:
        """Byte ranges of plain files, whole gzip files."""
        splits: list[Split] = []
        for table in self.tables:
            paths = text.find_files(getattr(self.options, table), self.base, table)
            splits += text.line_splits(table, paths)
        return splits

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The dump's lines in one binary column `line`."""
        return text.read_lines(split)

    def parser(self, table: str, where: Where, columns: frozenset[str] | None = None) -> BatchFunction:
        """What turns lines into columns; see `findling.sources.base.Source`."""
        present = datetime.now(tz=UTC).year
        if table == DOCUMENTS:
            return tables.documents
        if table == "works":
            return self._works(present)
        if table == "authors":
            return _authors
        return self._editions(where, present, self._of_edition(columns))

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:
        """Editions with what their works and authors add; one row for each id where authors are joined."""
        return _assemble(engine, tables)

    def _of_edition(self, columns: frozenset[str] | None) -> list[str]:
        """What has to be taken from an edition so that the documents have these columns."""
        wanted = frozenset(tables.COLUMNS.names) if columns is None else columns | {"id"}
        if "works" in self.tables:
            wanted |= {"work_id"}
            if wanted & {"subjects", "fiction", "juvenile"}:  # told by both records' headings together
                wanted |= {"subjects", "genres"}
        if "authors" in self.tables:
            wanted |= {tables.ORDER, tables.AUTHOR_KEYS}
        return [name for name in tables.EDITIONS.names if name in wanted]

    def _editions(self, where: Where, present: int, columns: list[str]) -> BatchFunction:
        hints = dump.hints(where, self.early(), present)
        checks = dump.checks(where, self.early())
        row = tables.edition_rows(self.options.cover_url, present, columns, checks)
        edition = tables.edition_of(columns, checks)
        by_author = "authors" in self.tables

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            drops: list[Drop] = []
            sifted = dump.sifted(batch.column("line"), tables.kinds("edition"), hints, drops)
            parsed, refused = tables.parse_lines(sifted, edition, row, tables.EDITIONS, columns)
            drops += refused
            if by_author:
                # Rows are multiplied here, so what the filter drops has to be counted before.
                parsed, filtered = where.apply(parsed)
                drops += filtered
                parsed = tables.one_row_per_author(parsed)
            return schema.with_drops(parsed, drops)

        return parse

    def _works(self, present: int) -> BatchFunction:
        row = tables.work_rows(present)
        by_author = "authors" in self.tables

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            drops: list[Drop] = []
            places = tables.cut_all(batch.column("line"), "work", drops)
            parsed, refused = tables.parse_lines(places, tables.Work, row, tables.WORKS)
            parsed = tables.one_row_per_author(parsed) if by_author else parsed
            return schema.with_drops(parsed, [*drops, *refused])

        return parse


def _authors(batch: pa.RecordBatch) -> pa.RecordBatch:
    drops: list[Drop] = []
    places = tables.cut_all(batch.column("line"), "author", drops)
    parsed, refused = tables.parse_lines(places, tables.Author, tables.author_row, tables.AUTHORS)
    return schema.with_drops(parsed, [*drops, *refused])


def _assemble(engine: Relations, given: Mapping[str, Dataset]) -> Dataset:
    """Only what the kept editions name is joined and grouped, so the cost is theirs, not the dump's."""
    editions = given["editions"]
    if "authors" in given:
        editions = _with_names(engine, editions, given["authors"])
        firsts = {name: ("first", name) for name in tables.COLUMNS.names if name != "id"}
        merged = {tables.NAMES: ("list", tables.AUTHOR_NAME), tables.ROWS: ("sum", tables.ROWS)}
        editions = engine.group(editions, ["id"], {**firsts, **merged})
    if "works" in given:
        wanted = engine.group(editions, ["work_id"], {})
        works = engine.join(wanted, given["works"], on=("work_id", tables.WORK_KEY))
        values = {name: ("first", name) for name in tables.OF_WORK.names}
        if "authors" in given:
            works = _with_names(engine, works, given["authors"])
            values[tables.WORK_NAMES] = ("list", tables.AUTHOR_NAME)
        works = engine.group(works, ["work_id"], values)
        editions = engine.join(editions, works, on=("work_id", "work_id"))
    return editions


def _with_names(engine: Relations, records: Dataset, authors: Dataset) -> Dataset:
    """Rows of one author each with the author's name; the newest where an author stands there twice."""
    wanted = engine.group(records, [tables.AUTHOR], {})
    found = engine.join(wanted, authors, on=(tables.AUTHOR, tables.AUTHOR_KEY))
    once = engine.group(found, [tables.AUTHOR], {tables.AUTHOR_NAME: ("first", tables.AUTHOR_NAME)})
    return engine.join(records, once, on=(tables.AUTHOR, tables.AUTHOR))
