"""Wikipedia's titles: page-view tables and the list of all titles, as distinct titles worth searching.

A page-view table has the columns year, month, day, wikimedia_project, language, title, views (csv, tsv or
parquet); the list (https://dumps.wikimedia.org, `all-titles-in-ns0`) has one title per line. Both write
spaces as underscores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from findling import schema
from findling.config import Options, convert
from findling.schema import Drop
from findling.sources import text, wikipedia_read
from findling.sources.base import DOCUMENTS, BatchFunction, Dataset, Relations, Split

if TYPE_CHECKING:
    from findling.filters import Where

COLUMNS = pa.schema([("id", pa.string()), ("title", pa.string()), ("views", pa.int64())])
TITLES = "titles"
_MOST_VIEWS = 10**18 - 1
_DIGITS = 18
_PARSED = pa.schema(
    [("_fold", pa.string()), ("_best", pa.string()), ("views", pa.int64()), ("_rows", pa.int64())]
)
Natural = Annotated[int, Meta(ge=0)]


class WikipediaOptions(Options, frozen=True):
    """The keys of [source].

    `min_words` counts what spaces separate, a title has under `max_length` characters, and `min_views` are
    views over all rows of a title (a list of titles tells none, and all pass).
    """

    path: str | list[str]
    min_words: Natural = 5
    max_length: Annotated[int, Meta(ge=1)] = 500
    min_views: Natural = 3
    language: str = "en"


@dataclass(frozen=True)
class Wikipedia:
    """Titles as documents, distinct ignoring case, with their views summed."""

    options: WikipediaOptions
    base: str = ""

    @classmethod
    def from_options(cls, options: dict[str, Any], base: str) -> Wikipedia:
        """The source that [source] describes, paths being relative to `base`; raises ConfigError."""
        return cls(convert(options, WikipediaOptions, at="source"), base)

    @property
    def columns(self) -> pa.Schema:
        """The columns of the documents."""
        return COLUMNS

    def early(self) -> frozenset[str]:
        """None: a title's spelling and views are known only once all its rows are together."""
        return frozenset()

    def splits(self) -> list[Split]:
        """Byte ranges of plain text, whole gzip and Parquet files."""
        splits: list[Split] = []
        for path in text.find_files(self.options.path, self.base, "path"):
            cut = text.whole_splits if wikipedia_read.is_parquet(path) else text.line_splits
            splits += cut(TITLES, [path], first=len(splits))
        return splits

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """Columns `language`, `title`, `views` as they stand there; `_bad` is a line that is no row."""
        return wikipedia_read.read(split)

    def parser(  # nothing is decided early, and every column is cheap
        self,
        table: str,
        where: Where,  # noqa: ARG002 - of the protocol
        columns: frozenset[str] | None = None,  # noqa: ARG002 - of the protocol
    ) -> BatchFunction:
        """What cleans and sifts titles; see `findling.sources.base.Source`."""
        return self._documents if table == DOCUMENTS else self._titles

    def assemble(self, engine: Relations, tables: Mapping[str, Dataset]) -> Dataset:
        """One row for each title, whatever its case."""
        aggregates = {"_best": ("min", "_best"), "views": ("sum", "views"), "_rows": ("sum", "_rows")}
        return engine.group(tables[TITLES], ["_fold"], aggregates)

    def _titles(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        options = self.options
        bad = batch.column("_bad").drop_null().to_pylist()
        drops = [Drop("not a row", 1, line[:2000]) for line in bad]
        rows = batch.filter(batch.column("_bad").is_null())
        language = pc.utf8_lower(pc.utf8_trim_whitespace(rows.column("language")))
        spoken = pc.fill_null(pc.equal(language, options.language.lower()), True)
        rows = _keep(rows, spoken, "another language", drops)
        views = pc.utf8_trim_whitespace(rows.column("views"))
        counted = pc.match_substring_regex(views, rf"^\d{{1,{_DIGITS}}}$")
        drops += [
            Drop("views is no number", 1, f"{row['title']}: {row['views']}"[:2000])
            for row in rows.filter(pc.invert(pc.fill_null(counted, True))).to_pylist()
        ]
        rows = rows.filter(pc.fill_null(counted, True))
        spaced = pc.replace_substring(rows.column("title"), "_", " ")
        title = pc.utf8_trim_whitespace(pc.replace_substring_regex(spaced, r"[\s\pZ]+", " "))
        rows = pa.record_batch({"title": title, "views": rows.column("views")})
        rows = _keep(rows, pc.greater(pc.binary_length(title), 0), "no title", drops)
        words = pc.add(pc.count_substring(rows.column("title"), " "), 1)
        rows = _keep(
            rows, pc.greater_equal(words, options.min_words), f"under {options.min_words} words", drops
        )
        length = pc.utf8_length(rows.column("title"))
        rows = _keep(
            rows, pc.less(length, options.max_length), f"{options.max_length} characters or more", drops
        )
        return schema.with_drops(_folded(rows), drops)

    def _documents(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.column("_rows").to_numpy(zero_copy_only=False).astype(np.int64)
        views = batch.column("views")
        enough = pc.fill_null(pc.greater_equal(views, self.options.min_views), True)
        passes = enough.to_numpy(zero_copy_only=False)
        drops = []
        if few := int(rows[~passes].sum()):
            drops.append(Drop(f"under {self.options.min_views} views", few))
        if merged := int((rows[passes] - 1).sum()):
            drops.append(Drop("merged with an equal title", merged))
        kept = batch.filter(enough)
        ids = [blake2b(fold.encode(), digest_size=8).hexdigest() for fold in kept.column("_fold").to_pylist()]
        title = pc.utf8_slice_codeunits(kept.column("_best"), _DIGITS)
        columns = [pa.array(ids, pa.string()), title, kept.column("views").cast(pa.int64())]
        return schema.with_drops(pa.record_batch(columns, schema=COLUMNS), drops)


def _keep(rows: pa.RecordBatch, passes: pa.Array, reason: str, drops: list[Drop]) -> pa.RecordBatch:
    """The rows that pass; the others, and those of which it is unknown, are told."""
    kept = rows.filter(pc.fill_null(passes, False))
    if dropped := len(rows) - len(kept):
        drops.append(Drop(reason, dropped))
    return kept


def _folded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Titles of one batch, grouped by their case-folded form.

    `_best` sorts first for the row with most views, then for the smallest spelling: the smallest one of a
    group is the spelling to keep, after its first 18 characters.
    """
    title = rows.column("title")
    views = pc.utf8_trim_whitespace(rows.column("views")).cast(pa.int64())
    folded = pc.utf8_lower(title)
    plain = pc.string_is_ascii(title)
    if not pc.all(plain).as_py():
        others = [spelt.casefold() for spelt in title.filter(pc.invert(plain)).to_pylist()]
        folded = pc.replace_with_mask(folded, pc.invert(plain), pa.array(others, pa.string()))
    rank = pc.subtract(pa.scalar(_MOST_VIEWS, pa.int64()), pc.fill_null(views, 0)).cast(pa.string())
    best = pc.binary_join_element_wise(pc.utf8_lpad(rank, _DIGITS, "0"), title, "")
    ones = pa.array(np.ones(len(rows), np.int64))
    table = pa.table([folded, best, views, ones], schema=_PARSED)
    grouped = table.group_by("_fold", use_threads=False).aggregate(
        [("_best", "min"), ("views", "sum"), ("_rows", "sum")]
    )
    grouped = grouped.rename_columns(["_fold", "_best", "views", "_rows"]).select(_PARSED.names)
    return _first(grouped.cast(_PARSED))


def _first(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.record_batch([pa.array([], f.type) for f in _PARSED], schema=_PARSED)
