"""Reading judged queries: BEIR's and TREC's layouts, plain or gzipped.

queries   .jsonl with `_id` and `text` (BEIR); lines of id, tab, text; TREC topics (<top>, <num>, <title>)
qrels     query, document and judgement with a header line (BEIR, tabs); query, 0, document, judgement (TREC)
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import NoReturn

from findling.errors import SourceError

Queries = dict[str, str]
Qrels = dict[str, dict[str, int]]

_HEADERS = {"query-id", "query_id", "qid", "id", "_id"}


def read_queries(path: Path) -> Queries:
    """The queries of a file, text by id, in its order; raises SourceError naming the file and the line."""
    lines = _lines(path)
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("<"):
        queries = _topics(path, "\n".join(lines))
    else:
        read = _json_query if first.startswith("{") else _tab_query
        queries = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or (number == 1 and line.split("\t")[0].strip().lower() in _HEADERS):
                continue
            name, text = read(path, number, line)
            if name in queries:
                _wrong(path, number, f"the query {name!r} is there twice")
            queries[name] = text
    if not queries:
        raise SourceError(f"{path} holds no queries")
    return queries


def read_qrels(path: Path) -> Qrels:
    """The judgements of a file by query and document; raises SourceError naming the file and the line."""
    qrels: Qrels = {}
    for number, line in enumerate(_lines(path), start=1):
        # Tabs where there are any: ids of a table may hold spaces.
        parts = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        if not any(parts) or (number == 1 and parts[0].lower() in _HEADERS):
            continue
        if len(parts) not in (3, 4):
            _wrong(
                path,
                number,
                f"{len(parts)} words, where query, document, judgement (or TREC's four) are wanted",
            )
        query, document, judgement = parts[0], parts[-2], parts[-1]
        if not re.fullmatch(r"[-+]?\d{1,9}", judgement):
            _wrong(path, number, f"the judgement {judgement!r} is no whole number")
        judged = qrels.setdefault(query, {})
        if judged.setdefault(document, int(judgement)) != int(judgement):
            _wrong(path, number, f"{document!r} is judged twice, and differently, for the query {query!r}")
    if not qrels:
        raise SourceError(f"{path} holds no judgements")
    return qrels


def _json_query(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        found = json.loads(line)
        return str(found["_id"]), str(found["text"])
    except (ValueError, KeyError, TypeError, RecursionError):
        _wrong(path, number, 'no {"_id": ..., "text": ...}')


def _tab_query(path: Path, number: int, line: str) -> tuple[str, str]:
    name, tab, text = line.partition("\t")
    if not tab or not name.strip() or not text.strip():
        _wrong(path, number, "no id, tab and text")
    return name.strip(), text.strip()


def _topics(path: Path, text: str) -> Queries:
    queries: Queries = {}
    for topic in re.finditer(r"<top>(.*?)(?:</top>|(?=<top>)|\Z)", text, re.DOTALL | re.IGNORECASE):
        fields = dict(re.findall(r"<(num|title)>\s*([^<]*)", topic[1], re.IGNORECASE))
        name = re.sub(r"^number:\s*", "", fields.get("num", "").strip(), flags=re.IGNORECASE)
        title = re.sub(r"^topic:\s*", "", " ".join(fields.get("title", "").split()), flags=re.IGNORECASE)
        if not name or not title or name in queries:
            number = text.count("\n", 0, topic.start()) + 1
            _wrong(
                path,
                number,
                f"the topic {name!r} is there twice" if title and name else "a topic without num or title",
            )
        queries[name] = title
    return queries


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path}, line {line}: not UTF-8") from None
    return text.split("\n")


def _wrong(path: Path, number: int, what: str) -> NoReturn:
    raise SourceError(f"{path}, line {number}: {what}")
