"""Who may come in: the middleware that every request but /livez and /readyz has to pass."""

from __future__ import annotations

import math
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from findling.config import ServeOptions
from findling.errors import ConfigError
from findling.serve import problems
from findling.serve.access import Headers
from findling.serve.auth import Keys
from findling.serve.hosts import Hosts, client_of, is_loopback, network_of
from findling.serve.limits import Rates
from findling.serve.visit import visit

OPEN = ("/livez", "/readyz")
ADMIN = "/admin/"


def check(options: ServeOptions) -> None:
    """Raises ConfigError where anyone who reaches the address could search, and nobody said that they may."""
    if not Keys(options.keys) and not options.behind_proxy and not is_loopback(options.host):
        raise ConfigError(
            f"serving on {options.host or 'all addresses'} without keys would let in whoever reaches it",
            todo="run findling key and set keys in [serve], or say --behind-proxy if a proxy lets in "
            "only those who may",
        )


class Gate:
    """Middleware: is the name known, who asks, how often, and for what?"""

    def __init__(self, app: ASGIApp, options: ServeOptions, rates: Rates | None) -> None:
        self.app = app
        self._keys = Keys(options.keys)
        self._hosts = Hosts(options.host, options.hosts)
        self._rates = rates
        self._behind_proxy = options.behind_proxy
        # A configuration that was read again may have lost its keys; then nobody comes in.
        self._keyless = not self._keys and (options.behind_proxy or is_loopback(options.host))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        refusal = None
        if scope["type"] == "http" and scope["path"] not in OPEN:
            refusal = self._refusal(scope["path"], scope["headers"])
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, path: str, sent: Headers) -> Response | None:
        headers = dict(sent)
        if not self._hosts.knows(headers.get(b"host")):
            return _refused(
                HTTPStatus.MISDIRECTED_REQUEST, "host", "this is not the name of this service", hint="hosts"
            )
        if _is_shell(path):
            return None
        mine = visit()
        peer = mine.client
        mine.client = client_of(peer, headers.get(b"x-forwarded-for"), self._behind_proxy)
        authorization = headers.get(b"authorization")
        key = self._keys.of(authorization)
        mine.key = key.id if key else None
        if self._rates and (wait := self._rates.take(f"key {key.id}" if key else network_of(mine.client))):
            return _too_many(wait)
        if key is None and not self._keyless:
            return _unknown(authorization is not None)
        if path.startswith(ADMIN) and not (key.may_administer if key else self._is_at_home(peer, headers)):
            return _forbidden(key is not None)
        return None

    def _is_at_home(self, peer: str, headers: dict[bytes, bytes]) -> bool:
        """Whether a request without a key comes from this machine, and not through a proxy or a browser.

        Any page that is open in a browser here can send a request here, though not read the answer.
        """
        told = {b"x-forwarded-for", b"forwarded", b"origin", b"sec-fetch-site"} & headers.keys()
        return is_loopback(peer) and not self._behind_proxy and not told


def _is_shell(path: str) -> bool:
    """The page's own files: they hold no data, and ask for a key themselves."""
    return path in ("/", "/favicon.ico") or path.startswith("/page/")


def _too_many(wait: float) -> Response:
    headers = {"Retry-After": str(max(1, math.ceil(wait)))}
    detail = f"more requests than this service takes from one client; try again in {math.ceil(wait)} s"
    return problems.problem(HTTPStatus.TOO_MANY_REQUESTS, "rate", "Too many requests", detail, headers)


def _unknown(came_with_one: bool) -> Response:
    detail = "the key is not known" if came_with_one else "this service asks for a key"
    challenge = 'Bearer realm="findling"' + (', error="invalid_token"' if came_with_one else "")
    return problems.problem(
        HTTPStatus.UNAUTHORIZED,
        "key",
        "A key is needed",
        f"{detail}; send it as Authorization: Bearer KEY",
        {"WWW-Authenticate": challenge},
    )


def _forbidden(came_with_one: bool) -> Response:
    if not came_with_one:
        return _refused(HTTPStatus.FORBIDDEN, "key", "without keys, only this machine may do that", "keys")
    return problems.problem(
        HTTPStatus.FORBIDDEN,
        "key",
        "Another key is needed",
        "this key may search; an admin key is needed here",
        {"WWW-Authenticate": 'Bearer realm="findling", error="insufficient_scope"'},
    )


def _refused(status: HTTPStatus, code: str, detail: str, hint: str) -> Response:
    return problems.problem(status, code, status.phrase, f"{detail}; set {hint} in [serve]")
