"""Requests that nobody would write by hand: sensible ones, nearly sensible ones, and noise.

All of a request comes from one source of random choices. With a seeded `random.Random` there are millions of
them, each found again by its number; with hypothesis's `randoms()` it finds and shrinks those that fail.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

WORDS = (
    "whale",
    "Whaling",
    "a",
    "",
    " ",
    "naïve",
    "李白",
    "🐉",
    "'",
    '"',
    "O'Brien",
    "%",
    "\\",
    "\0",
    "﷽",
    "x" * 300,
)
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "in", "contains", "is null", "is not null", "==", "~", "")
TOKENS = (
    "and",
    "or",
    "not",
    "in",
    "is",
    "null",
    "(",
    ")",
    "'",
    '"',
    ",",
    "=",
    "<=",
    "!",
    "--",
    ";",
    "*",
    "1e9",
    "true",
)
NUMBERS = (
    0,
    1,
    -1,
    10,
    1000,
    1001,
    9990,
    10_000,
    2**31,
    2**63,
    2**64,
    -(2**63),
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e300,
    1e308,
)
KEYS = (
    *("q", "image", "like", "vector", "also", "field", "k", "offset", "mode", "query", "where", "facets"),
    *("min_score", "typos", "weights", "explain", "highlight"),
)
MODES = ("hybrid", "semantic", "lexical")


@dataclass(frozen=True)
class Request:
    """What is sent: a path with its parameters, and a body or none."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grammar:
    """Makes requests for one collection, of which some columns, fields and ids are known."""

    collection: str
    columns: Sequence[str]
    fields: Sequence[str]
    ids: Sequence[str]
    dimension: int

    def request(self, r: Random) -> Request:
        """One request."""
        kinds: tuple[tuple[int, Callable[[Random], Request]], ...] = (
            (10, self._post),
            (4, self._get),
            (2, self._noise),
            (1, self._form),
            (1, self._document),
            (1, self._address),
        )
        return _chosen(r, kinds)(r)

    # ---- whole requests --------------------------------------------------------------------------

    def _search(self) -> str:
        return f"/collections/{self.collection}/search"

    def _post(self, r: Random) -> Request:
        body = json.dumps(self.body(r), ensure_ascii=r.random() < 0.5).encode("utf-8", "surrogatepass")
        return Request("POST", self._search(), body, {"Content-Type": "application/json"})

    def _get(self, r: Random) -> Request:
        told = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in self.body(r).items()
            if key not in ("image", "also")
        }
        path = self._search() if r.random() < 0.8 else "/search"
        return Request("GET", f"{path}?{urlencode(told, errors='surrogatepass')}"[:60_000])

    def _noise(self, r: Random) -> Request:
        """A body that was sensible until something was done to it."""
        body = bytearray(json.dumps(self.body(r)).encode())
        for _ in range(r.randint(1, 8)):
            at = r.randrange(len(body) + 1)
            match r.randrange(4):
                case 0:
                    body[at:at] = bytes(r.choices(range(256), k=r.randint(1, 4)))
                case 1:
                    del body[at : at + r.randint(1, 8)]
                case 2:
                    body[at:at] = r.choice(
                        (b"[" * 200, b'{"not":' * 200, b"NaN", b"1e999", b"\\ud800", b"\xff", b"null")
                    )
                case _:
                    del body[at:]
        kind = r.choice(
            ("application/json", "text/plain", "multipart/form-data", "", "application/json; charset=x")
        )
        return Request("POST", self._search(), bytes(body), {"Content-Type": kind})

    def _form(self, r: Random) -> Request:
        parts = []
        for key, value in self.body(r).items():
            content = value if isinstance(value, str) else json.dumps(value)
            name = f'; filename="{_text(r)[:20]}"' if key == "image" else ""
            head = f'--b\r\nContent-Disposition: form-data; name="{key}"{name}\r\n\r\n'
            parts.append(f"{head}{content}\r\n".encode("utf-8", "replace"))
        end = b"--b--\r\n" if r.random() < 0.9 else b""
        return Request(
            "POST", self._search(), b"".join(parts) + end, {"Content-Type": "multipart/form-data; boundary=b"}
        )

    def _document(self, r: Random) -> Request:
        identity = quote(
            r.choice((*self.ids, _text(r), "../..", "%", "")), safe=r.choice(("", "/")), errors="replace"
        )
        rest = r.choice(
            ("", "", "/similar", "/similar?k=3", f"/similar?k={r.choice(NUMBERS)}", "/picture", "/nope")
        )
        return Request("GET", f"/collections/{self.collection}/documents/{identity}{rest}")

    def _address(self, r: Random) -> Request:
        known = (
            "/",
            "/collections",
            "/search",
            "/metrics",
            "/openapi.json",
            "/readyz",
            "/page/page.js",
            "/favicon.ico",
        )
        path = r.choice(
            (
                *known,
                f"/{quote(_text(r), errors='replace')}",
                "/collections/nope/search?q=x",
                "//",
                "/page/..",
            )
        )
        return Request(r.choice(("GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS")), path)

    # ---- bodies ----------------------------------------------------------------------------------

    def body(self, r: Random) -> dict[str, Any]:
        """What POST takes, more or less."""
        makers: dict[str, Callable[[Random], Any]] = {
            "q": _text,
            "image": _image,
            "like": lambda r: r.choice((*self.ids, _text(r))),
            "vector": self._vector,
            "also": lambda r: [self._term(r) for _ in range(r.choice((0, 1, 2, 3, 16, 17)))],
            "field": lambda r: r.choice((*self.fields * 4, "nope", "")),
            "k": lambda r: _mostly(r, (1, 2, 10, 100, 1000)),
            "offset": lambda r: _mostly(r, (0, 1, 10, 500, 8000)),
            "mode": lambda r: r.choice((*MODES * 3, "", "HYBRID")),
            "query": lambda r: r.choice((*("full", None) * 4, "instant", "")),
            "where": lambda r: (
                self.where(r) if r.random() < 0.6 else self.tree(r, r.choice((0, 1, 2, 3, 33)))
            ),
            "facets": lambda r: r.choices((*self.columns * 8, "id", "nope"), k=r.choice((0, 1, 2, 20))),
            "min_score": lambda r: _mostly(r, (0, 0.01, 0.5)),
            "typos": lambda r: r.random() < 0.5,
            "weights": lambda r: {r.choice((*self.fields * 4, "lexical", "nope")): _mostly(r, (0, 0.5, 2))},
            "explain": lambda r: r.random() < 0.5,
            "highlight": lambda r: r.random() < 0.5,
        }
        wanted = (
            {"q", *r.sample(KEYS, r.randint(0, 5))}
            if r.random() < 0.8
            else set(r.sample(KEYS, r.randint(0, 6)))
        )
        made = {key: makers[key](r) for key in KEYS if key in wanted}
        if r.random() < 0.1:
            made[r.choice((*KEYS, "quack"))] = _anything(r)
        return made

    def _vector(self, r: Random) -> list[Any]:
        length = r.choice((self.dimension, self.dimension, self.dimension, 0, 1, self.dimension + 1))
        value = r.choice((0.0, 1.0, -1e38, 1e39, 1e-45, math.pi))
        return [value * (at % 3 - 1) for at in range(length)]

    def _term(self, r: Random) -> dict[str, Any]:
        term: dict[str, Any] = r.choice(
            ({"q": _text(r)}, {"like": r.choice(self.ids)}, {"vector": self._vector(r)}, {})
        )
        return {**term, "weight": _mostly(r, (1, -1, 0.5))} if r.random() < 0.5 else term

    # ---- filters ---------------------------------------------------------------------------------

    def where(self, r: Random) -> str:
        """A filter as text: by the grammar, or by nearly it."""
        if r.random() < 0.2:
            return " ".join(r.choices((*TOKENS, *self.columns), k=r.randint(1, 30)))
        text = self._condition(r)
        for _ in range(r.choice((0, 0, 1, 2, 5))):
            other = self._condition(r)
            forms = (f"({text})", f"not {text}", f"not ({text})", f"{text} and {other}", f"{text} or {other}")
            text = r.choice(forms)
        if r.random() < 0.05:
            depth = r.choice((31, 32, 33, 1000))
            text = "(" * depth + text + ")" * depth
        return text

    def _condition(self, r: Random) -> str:
        column, op = self._column(r), r.choice(OPERATORS)
        if op.startswith("is"):
            return f"{column} {op}"
        value = self._literal(r)
        if op == "in":
            value = f"({', '.join(self._literal(r) for _ in range(r.choice((0, 1, 3, 300))))})"
        return f"{column} {r.choice(('', '', 'not '))}{op} {value}"

    def _column(self, r: Random) -> str:
        name = r.choice((*self.columns, *self.columns, "id", "nope", _text(r)[:20]))
        return r.choice((name, name, '"' + name.replace('"', '""') + '"'))

    def _literal(self, r: Random) -> str:
        quoted = "'" + _text(r).replace("'", r.choice(("''", "''", "'"))) + "'"
        return r.choice((quoted, quoted, str(r.choice(NUMBERS)), "true", "false", "'2016-05-01'", "null"))

    def tree(self, r: Random, depth: int) -> Any:
        """A filter as JSON."""
        if r.random() < 0.05:
            return _anything(r)
        if depth <= 0 or r.random() < 0.3:
            value = r.choice((_text(r), r.choice(NUMBERS), True, None, [_text(r), r.choice(NUMBERS)], {}))
            made = {
                "column": r.choice((*self.columns, "id", "nope")),
                "op": r.choice(OPERATORS),
                "value": value,
            }
            return {key: made[key] for key in made if r.random() < 0.95}
        if r.random() < 0.3:
            return {"not": self.tree(r, depth - 1)}
        width = 1 if depth > 5 else r.choice((0, 1, 2, 3))
        return {r.choice(("and", "or")): [self.tree(r, depth - 1) for _ in range(width)]}


