"""Dump lines cut and sifted as bytes, before any JSON parser runs.

A line has five columns: type, key, revision, time of the last change, JSON. The JSON escapes tabs and line
breaks, so four tabs and a line break bound them (https://openlibrary.org/developers/dumps). A part of the
filter such as `year >= 2016` implies that some pattern stands in the line; lines without it need no parser.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from findling.schema import Drop
from findling.sources import openlibrary_fields as fields
from findling.sources.text import Octets, Positions, octets_of, positions

if TYPE_CHECKING:
    from findling.filters import Where

DETAIL_LENGTH = 2000
_TAB, _BREAK, _RETURN, _BACKSLASH, _CLOSE = 9, 10, 13, 92, 125
_MOST_YEARS = 200
_BLOCK_BYTES = 8 << 20
_RARE_FIRST = "jqzxmfvw_chdbpglukyranitsoe"
"""Letters from rare to common in a dump: RE2 looks for a pattern's first byte, best for a rare one."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Hint:
    """What a line must hold (one of some RE2 patterns) to pass the part of the filter that `reason` tells."""

    reason: str
    patterns: tuple[str, ...]


CHECKED = ("year", "pages", "language", "fiction", "juvenile")


@dataclass(frozen=True)
class Check:
    """A part of the filter that one of the columns CHECKED decides alone; null fails it, as in SQL."""

    reason: str
    column: str
    passes: Callable[[Any, Any], bool]
    value: Any


@dataclass(frozen=True)
class Cut:
    """Lines as places in `octets`: [start, end), with the key in [key, key_end) and the JSON from `json`."""

    octets: Octets
    start: Positions
    key: Positions
    key_end: Positions
    json: Positions
    end: Positions

    def take(self, chosen: npt.NDArray[Any]) -> Cut:
        """Some of the lines, by place or by mask."""
        columns = (self.start, self.key, self.key_end, self.json, self.end)
        return Cut(self.octets, *(column[chosen] for column in columns))

    def __len__(self) -> int:
        return len(self.json)


