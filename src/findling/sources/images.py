"""Pictures as documents: a folder, a glob, zip and tar archives, or a table that says where they are.

A document's `image` is a reference that can be resolved anywhere on the machine: an absolute path, a URL, or
`archive.zip!member`. What lies beside a picture under the same name, `.txt` or `.json` (as img2dataset and
webdataset have it), becomes its columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from findling import archives, registry, schema, storage
from findling.config import Options, convert
from findling.errors import ConfigError, SourceError
from findling.schema import BOOKKEEPING, Drop
from findling.sources import images_read as reading
from findling.sources import table_types as types
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Source, Split

if TYPE_CHECKING:
    from findling.filters import Where

PICTURES = "pictures"
ID, IMAGE, TITLE, CAPTION = "id", "image", "title", "caption"
_OWN = pa.schema([(ID, pa.string()), (IMAGE, pa.string()), (TITLE, pa.string())])


class ImagesOptions(Options, frozen=True):
    """The keys of [source]: `path` (folder, glob, archive, or a list of them), or `table` and its columns."""

    path: str | list[str] | None = None
    table: str | list[str] | None = None
    image: str = IMAGE
    id: str | None = None


@dataclass(frozen=True)
class Images:
    """Pictures, each a document; where to find them is told, none is opened."""

    options: ImagesOptions
    base: str = ""

    @classmethod
    def from_options(cls, options: dict[str, Any], base: str) -> Source:
        """The source that [source] describes, paths being relative to `base`; raises ConfigError."""
        read = convert(options, ImagesOptions, at="source")
        if (read.path is None) == (read.table is None):
            raise ConfigError(
                "source needs exactly one of `path` and `table`",
                todo='write path = "photos" or table = "photos.tsv"',
            )
        if read.table is not None:
            given = {"path": read.table, **({"id": read.id} if read.id else {})}
            rows = registry.load("source", "table").from_options(given, base)
            return cast(Source, PicturedRows(rows, read, base))
        if read.id is not None or read.image != IMAGE:
            raise ConfigError(
                "source.id and source.image name columns of a table", todo="name it by source.table"
            )
        return cls(read, base)

    def __getstate__(self) -> dict[str, Any]:
        """Lists of files stay here: a worker that is given a split makes those that it needs."""
        return {name: value for name, value in self.__dict__.items() if name != "_places"}

    @cached_property
    def _places(self) -> reading.Places:
        return reading.find_places(self.options.path or "", self.base)

    @cached_property
    def _found(self) -> pa.Schema:
        """The columns that the sidecars have: all are read for it once, and workers are given the result."""
        found = types.Evidence()
        for split in self._places.splits(PICTURES, with_sidecars=True):
            for batch in self._places.read(split):
                for told in batch.column(reading.FACTS).drop_null().to_pylist():
                    for name, value in (reading.facts(told) or {}).items():
                        found.see(name, types.of_value(value))
                if batch.column(reading.CAPTION).null_count < len(batch):
                    found.see(CAPTION, types.TEXT)
        reserved = sorted(set(found.types) & set(BOOKKEEPING.names))
        if reserved:
            raise SourceError(f"the key {reserved[0]!r} of a .json file is reserved", todo="rename it")
        return found.schema()

    @property
    def columns(self) -> pa.Schema:
        """`id`, `image`, `title`, then what the sidecars tell; their own `id` is called `id_`, and so on."""
        return pa.schema([*_OWN, *((_renamed(field.name), field.type) for field in self._found)])

    def roots(self) -> list[str]:
        """The folders below which all references lie."""
        return self._places.roots()

    def stamp(self) -> str:
        """A text that changes when a picture or a sidecar comes, goes or changes."""
        return self._places.stamp()

    def early(self) -> frozenset[str]:
        """All: nothing is joined."""
        return frozenset(self.columns.names)

    def splits(self) -> list[Split]:
        """Runs of pictures of one folder or archive; `start` and `length` count pictures, not bytes."""
        return self._places.splits(PICTURES)

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Names, references and the bytes of sidecars; no picture is opened."""
        return self._places.read(split)

    def parser(  # names are cheap to parse
        self,
        table: str,
        where: Where,  # noqa: ARG002 - of the protocol
        columns: frozenset[str] | None = None,
    ) -> BatchFunction:
        """What makes columns of names and sidecars; see `findling.sources.base.Source`."""
        if table == DOCUMENTS:
            return _typed(self.columns)
        found, columns = self._found, self.columns

        def parse(batch: pa.RecordBatch) -> pa.RecordBatch:
            names, references, told = [], [], []
            drops: list[Drop] = []
            for raw in batch.to_pylist():
                name, content = raw[reading.NAME], raw[reading.FACTS]
                facts = {} if content is None else reading.facts(content)
                if not reading.is_picture(name):
                    drops.append(Drop("not a picture by its name", 1, name))
                elif facts is None:
                    drops.append(Drop("not JSON beside the picture", 1, name))
                else:
                    names.append(name)
                    references.append(raw[reading.REFERENCE])
                    caption = raw[reading.CAPTION]
                    told.append(facts if caption is None else {**facts, CAPTION: caption})
            arrays = [
                pa.array([reading.id_of(name) for name in names], pa.string()),
                pa.array(references, pa.string()),
                pa.array([reading.title_of(name) for name in names], pa.string()),
                *(types.from_values([facts.get(f.name) for facts in told], f.type) for f in found),
            ]
            return schema.with_drops(pa.record_batch(arrays, schema=columns), drops)

        return parse

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:  # noqa: ARG002
        """The pictures themselves."""
        return tables[PICTURES]


