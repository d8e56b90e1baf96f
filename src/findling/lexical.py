"""BM25: words in, the rows whose texts hold them out.

Each column of `lexical.input` is a field of its own; a row's score is the weighted sum of its fields' BM25
scores over the distinct terms of the query (k1 = 1.2 and b = 0.75, fixed by tantivy; Robertson and Zaragoza,
"The Probabilistic Relevance Framework: BM25 and Beyond", 2009). All weights are 1 unless configured.

Three choices, each measured on Cranfield and MED (nDCG@10): the sum (.391, .713) rather than the maximum over
fields (.369, .713); a repeated word of the query counts once (with repeats .385, .689); stop words are
indexed, as there are titles of nothing else ("It", "The Who"), and left out of queries of more than a few
words, which they slow down five times and do not help (.394, .713 without them).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import tantivy
from numpy.typing import NDArray

from findling.errors import ConfigError, SnapshotError

Rows = NDArray[np.int64]
Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]

LANGUAGES = {"en": "english", "none": None}
MAX_TERMS = 64  # distinct terms of one query, the rarest of a longer one
SETTINGS = "lexical.json"
TOKENIZER, ROW = "findling", "row"
WORD_LENGTH = 40  # bytes; anything longer is no word
WRITER_BYTES = 512_000_000  # more than this of postings is written as further segments
SHORT = 4  # terms of a query in which stop words count
TYPO_LENGTHS = (4, 8)  # letters of an unknown term from which on one, and two, may be wrong
MAX_TYPOS = 3  # terms of one query that are looked for with typos
_ASCII_WORD = re.compile("[A-Za-z0-9]+")


class Lexical:
    """A mapped BM25 index. Thread-safe; nothing in its directory is changed by reading it."""

    def __init__(self, path: Path, base: Path | None = None) -> None:
        try:
            settings = json.loads((path / SETTINGS).read_bytes())
            self.weights: dict[str, float] = settings["weights"]
            self.language: str = settings["language"]
            self._count: int = settings["rows"]
            self._searcher, self._schema = _searcher([*([base] if base else []), path], self.language)
        except (OSError, ValueError, KeyError) as error:
            raise SnapshotError(f"the lexical index in {path} cannot be opened: {error}") from error
        self._is_whole = self._searcher.num_segments <= 1
        self._analyzer = analyzer(self.language)
        self._content = analyzer(self.language, stop_words=False)
        self._fields = [(_field(at), weight) for at, weight in enumerate(self.weights.values())]
        # None of them knows the index itself, which in a circle would wait for the garbage collector.
        names = [name for name, _ in self._fields]
        self._known = lru_cache(65_536)(partial(_is_known, self._searcher, names))
        self._marked = lru_cache(64)(partial(_marked_terms, self._content, self._analyzer))
        self._terms = lru_cache(65_536)(self._analyzer.analyze)

    @classmethod
    def build(
        cls,
        documents: Iterable[Mapping[str, str | None]],
        path: Path,
        weights: Mapping[str, float],
        language: str = "en",
    ) -> int:
        """Index one mapping of field to text for each row, in row order; returns how many rows there were.

        `weights` names the fields and says how much each counts (above zero). The same documents give the
        same bytes, as long as they fit one segment. Raises ConfigError for a weight or language that is not
        allowed.
        """
        wrong = {name: weight for name, weight in weights.items() if not 0 < weight < float("inf")}
        if wrong or not weights:
            raise ConfigError(
                f"lexical weights must name fields with numbers above 0, not {wrong or 'nothing'}"
            )
        path.mkdir(parents=True, exist_ok=True)
        index = tantivy.Index(_schema(len(weights)), str(path), reuse=False)
        rows = _add(index, documents, list(weights), language)
        _settle(path)
        _write_settings(path, language, rows, weights)
        return rows

    @classmethod
    def extend(
        cls,
        base: Path,
        path: Path,
        gone: Sequence[int],
        documents: Iterable[Mapping[str, str | None]],
    ) -> int:
        """Index rows behind those of the index in `base`, and take out those that are `gone`.

        Returns how many rows there are then. `path` gets only what is new; `base` is not changed, and `open`
        needs both.
        """
        known = cls(base)
        path.mkdir(parents=True, exist_ok=True)
        # A thread of tantivy's may write one more file while the directory goes.
        with tempfile.TemporaryDirectory(prefix="findling-lexical-", ignore_cleanup_errors=True) as aside:
            _link([base], Path(aside))
            index = tantivy.Index.open(aside)
            rows = _add(index, documents, list(known.weights), known.language, len(known), gone)
            _settle(Path(aside), since=base)
            for file in Path(aside).iterdir():
                if not file.is_symlink():
                    shutil.copyfile(file, path / file.name)
        _write_settings(path, known.language, rows, known.weights)
        return rows

    @classmethod
    def open(cls, path: Path, base: Path | None = None) -> Self:
        """The index in `path`, mapped; the directory may be read-only. Raises SnapshotError.

        `base` is the index that `path` extends, if it does.
        """
        return cls(path, base)

    def __len__(self) -> int:
        return self._count

    def search(
        self, text: str, k: int, mask: Mask | None = None, *, typos: bool = True
    ) -> tuple[Rows, Scores]:
        """The best k rows for `text`: rows (h,) int64 and BM25 scores (h,) float32, best first, ties by row.

        Any text is a query: punctuation and operators only part words. Rows that hold no term of the query
        are no hits, so h is below k where fewer than k hold one; nor are rows of stop words alone, unless the
        query's other words find nothing. `mask` (n,) says which rows may be found.
        With `typos`, a longer term that no row holds finds terms that differ by a letter or two (Damerau and
        Levenshtein's distance), each counting 1.
        """
        if mask is not None and len(mask) != self._count:
            raise SnapshotError(f"a mask of {len(mask)} rows does not fit a lexical index of {self._count}")
        found = _NO_ROWS, _NO_SCORES
        if k < 1 or not self._count:
            return found
        for query in self._queries(text, MAX_TYPOS if typos else 0):
            found = self._best(query, k) if mask is None else self._passing(query, k, mask)
            if len(found[0]):
                break
        return found

    def _passing(self, query: Any, k: int, mask: Mask) -> tuple[Rows, Scores]:
        """The best k rows that the mask lets pass."""
        survivors = int(np.count_nonzero(mask))
        if not survivors:
            return _NO_ROWS, _NO_SCORES
        if 16 * survivors**2 <= k * self._count:
            # Naming a survivor takes about 10 us, taking a hit that the mask then refuses 0.6 us.
            return self._best(self._only(query, np.flatnonzero(mask)), k)
        limit = int(1.2 * k * self._count / survivors) + 16
        while True:
            rows, scores = self._best(query, limit)
            keep = mask[rows]
            if len(rows) < limit or np.count_nonzero(keep) >= k:
                return rows[keep][:k], scores[keep][:k]
            limit *= 8

    def highlights(self, text: str, columns: Mapping[str, str]) -> dict[str, list[tuple[int, int]]]:
        """Where words of the query stand in some texts: (start, end) in characters by column, in order.

        Words match as they do in a search, so "running" marks "runs"; stop words are marked only where the
        query has no other words. Columns without a match are left out.
        """
        terms = self._marked(text)
        found = {name: list(self._spans(terms, value)) for name, value in columns.items() if value}
        return {name: spans for name, spans in found.items() if spans}

    def _spans(self, terms: frozenset[str], text: str) -> Iterable[tuple[int, int]]:
        if text.isascii():  # words that have been met need no analysis: five times as fast
            for word in _ASCII_WORD.finditer(text):
                if not terms.isdisjoint(self._terms(word[0])):
                    yield word.span()
            return
        # No Unicode normalisation here: it would move the offsets.
        readable = text.encode("utf-8", "replace").decode()
        for token in self._analyzer.pre_tokenize(readable).tokens:
            if token.text in terms:
                yield token.char_offset_from, token.char_offset_to

    def _queries(self, text: str, typos: int) -> list[Any]:
        """What to ask, one after the other until something is found.

        Where a few terms are stop words and others are not, rows of the others alone are asked for first,
        though stop words count in them: to walk through all the rows of "the" takes five times as long.
        """
        text = _clean(text)
        terms = list(dict.fromkeys(self._analyzer.analyze(text)))
        content = dict.fromkeys(self._content.analyze(text))
        if len(terms) > SHORT:
            terms = list(content) or terms
        if len(terms) > MAX_TERMS:
            terms = sorted(terms, key=self._frequency)[:MAX_TERMS]
        if not terms:
            return []
        make, should = tantivy.Query.term_query, tantivy.Occur.Should
        wanted: list[Any] = []
        stops: list[Any] = []
        for term in terms:
            distance = self._typos(term) if typos else 0
            typos -= distance > 0
            for field, weight in self._fields:
                if distance:
                    query = tantivy.Query.fuzzy_term_query(self._schema, field, term, distance)
                else:
                    query = make(self._schema, field, term, index_option="freq")
                clause = (should, query if weight == 1 else tantivy.Query.boost_query(query, weight))
                (wanted if term in content else stops).append(clause)
        whole = tantivy.Query.boolean_query([*wanted, *stops])
        if not (wanted and stops):
            return [whole]
        first = tantivy.Query.boolean_query(wanted)
        for stop in stops:  # one inside the other: several beside one another would be walked through
            first = tantivy.Query.boolean_query([(tantivy.Occur.Must, first), stop])
        return [first, whole]

    def _typos(self, term: str) -> int:
        """How many letters may differ: none of a word that the index has, nor of a short one or a number."""
        if len(term) < TYPO_LENGTHS[0] or not term.isalpha() or self._known(term):
            return 0
        return 1 if len(term) < TYPO_LENGTHS[1] else 2

    def _frequency(self, term: str) -> int:
        # A term in no document cannot find anything: last.
        return sum(self._searcher.doc_freq(field, term) for field, _ in self._fields) or 1 << 62

    def _only(self, query: Any, rows: Rows) -> Any:
        must = tantivy.Occur.Must
        survivors = tantivy.Query.term_set_query(self._schema, ROW, rows.tolist())
        return tantivy.Query.boolean_query(
            [(must, query), (must, tantivy.Query.const_score_query(survivors, 0.0))]
        )

    def _best(self, query: Any, k: int) -> tuple[Rows, Scores]:
        # Ties between segments come in segment order; a few more hits put them in row order.
        extra = 0 if self._is_whole else 32
        limit = min(k, self._count) + extra
        hits = self._searcher.search(query, limit, count=False).hits
        if not hits:
            return _NO_ROWS, _NO_SCORES
        scores, addresses = zip(*hits, strict=True)
        if self._is_whole:  # hits come in the order wanted, and their places in the segment are rows
            return np.array([at.doc for at in addresses], np.int64), np.array(scores, np.float32)
        rows = np.array(self._searcher.fast_field_values(ROW, list(addresses)), np.int64)
        values = np.array(scores, np.float32)
        order = np.lexsort((rows, -values))[:k]
        return rows[order], values[order]


_NO_ROWS, _NO_SCORES = np.empty(0, np.int64), np.empty(0, np.float32)


@lru_cache
def analyzer(language: str, stop_words: bool = True) -> Any:
    """How texts and queries become terms: words, lower case, no accents, stemmed in the given language.

    Raises ConfigError for a language that is not known.
    """
    if language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise ConfigError(f"unknown language {language!r} for the lexical side", todo=f"known are {known}")
    steps = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (
        tantivy.Filter.remove_long(WORD_LENGTH),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
    ):
        steps = steps.filter(step)
    if (known_language := LANGUAGES[language]) and not stop_words:
        steps = steps.filter(tantivy.Filter.stopword(known_language))
    if known_language:
        steps = steps.filter(tantivy.Filter.stemmer(known_language))
    return steps.build()


def _is_known(searcher: Any, fields: list[str], term: str) -> bool:
    return any(searcher.doc_freq(field, term) for field in fields)


def _marked_terms(content: Any, all_words: Any, text: str) -> frozenset[str]:
    clean = _clean(text)
    return frozenset(content.analyze(clean) or all_words.analyze(clean))


def _clean(text: str) -> str:
    """Composed characters (a loose accent would part a word) and nothing that UTF-8 cannot hold."""
    return unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode())


def _field(at: int) -> str:
    # A column may have any name, a field of tantivy may not.
    return f"f{at}"


def _schema(fields: int) -> Any:
    schema = tantivy.SchemaBuilder()
    for at in range(fields):
        schema.add_text_field(_field(at), tokenizer_name=TOKENIZER, index_option="freq")
    # An unsigned field panics on a Python int.
    schema.add_integer_field(ROW, indexed=True, fast=True)
    return schema.build()


def _add(
    index: Any,
    documents: Iterable[Mapping[str, str | None]],
    fields: Sequence[str],
    language: str,
    rows: int = 0,
    gone: Sequence[int] = (),
) -> int:
    """Write documents as the rows from `rows` on, and take out those that are `gone`; gives the rows then."""
    index.register_tokenizer(TOKENIZER, analyzer(language))
    writer = index.writer(WRITER_BYTES, num_threads=1)
    for row in gone:
        writer.delete_documents_by_term(ROW, int(row))
    for document in documents:
        entry = tantivy.Document()
        entry.add_integer(ROW, rows)
        for at, name in enumerate(fields):
            if text := document.get(name):
                entry.add_text(_field(at), _clean(text))
        writer.add_document(entry)
        rows += 1
    writer.commit()
    writer.wait_merging_threads()
    return rows


def _write_settings(path: Path, language: str, rows: int, weights: Mapping[str, float]) -> None:
    settings = {"language": language, "rows": rows, "weights": {k: float(w) for k, w in weights.items()}}
    (path / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _searcher(paths: Sequence[Path], language: str) -> tuple[Any, Any]:
    """A searcher over the files of `paths`, opened through links in a directory of our own.

    Opening takes a lock, which is a file beside the index: a snapshot may be read-only, and must not change.
    The files stay mapped after the links are gone.
    """
    with tempfile.TemporaryDirectory(prefix="findling-lexical-") as links:
        _link(paths, Path(links))
        index = tantivy.Index.open(links)
        index.config_reader("manual")
        index.register_tokenizer(TOKENIZER, analyzer(language))
        return index.searcher(), index.schema


def _link(paths: Sequence[Path], links: Path) -> None:
    """Link the files of some directories into one; of files with one name the last counts."""
    files = {file.name: file for path in paths for file in path.iterdir()}
    for name, file in files.items():
        os.symlink(file.resolve(), links / name)


def _settle(path: Path, since: Path | None = None) -> None:
    """Leave only what reading needs, under names that do not change from build to build.

    tantivy names segments at random. Here they are numbered, the largest first, behind those that stand in
    the index `since`.
    """
    for leftover in (".tantivy-writer.lock", ".tantivy-meta.lock", ".managed.json"):
        (path / leftover).unlink(missing_ok=True)
    meta = json.loads((path / "meta.json").read_bytes())
    known = [] if since is None else _segments(json.loads((since / "meta.json").read_bytes()))
    segments = meta["segments"]
    if len(segments) > 1:
        segments.sort(key=lambda segment: (segment["segment_id"] not in known, -segment["max_doc"]))
    fresh = [segment for segment in segments if segment["segment_id"] not in known]
    for number, segment in enumerate(fresh, start=len(known)):
        old, new = segment["segment_id"].replace("-", ""), f"{number:032x}"
        for file in path.glob(f"{old}.*"):
            file.rename(path / (new + file.name.removeprefix(old)))
        segment["segment_id"] = f"{new[:8]}-{new[8:12]}-{new[12:16]}-{new[16:20]}-{new[20:]}"
    (path / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", "utf-8")


def _segments(meta: Mapping[str, Any]) -> list[str]:
    return [segment["segment_id"] for segment in meta["segments"]]
