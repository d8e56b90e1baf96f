"""Which addresses may be asked at all: the web's, on the public internet, and none behind a disguise.

A picture's address comes from data that strangers wrote. So it could name this machine, its neighbours or a
cloud's metadata service: as a name, as a number, in IPv6's clothes, or by a redirect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from findling.fetch import reasons
from findling.fetch.reasons import Failed

_LONGEST = 8000
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WEB_PORTS = frozenset({80, 443})
_HIGH_PORTS = 1024
_V4_IN_V6 = (
    # (network, bits to the right of the IPv4 address)
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # mapped, RFC 4291
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # translated, RFC 2765
    (ipaddress.IPv6Network("::/96"), 0),  # compatible, RFC 4291
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "240.0.0.0/4",  # reserved, RFC 1112
        "2001::/23",  # Teredo and other assignments, RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "3fff::/20",  # documentation, RFC 9637
    )
)


class Target(NamedTuple):
    """An address in the form in which it is asked for."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Scheme, host and port: what one robots.txt speaks for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def is_web(reference: str) -> bool:
    """Whether a reference is an address rather than a path."""
    return reference[:8].lower().startswith(("http://", "https://"))


def target(url: str, base: str | None = None) -> Target:
    """What a URL (or a redirect from `base`) asks for; raises Failed for what may not be asked."""
    text = url.strip()
    if not text or len(text) > _LONGEST or _UNSPEAKABLE.search(text):
        raise Failed(reasons.BAD_ADDRESS)
    try:
        parts = urlsplit(urljoin(base, text) if base else text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Failed(reasons.BAD_ADDRESS) from None
    if parts.scheme not in {"http", "https"}:
        raise Failed(reasons.SCHEME)
    if parts.username is not None or parts.password is not None:
        raise Failed(reasons.CREDENTIALS)
    host = _ascii(host)
    port = port or (443 if parts.scheme == "https" else 80)
    if port not in _WEB_PORTS and port < _HIGH_PORTS:
        raise Failed(reasons.PORT)  # mail, shells and databases have been talked to through such requests
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    usual = port == (443 if parts.scheme == "https" else 80)
    bracketed = f"[{host}]" if ":" in host else host
    place = bracketed if usual else f"{bracketed}:{port}"
    return Target(f"{parts.scheme}://{place}{path}{'?' + query if query else ''}", parts.scheme, host, port)


def check_literal(host: str, allowed: Collection[str]) -> None:
    """Raises Failed where a host is written as an address that may not be asked."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return  # a name: the resolver checks what it stands for
    if host not in allowed and is_private(str(address)):
        raise Failed(reasons.PRIVATE)


def is_private(address: str) -> bool:
    """Whether an IP address is anything but a public one of one machine, whatever form it is written in."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(parsed, ipaddress.IPv6Address):
        for network, right in _V4_IN_V6:
            if parsed in network:
                return is_private(str(ipaddress.IPv4Address(int(parsed) >> right & 0xFFFFFFFF)))
        if parsed not in _PUBLIC_V6:
            return True
    if any(parsed.version == network.version and parsed in network for network in _NEVER):
        return True
    return (
        not parsed.is_global
        or parsed.is_private
        or parsed.is_multicast
        or parsed.is_reserved
        or parsed.is_unspecified
        or parsed.is_loopback
        or parsed.is_link_local
    )


class CheckedResolver(AbstractResolver):
    """Names to addresses that were checked; the connection is made to these and not resolved again."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name; raises Failed where one is private, OSError where there is none."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results = []
        for kind, _, proto, _, sockaddr in found:
            address = str(sockaddr[0])
            if host not in self._allowed and is_private(address):
                raise Failed(reasons.PRIVATE)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=int(sockaddr[1]),
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is held."""


def _ascii(host: str) -> str:
    """A host name as DNS has it; raises Failed for what is none."""
    host = host.rstrip(".").lower()
    try:
        if ":" in host:
            return str(ipaddress.IPv6Address(host))
        if not host.isascii():  # before all else: circled digits become digits, and other full stops dots
            host = host.encode("idna").decode("ascii").rstrip(".")
        if host.rpartition(".")[2].isdecimal():  # old resolvers read 127.1 and 2130706433 as addresses
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise Failed(reasons.BAD_ADDRESS) from None
    if not host or len(host) > 253 or not all(mark.isalnum() or mark in ".-_" for mark in host):
        raise Failed(reasons.BAD_ADDRESS)
    return host