@dataclass(frozen=True)
class PicturedRows:
    """The rows of a table, one of whose columns says where their pictures are."""

    rows: Source
    options: ImagesOptions
    base: str = ""

    @cached_property
    def _folder(self) -> str:
        """The folder of the table's files, from which relative paths start."""
        folders = {split.path.rpartition("/")[0] for split in self.rows.splits()}
        if len(folders) > 1:
            raise ConfigError(
                f"source.table: its files lie in {len(folders)} folders, and paths in them are relative",
                todo="put them into one folder, or build each by itself",
            )
        return folders.pop() or "."

    @property
    def columns(self) -> pa.Schema:
        """The table's own, with `image` as a reference, and `title` out of it where there is none."""
        theirs, chosen = self.rows.columns, self.options.image
        if chosen not in theirs.names:
            raise ConfigError(
                f"source.image names the column {chosen!r}, which the table does not have",
                todo=f"columns are {', '.join(theirs.names)}",
            )
        if chosen != IMAGE and IMAGE in theirs.names:
            raise ConfigError(
                f"the table has a column {IMAGE!r} beside source.image = {chosen!r}", todo="rename it"
            )
        if not pa.types.is_string(theirs.field(chosen).type):
            raise ConfigError(
                f"source.image names the column {chosen!r}, which holds {theirs.field(chosen).type}",
                todo="name a column of paths or addresses",
            )
        added = [field for field in _OWN if field.name not in theirs.names]
        return pa.schema([*theirs, *added])

    def roots(self) -> list[str]:
        """The folder below which all paths must lie."""
        return [self._folder]

    def stamp(self) -> str:
        """Nothing: the versions of the table's files tell all."""
        return ""

    def early(self) -> frozenset[str]:
        """All: nothing is joined."""
        return frozenset(self.columns.names)

    def splits(self) -> list[Split]:
        """The table's."""
        return self.rows.splits()

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The table's raw rows."""
        return self.rows.read(split)

    def parser(
        self,
        table: str,
        where: Where,
        columns: frozenset[str] | None = None,  # noqa: ARG002 - of the protocol
    ) -> BatchFunction:
        """The table's parser, and references in place of what its column says."""
        final = self.columns
        if table == DOCUMENTS:
            return _typed(final)
        parse, folder, chosen = self.rows.parser(table, where), self._folder, self.options.image
        untitled = TITLE not in self.rows.columns.names

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            rows, drops = schema.without_drops(parse(batch))
            said = [(value or "").strip() for value in rows.column(chosen).to_pylist()]
            made = {name: rows.column(name) for name in rows.schema.names}
            made[IMAGE] = pa.array([_absolute(value, folder) for value in said], pa.string())
            if untitled:
                made[TITLE] = pa.array([reading.title_of(value) or None for value in said], pa.string())
            return schema.with_drops(pa.record_batch([made[n] for n in final.names], schema=final), drops)

        return run

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:
        """The rows themselves."""
        return self.rows.assemble(engine, tables)


def _absolute(value: str, folder: str) -> str | None:
    if not value or "://" in value:
        return value or None
    member = archives.parts_of(value)
    path = storage.join(folder, member[0] if member else value)
    return archives.refer(path, member[1]) if member else path


def _renamed(name: str) -> str:
    return f"{name}_" if name in _OWN.names else name


def _typed(columns: pa.Schema) -> BatchFunction:
    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([batch.column(f.name).cast(f.type) for f in columns], schema=columns)

    return run