def blocks(lines: pa.Array) -> Iterator[pa.Array]:
    """Lines in portions that fit in a core's cache, since they are gone over several times."""
    share = max(lines.nbytes // _BLOCK_BYTES, 1)
    rows = max(len(lines) // share, 1)
    for first in range(0, len(lines), rows):
        yield lines.slice(first, rows)


def cut(lines: pa.Array, kind: bytes) -> tuple[Cut, npt.NDArray[np.bool_], list[Drop]]:
    """Every line's places, which of them are records of `kind` (b"/type/edition"), and the other lines.

    Of a record of another type only the number is told, of a line that is none the beginning too.
    """
    octets, bounds = octets_of(lines)
    starts, ends = bounds[:-1], bounds[1:]
    ends = ends - _ends_with(octets, starts, ends, _BREAK)
    ends = ends - _ends_with(octets, starts, ends, _RETURN)
    tabs = positions(octets, _TAB)
    padded = np.append(tabs, np.full(4, len(octets) + 1))
    first = np.searchsorted(tabs, starts)
    of_five = padded[first + 3] < ends
    is_kind = of_five & _begins_with(octets, starts, padded[first], kind, whole=True)
    others = of_five & ~is_kind
    is_record = others & _begins_with(octets, starts, padded[first], b"/type/") if others.any() else others
    named = kind.rpartition(b"/")[2].decode()
    article = "an" if named[0] in "aeiou" else "a"
    drops = [
        Drop("not five columns", 1, excerpt(octets, starts[at], ends[at])) for at in np.flatnonzero(~of_five)
    ]
    drops += [
        Drop(f"not {article} {named}", 1, excerpt(octets, starts[at], ends[at]))
        for at in np.flatnonzero(others & ~is_record)
    ]
    if count := int(np.count_nonzero(is_record)):
        drops.append(Drop(f"not {article} {named}", count))
    places = Cut(octets, starts, padded[first] + 1, padded[first + 1], padded[first + 3] + 1, ends)
    return places, is_kind, drops


def excerpt(octets: Octets, start: int, end: int) -> str:
    """The beginning of a line, for people."""
    told = octets[start : min(end, start + 4 * DETAIL_LENGTH)].tobytes().decode("utf-8", "replace")
    return told[:DETAIL_LENGTH]


def sifted(lines: pa.Array, kind: bytes, hints: list[Hint], drops: list[Drop]) -> Iterator[Cut]:
    """The lines of `kind` that might pass, block by block; all others are told in `drops`."""
    for block in blocks(lines):
        might, cannot = sift(block, kind, hints)
        places, wanted, others = cut(might, kind)
        drops += [*cannot, *others]
        yield places.take(wanted)


def sift(lines: pa.Array, kind: bytes, hints: Iterable[Hint]) -> tuple[pa.Array, list[Drop]]:
    """The lines that might pass, and how many cannot, by reason.

    A line goes on in any case if it does not look like a whole record of `kind` (what is wrong with it is to
    be told), or if it holds an escape such as \\u0065, behind which ASCII may hide.
    """
    drops: list[Drop] = []
    must: npt.NDArray[np.bool_] | None = None
    for hint in hints:
        kept = _holding(lines, hint.patterns)
        if kept.all():
            continue
        must = _must_be_parsed(lines, kind) if must is None else must
        kept |= must
        if cannot := len(kept) - int(np.count_nonzero(kept)):
            drops.append(Drop(hint.reason, cannot))
            lines, must = lines.filter(pa.array(kept)), must[kept]
    return lines, drops


def _holding(lines: pa.Array, patterns: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which lines hold one of the patterns; several go faster one by one than as alternatives in one."""
    held = np.zeros(len(lines), np.bool_)
    for pattern in patterns:
        held |= pc.match_substring_regex(lines, pattern).to_numpy(zero_copy_only=False)
    return held


def _must_be_parsed(lines: pa.Array, kind: bytes) -> npt.NDArray[np.bool_]:
    """Which lines have to be looked at, whatever they do not hold."""
    octets, bounds = octets_of(lines)
    starts, ends = bounds[:-1], bounds[1:]
    told = (kind + b"\t")[-8:]  # one comparison says enough here
    whole = _begins_with(octets, starts + len(kind) + 1 - len(told), ends, told)
    whole &= _ends_with(octets, starts, ends, _BREAK) & _ends_with(octets, starts, ends - 1, _CLOSE)
    must: npt.NDArray[np.bool_] = ~whole
    if _has_escapes(octets):
        must[_lines_with_escapes(octets, bounds[1:])] = True
    return must


def _has_escapes(octets: Octets) -> bool:
    """Whether anywhere an escape may stand for an ASCII digit or letter; RE2 finds none faster than NumPy."""
    offsets = pa.py_buffer(np.array([0, len(octets)], np.int32))
    whole = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(octets)])
    return bool(pc.match_substring_regex(whole, r"\\u00[3-7]")[0].as_py())


def hints(where: Where, early: frozenset[str], present: int) -> list[Hint]:
    """What the filter's parts imply for the bytes of a line, the most telling first."""
    found = [
        Hint(f"where: {part.sql}", patterns)
        for part in where.parts
        if part.columns <= early and (patterns := _implied(part, present))
    ]
    order = [_key(name) for name in ("publish_date", "languages", "number_of_pages")]
    return sorted(found, key=lambda hint: [not hint.patterns[0].startswith(key) for key in order])


def checks(where: Where, early: frozenset[str]) -> list[Check]:
    """The parts that can be told before a row is complete, in their order."""
    found = []
    for part in where.parts:
        bound, name = part.bound, _bare_name(part.sql)
        if not part.columns <= early:
            continue
        if name in {"fiction", "juvenile"}:
            found.append(Check(f"where: {part.sql}", name, operator.is_, True))
        elif bound is not None and (
            (bound.column in {"pages", "year"} and isinstance(bound.value, (int, float)))
            or (bound.column == "language" and bound.op == "=" and isinstance(bound.value, str))
        ):
            found.append(Check(f"where: {part.sql}", bound.column, _OPERATORS[bound.op], bound.value))
    return found


def _bare_name(sql: str) -> str:
    return sql.strip('"').lower()


def _implied(part: Any, present: int) -> tuple[str, ...]:
    """Patterns of which every line that passes the part holds one, if the part is of a kind that has some."""
    words = {"fiction": fields.FICTION_HINT, "juvenile": fields.JUVENILE_HINT}.get(_bare_name(part.sql))
    if words:
        return _heading_holding("subjects", words), _heading_holding("genres", words)
    bound = part.bound
    if bound is None:
        return ()
    value = bound.value
    if bound.column == "year" and isinstance(value, (int, float)):
        passes = _OPERATORS[bound.op]
        years = [year for year in range(fields.FIRST_YEAR, present + 1) if passes(year, value)]
        return (_date_holding(years),) if 0 < len(years) <= _MOST_YEARS else ()
    if bound.column == "pages" and isinstance(value, (int, float)):
        return _pages_of(bound.op, value)
    if bound.column == "language" and bound.op == "=" and re.fullmatch(r"[A-Za-z0-9]+", str(value)):
        return (_key("languages") + _usual(': [{"key": "', rf'[^"]*(?i:{value})'),)
    return ()


def _key(name: str) -> str:
    """The end of a key, from its rarest letter on, with the quote behind it."""
    first = min(range(len(name) - 4), key=lambda place: _RARE_FIRST.index(name[place]))
    return name[first:] + '"'


def _heading_holding(name: str, words: str) -> str:
    """One of the words, an object or an escape before the next key, which the first `":` ends."""
    return rf'{_key(name)}(?:[^"]|"+[^":])*"*(?:[\\{{]|(?i:{words}))'


def _pages_of(op: str, value: float) -> tuple[str, ...]:
    """A number of pages with enough digits, one written in any other way, or a pagination."""
    least = math.floor(value) + 1 if op == ">" else math.ceil(value) if op in {">=", "="} else 0
    if least < 10:
        return ()
    number = rf"{_key('number_of_pages')}\s*:\s*(?:[^0-9\s]|\d{{{len(str(least))}}}|\d+[.eE])"
    return number, _key("pagination")


def _usual(form: str, pattern: str) -> str:
    """The pattern after the usual form of JSON; any other form might hold anything, and matches."""
    for char in reversed(form):
        pattern = f"(?:[^{re.escape(char)}]|{re.escape(char)}{pattern})"
    return pattern


def _date_holding(years: list[int]) -> str:
    """A publish_date with one of the years, or one whose value is no plain text and must be looked at."""
    decades: dict[int, str] = {}
    for year in years:
        decades[year // 10] = decades.get(year // 10, "") + str(year % 10)
    numbers = "|".join(f"{decade}[{digits}]" for decade, digits in decades.items())
    return rf'{_key("publish_date")}\s*:\s*(?:[^"\s]|"[^"\\]*(?:\\|{numbers}))'


def _lines_with_escapes(octets: Octets, ends: Positions) -> Positions:
    """Lines in which an escape may stand for an ASCII digit or letter: \\u0030 to \\u007f."""
    slashes = positions(octets, _BACKSLASH)
    slashes = slashes[slashes + 4 < len(octets)]
    for ahead, octet in ((1, ord("u")), (2, ord("0")), (3, ord("0"))):
        slashes = slashes[octets[slashes + ahead] == octet]
    high = octets[slashes + 4]
    slashes = slashes[(high >= ord("3")) & (high <= ord("7"))]
    return np.unique(np.searchsorted(ends, slashes, side="right"))


def _ends_with(octets: Octets, starts: Positions, ends: Positions, octet: int) -> npt.NDArray[np.bool_]:
    filled = ends > starts
    if not len(octets):
        return filled
    last: npt.NDArray[np.bool_] = octets[np.clip(ends - 1, 0, len(octets) - 1)] == octet
    return filled & last


def _begins_with(
    octets: Octets, starts: Positions, ends: Positions, what: bytes, *, whole: bool = False
) -> npt.NDArray[np.bool_]:
    """Whether the columns in [starts, ends) begin with (or are) `what`, compared eight bytes at a time."""
    begins: npt.NDArray[np.bool_] = ends - starts == len(what) if whole else ends - starts >= len(what)
    if len(octets) < 8:
        return np.zeros(len(starts), np.bool_)
    words = np.ndarray((len(octets) - 7,), "<u8", octets, strides=(1,))
    for place in {*range(0, len(what) - 7, 8), max(len(what) - 8, 0)}:
        piece = what[place : place + 8]
        mask = (1 << 8 * len(piece)) - 1
        found = words[np.minimum(starts + place, len(words) - 1)]
        found = found if len(piece) == 8 else found & np.uint64(mask)
        begins &= found == int.from_bytes(piece, "little")
    return begins
