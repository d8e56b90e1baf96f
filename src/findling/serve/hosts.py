"""Addresses: which names the service answers to, and whose request it is."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::\d+)?")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name other than localhost is not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Hosts:
    """The names in the Host header that are answered.

    A page of a stranger can make its own name point at 127.0.0.1 and then read what a service there tells
    (DNS rebinding); the browser still sends the stranger's name. So on a loopback address only its own names
    and those in `[serve] hosts` are answered; elsewhere all are, unless `hosts` names some.
    """

    def __init__(self, listening: str, named: Iterable[str]) -> None:
        names = {name.lower() for name in named}
        self._any = "*" in names or (not names and not is_loopback(listening))
        self._names = {*names, *_LOOPBACK, listening.lower()}
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    def knows(self, header: bytes | None) -> bool:
        """Whether a Host header names this service; its port does not matter."""
        if self._any:
            return True
        found = _HOST.fullmatch((header or b"").decode("latin-1"))
        name = (found[1] or found[2]).lower() if found else ""
        return name in self._names or (bool(self._below) and name.endswith(self._below))


def client_of(peer: str, forwarded: bytes | None, behind_proxy: bool) -> str:
    """Who asks: the peer, or behind a proxy the last address that X-Forwarded-For names, which it added."""
    if not behind_proxy or not forwarded:
        return peer
    return forwarded.decode("latin-1").rpartition(",")[2].strip()[:64] or peer


def network_of(client: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that an IPv6 address is in."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return client
    return str(ipaddress.ip_network((address, 64), strict=False))
