"""One value of an Open Library record at a time: every form the real dump has, or nothing.

The records are described at https://openlibrary.org/developers/dumps and by the type pages such as
https://openlibrary.org/type/edition; what stands in them was typed by people and programs since 2006.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

MOST_PAGES = 50_000
FIRST_YEAR = 1000
NOISE = frozenset(
    {
        "accessible book", "in library", "internet archive wishlist", "large type books", "lending library",
        "long now manual for civilization", "open library staff picks", "open_syllabus_project", "overdrive",
        "popular print disabled books", "protected daisy",
    }
)  # fmt: skip
"""Subjects, in lower case, that tell how a copy can be had and not what the book is about."""

_YEAR = re.compile(r"\b\d{4}\b", re.ASCII)
_NUMBERS = re.compile(r"\d{2,}", re.ASCII)
_WHOLE_NUMBER = re.compile(r"\s*(\d{1,9})\s*", re.ASCII)
_ISBN = re.compile(r"\d{9}[\dX]|\d{13}", re.ASCII)
_NOT_A_WRITER = re.compile(
    r"(illustrat|edited|ed\.|translat|compiled|selected|adapted|retold|introduc|photograph|prepared)", re.I
)

# Letters are compared as ASCII (`(?a:`), so that what holds here also holds for a search in the raw bytes.
_FICTION = re.compile(
    r"""(?<!\w)(?:
      (?ai:fictions?|novels?|novelas?)
    | (?ai:(?:short|detective|mystery|ghost|horror|love|adventure|sea|western|spy|suspense|fantasy|humorous
        |christmas|animal|school|sports|fantastic|historical|children.?s)\ (?:stories|tales))
    )(?!\w)""",
    re.VERBOSE,
)
FICTION_HINT = "fiction|novel|stories|tales"
"""Whatever `is_fiction` accepts holds one of these, in any case."""

_ABOUT_BOOKS = re.compile(
    r"""(?ai:non-?\ ?fiction|criticism|authorship|technique|bibliograph|study\ and\ teaching
    |themes,\ motives|book\ reviews|dictionaries|encyclop|indexes|publishing|\bfilms?\b)""",
    re.VERBOSE,
)
_JUVENILE = re.compile(
    r"""(?<!\w)(?:
      (?ai:juvenile\ (?:fiction|non-?fiction|literature|poetry|drama|humou?r|works?|audience|films?|music
        |sound\ recordings|software|materials))
    | (?ai:juvenile(?=\W*$))
    | (?ai:(?:children.?s|young\ adult)\ (?:fiction|non-?fiction|literature|stories|poetry|plays|songs|books?
        |works?))
    | (?ai:(?:children.?s|young\ adult)(?=\W*$))
    | (?ai:(?:picture|board|toy\ and\ movable)\ books?)
    )(?!\w)""",
    re.VERBOSE,
)
JUVENILE_HINT = "juvenile|children|young|picture|board|movable"
"""Whatever `is_juvenile` accepts holds one of these, in any case."""
_FICTION_HINTS = tuple(FICTION_HINT.split("|"))
_JUVENILE_HINTS = tuple(JUVENILE_HINT.split("|"))


def text(value: Any) -> str | None:
    """A text, or an object with `value` (or `name`, `title`) that holds one, with single spaces."""
    if isinstance(value, str):
        return " ".join(value.split()) or None
    if isinstance(value, dict):
        return next(
            (text(value[k]) for k in ("value", "name", "title") if isinstance(value.get(k), str)), None
        )
    return None


def prose(value: Any) -> str | None:
    """A longer text or a text object; its line breaks are kept."""
    if isinstance(value, dict):
        value = value.get("value")
    return (value.replace("\r\n", "\n").strip() or None) if isinstance(value, str) else None


def texts(*values: Any) -> list[str]:
    """The texts of lists, of single texts and of text objects, each once, in order, ignoring case."""
    found: dict[str, str] = {}
    for value in values:
        for each in value if type(value) is list else (value,):
            if told := text(each):
                found.setdefault(told.casefold(), told)
    return list(found.values())


def subjects(*values: Any) -> list[str]:
    """Headings, each once, without those that say how a copy can be had."""
    return headings(*values)[0]


def headings(*values: Any) -> tuple[list[str], bool, bool]:
    """`subjects`, and whether they are of fiction and of juvenile books."""
    found: dict[str, str] = {}
    fiction = juvenile = False
    for value in values:
        if value is None:
            continue
        for each in value if type(value) is list else (value,):
            heading = _heading(each) if type(each) is str else _heading(text(each) or "")
            if heading is not None and heading[0] not in found:
                fold, told, is_one, is_other = heading
                found[fold] = told
                fiction |= is_one
                juvenile |= is_other
    return list(found.values()), fiction, juvenile


def title(record_title: Any, prefix: Any, full: Any) -> str | None:
    """The title with its prefix ("The "), or else the full title."""
    told = text(record_title)
    if told is None:
        return text(full)
    before = None if prefix is None else text(prefix)
    if before is None or told.casefold().startswith(before.casefold() + " "):
        return told
    return before + told if before.endswith(("'", "’")) else f"{before} {told}"


def year(value: Any, present: int) -> int | None:
    """The first number of exactly four digits in a date, if it is a year from 1000 to the present one.

    "8858", "19--", "197?", "[n.d.]" and two-digit years are no year.
    """
    told = value
    if type(value) is not str:
        told = str(value) if type(value) is int else text(value)
    found = _first_year(told) if told else None
    return found if found is not None and FIRST_YEAR <= found <= present else None


def pages(number: Any, pagination: Any) -> int | None:
    """Pages as numbered; else the largest number of two digits or more in the pagination, under 50,000."""
    if type(number) is int and 0 < number < MOST_PAGES:
        return number
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, str) and (match := _WHOLE_NUMBER.fullmatch(number)):
        number = int(match[1])
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number < MOST_PAGES:
        return number
    told = text(pagination) or (text(number) if isinstance(number, str) else None)
    if told is None:
        return None
    return _most_pages(told)


def cover(value: Any) -> int | None:
    """The first id above 0; -1, 0 and null stand for none."""
    if value is None:
        return None
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each.isascii() and each.isdigit() and len(each) < 19:
            each = int(each)  # noqa: PLW2901 - the same id, written as a text
        if isinstance(each, int) and not isinstance(each, bool) and 0 < each < 2**63:
            return each
    return None


def isbns(*values: Any) -> list[str]:
    """ISBNs of 10 and 13 places, without hyphens and spaces, each once."""
    found: dict[str, None] = {}
    for value in values:
        if value is None:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                bare = each.replace("-", "").replace(" ", "").upper()
                if _ISBN.fullmatch(bare):
                    found[bare] = None
    return list(found)


def keys(value: Any) -> list[str]:
    """What records are named: the last part of "/works/OL1W", of {"key": …}, of {"author": {"key": …}}."""
    if not value:
        return []
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        # Nearly all records look like this.
        only = value[0].get("key")
        if type(only) is str and (last := only[only.rfind("/") + 1 :].strip()):
            return [last]
    found: dict[str, None] = {}
    for name in _names(value):
        if last := name.rstrip("/").rpartition("/")[2].strip():
            found[last] = None
    return list(found)


def languages(value: Any) -> list[str]:
    """Language codes (MARC, three letters) in lower case, from keys, objects and bare texts."""
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        only = value[0].get("key")
        if type(only) is str and (code := _code(only)):
            return [code]
    return list(dict.fromkeys([_code(key) for key in keys(value)]))


def by_statement(value: Any) -> list[str]:
    """Who wrote it, as the title page has it ("by Dr. Seuss ; illustrated by …"); nothing if unclear."""
    told = text(value)
    if told is None:
        return []
    first = told.partition(";")[0].strip(" .,:/")
    if first.startswith("[") and first.endswith("]"):
        first = first[1:-1].strip(" .,:/")
    first = re.sub(r"^(?:written )?by\s+", "", first, flags=re.I)
    return [] if not first or _NOT_A_WRITER.match(first) or len(first) > 200 else [first]


def is_fiction(told: Iterable[str]) -> bool:
    """Whether some heading names fiction by whole words, and is not about fiction nor nonfiction."""
    return headings(list(told))[1]


def is_juvenile(told: Iterable[str]) -> bool:
    """Whether some heading says that the book is for readers under 18, and is not a study of such books."""
    return headings(list(told))[2]


# Headings, dates and paginations repeat, so what they say is remembered.
_remembered = lru_cache(maxsize=1 << 15)


@_remembered
def _heading(told: str) -> tuple[str, str, bool, bool] | None:
    """A heading without case and as it is, and whether it names fiction and juvenile books; None: noise."""
    told = " ".join(told.split())
    fold = told.casefold()
    if not told or fold.rstrip(".") in NOISE:
        return None
    # A search for plain words is ten times as fast as one for a pattern, and nearly always enough.
    fiction = juvenile = False
    if any(hint in fold for hint in _FICTION_HINTS):
        fiction = _FICTION.search(told) is not None and _ABOUT_BOOKS.search(told) is None
    if any(hint in fold for hint in _JUVENILE_HINTS):
        juvenile = _JUVENILE.search(told) is not None and "criticism" not in fold
    return fold, told, fiction, juvenile


@_remembered
def _code(key: str) -> str:
    """A language code out of a key."""
    code = key[key.rfind("/") + 1 :].strip()
    return code.lower() if code.isascii() else code


@_remembered
def _first_year(told: str) -> int | None:
    match = _YEAR.search(told)
    return int(match[0]) if match else None


@_remembered
def _most_pages(told: str) -> int | None:
    counts = [int(digits) for digits in _NUMBERS.findall(told) if len(digits) < 9]
    return max((count for count in counts if 0 < count < MOST_PAGES), default=None)


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _names(each)
    elif isinstance(value, dict):
        inner = value.get("key", value.get("author"))
        if isinstance(inner, (str, dict)):
            yield from _names(inner)