def _chosen(r: Random, weighted: Sequence[tuple[int, Any]]) -> Any:
    return r.choice([one for weight, one in weighted for _ in range(weight)])


def _mostly(r: Random, sensible: Sequence[float]) -> float:
    """A sensible number, or now and then any."""
    return r.choice(sensible if r.random() < 0.85 else NUMBERS)


def _text(r: Random) -> str:
    if r.random() < 0.1:
        return "".join(
            chr(r.choice((r.randrange(128), r.randrange(0x10000), r.randrange(0x110000)))) for _ in range(12)
        )
    text = r.choice((" ", "", "-", "\n")).join(r.choices(WORDS, k=r.choice((0, 1, 1, 2, 3, 8))))
    return text * 100 if r.random() < 0.02 else text


def _anything(r: Random) -> Any:
    return r.choice(
        (None, True, 0, -1, 1e300, "", "x", [], {}, [[]], {"": {}}, [None], "\ud800", [1] * 100, _text(r))
    )


def _image(r: Random) -> str:
    """A small picture in base64, whole or not."""
    size = r.choice((1, 3, 8, 32, 20_000))
    rows = zlib.compress(bytes((1 + size * 3) * min(size, 40)))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in chunks
    )
    if r.random() < 0.5:
        content = content[: r.randrange(len(content))] + r.choice((b"", b"\0\0", b"GIF89a", b"RIFF....WEBP"))
    text = base64.b64encode(content).decode()
    return text if r.random() < 0.9 else text[:-3] + "!"
