"""Keys: long random words that whoever asks has to know, of which the service itself keeps only the hash.

A key is `findling_ID_SECRET`. The secret is 32 random bytes, so plain SHA-256 guards it: there is nothing to
guess, which is what slow password hashes are for, and a request costs microseconds. `[serve] keys` holds a
line for each key, `SCOPE:ID:HASH`, where the scope is `search` or `admin`; an admin key may search as well.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from findling.errors import ConfigError

Scope = Literal["search", "admin"]
_LINE = re.compile(r"(search|admin):([0-9a-z]{4,32}):([0-9a-f]{64})")
_KEY = re.compile(r"findling_([0-9a-z]{4,32})_[\w-]{20,200}", re.ASCII)
_NOBODY = "0" * 64


@dataclass(frozen=True)
class Key:
    """A known key: its id may be told and logged, its hash need not be."""

    scope: str
    id: str
    hash: str

    @property
    def may_administer(self) -> bool:
        """Whether it opens /admin."""
        return self.scope == "admin"


def new_key(scope: Scope) -> tuple[str, str]:
    """A new key, and the line of it for `[serve] keys`."""
    identity = secrets.token_hex(4)
    key = f"findling_{identity}_{secrets.token_urlsafe(32)}"
    return key, f"{scope}:{identity}:{_hash(key)}"


class Keys:
    """The keys of a configuration; raises ConfigError for a line that is none, without repeating it."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._known: dict[str, Key] = {}
        for number, line in enumerate(lines):
            found = _LINE.fullmatch(line)
            if not found:
                raise ConfigError(
                    f"serve.keys[{number}] is not the line of a key",
                    todo="run findling key, and put the line that it prints there, not the key itself",
                )
            if found[2] in self._known:
                raise ConfigError(f"serve.keys has two lines for {found[2]}", todo="each key has its own id")
            self._known[found[2]] = Key(found[1], found[2], found[3])

    def __bool__(self) -> bool:
        return bool(self._known)

    def of(self, authorization: bytes | None) -> Key | None:
        """The key that an Authorization header holds (`Bearer KEY`, RFC 6750), if it is a known one.

        An unknown id takes as long as a wrong secret.
        """
        scheme, _, word = (authorization or b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        word = word.strip()
        found = _KEY.fullmatch(word)
        known = self._known.get(found[1]) if found else None
        right = hmac.compare_digest(_hash(word), known.hash if known else _NOBODY)
        return known if right else None


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
