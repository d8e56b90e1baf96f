"""One request on its way, as all who work on it know it."""

from __future__ import annotations

import contextvars
import random
import re
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from findling.stages import Stages

_chance = random.Random()  # noqa: S311 - it names requests, and keeps no secret
_SANE = re.compile(rb"[\w.:/+=@-]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Visit:
    """What is known of a request, and what whoever works on it finds out.

    `traceparent` is W3C's, where the client sent a good one; `key` the id of the key it came with, never the
    key; `cache` ("hit", "miss" or "off") and `query` (the words) are told by the handler; `status`, `bytes`
    and `seconds` when it has been answered.
    """

    method: str
    path: str
    client: str
    request_id: str
    traceparent: str | None = None
    key: str | None = None
    route: str = "other"
    cache: str | None = None
    query: str | None = None
    status: int = 0
    bytes: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)
    stages: Stages = field(default_factory=Stages)

    @classmethod
    def begin(cls, scope: Scope) -> Visit:
        """The visit that a request begins; from now on `visit` gives it to whoever works on the request."""
        sent = dict(scope["headers"])
        wished, parent = sent.get(b"x-request-id", b""), sent.get(b"traceparent", b"")
        mine = cls(
            method=scope["method"],
            path=scope["path"],
            client=scope["client"][0] if scope["client"] else "",
            request_id=wished.decode() if wished and _SANE.fullmatch(wished) else _name(),
            traceparent=parent.decode() if parent and _TRACEPARENT.fullmatch(parent) else None,
        )
        _visit.set(mine)
        return mine

    def end(self, scope: Scope) -> None:
        """It has been answered."""
        self.seconds = time.perf_counter() - self.started
        self.route = getattr(scope.get("route"), "path", "other")

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to, if any."""
        return self.traceparent.split("-")[1] if self.traceparent else None


def _name() -> str:
    return f"{_chance.getrandbits(64):016x}"


_visit: contextvars.ContextVar[Visit] = contextvars.ContextVar("findling-visit")


def visit() -> Visit:
    """The visit that the running request is."""
    return _visit.get()
