"""What [fetch] in findling.toml may say, and the clock that everything here goes by."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta, field

import findling
from findling.config import Options, Positive, convert
from findling.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0)]
Rate = Annotated[float, Meta(ge=0)]

RATES = {"covers.openlibrary.org": 400.0}
"""Requests a minute that hosts ask for; Open Library answers 429 past 400 from one address."""


class FetchOptions(Options, frozen=True):
    """[fetch]: how pictures are asked for.

    `contact` is an address of mail or web that the user agent carries; nothing is fetched from outside
    without it. `per_minute` bounds the requests to one host, `rates` says otherwise for some (0: no bound).
    `connections` bounds those open to one host at once, `total_connections` to all. A try may take
    `connect_timeout` to connect, `read_timeout` between two pieces of the answer, and `timeout` in all.
    `patience` is the longest wait that a host may ask for. `archives` are Open Library's covers in bulk.
    `allow_hosts` may have private addresses, `allow_paths` are folders from which pictures may be read
    beside the source's own. `refresh_days` is when a picture that is held is asked for again, if changed.
    """

    contact: str | None = None
    per_minute: Rate = 600
    rates: dict[str, Rate] = field(default_factory=dict)
    connections: Positive = 8
    total_connections: Positive = 64
    connect_timeout: Seconds = 10
    read_timeout: Seconds = 20
    timeout: Seconds = 60
    attempts: Positive = 4
    patience: Rate = 600
    robots: bool = True
    archives: str | list[str] | None = None
    allow_hosts: list[str] = field(default_factory=list)
    allow_paths: list[str] = field(default_factory=list)
    refresh_days: Rate | None = None

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> FetchOptions:
        """The options of a [fetch] table; raises ConfigError."""
        options = convert(table, cls, at="fetch")
        if options.contact is not None:
            _check_contact(options.contact)
        return options

    def interval(self, host: str) -> float:
        """The least number of seconds between two requests to a host."""
        rate = self.rates.get(host, RATES.get(host, self.per_minute))
        return 60 / rate if rate else 0.0

    @property
    def user_agent(self) -> str:
        """Who asks, and how to reach whoever runs it."""
        return f"findling/{findling.__version__} ({self.contact or 'no contact'})"

    def require_contact(self) -> None:
        """Raises ConfigError where nobody could be told that the fetching does harm."""
        if self.contact is None:
            raise ConfigError(
                "fetch.contact is missing, and pictures would be fetched from other people's hosts",
                todo='write [fetch] contact = "you@example.org", so that they can reach you',
            )


def _check_contact(contact: str) -> None:
    reachable = "@" in contact or contact.startswith(("https://", "http://", "mailto:"))
    if not reachable or not contact.isascii() or not contact.isprintable() or set(contact) & set("()"):
        raise ConfigError(
            f"fetch.contact is {contact!r}",
            todo="write an address of mail, or of a page that begins https://",
        )


@dataclass(frozen=True)
class Timing:
    """The time, a way to wait and a source of chance: tests put theirs in place."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
