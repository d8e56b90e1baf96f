"""Why a picture was not had: short, stable, and either lasting or passing.

A lasting reason is remembered, and the picture asked for again only with `--retry-failed`; after a passing
one the next run tries again, and after one that is our own rule, which may be another one by then. What
`findling.pictures` and `findling.archives` say of content is lasting.
"""

from __future__ import annotations

# Of the reference itself.
NO_REFERENCE = "no picture"
BAD_ADDRESS = "bad address"
SCHEME = "scheme is not taken"
CREDENTIALS = "password in the address"
PORT = "port is not taken"
PRIVATE = "private address"

# Of what the host said.
ROBOTS = "robots.txt forbids it"
NOT_FOUND = "not found"
FORBIDDEN = "forbidden"
REFUSED = "request refused"
LOOP = "redirect loop"
HOPS = "too many redirects"
REDIRECT = "bad redirect"
ENCODING = "encoding is not taken"

# Of the moment.
TOO_MANY = "too many requests"
SERVER = "server error"
TIMED_OUT = "timed out"
NO_CONNECTION = "no connection"
NO_HOST = "unknown host"
CERTIFICATE = "bad certificate"
CUT = "answer cut short"
NOT_HTTP = "bad answer"
NO_ROBOTS = "robots.txt cannot be read"
GAVE_UP = "host given up"
NO_CONTACT = "redirect to a stranger without a contact"

# Of files on this machine.
OUTSIDE = "outside the folders"
NO_FILE = "not a file"
UNREADABLE = "unreadable"

PASSING = frozenset({
    TOO_MANY, SERVER, TIMED_OUT, NO_CONNECTION, NO_HOST, CERTIFICATE, CUT, NOT_HTTP, NO_ROBOTS, GAVE_UP,
    NO_CONTACT,
})  # fmt: skip
BY_RULE = frozenset({BAD_ADDRESS, SCHEME, CREDENTIALS, PORT, PRIVATE, ROBOTS})
ALL = frozenset(value for name, value in globals().items() if name.isupper() and isinstance(value, str))


class Failed(Exception):
    """A picture that was not had; `wait` is how many seconds its host asked to be left alone."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
