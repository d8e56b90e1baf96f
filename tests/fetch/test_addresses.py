"""What may not be asked for, however it is written."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch.conftest import Clock, Open
from fetch.server import Host
from findling.fetch import reasons
from findling.fetch.addresses import CheckedResolver, check_literal, is_private, target
from findling.fetch.reasons import Failed

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "2001:db8::1",
    "3fff::1",
    "2001::1",
    "100::1",
    "5f00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "::127.0.0.1",
    "::10.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:0a00:0001::5",
    "nonsense",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "207.241.224.2",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2607:f8b0::1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert not is_private(address)


@given(st.ip_addresses(v=4))
def test_a_disguise_changes_nothing(plain: ipaddress.IPv4Address) -> None:
    number = int(plain)
    for disguise in (
        ipaddress.IPv6Address((0xFFFF << 32) + number),
        ipaddress.IPv6Address((0x64FF9B << 96) + number),
        ipaddress.IPv6Address((0x2002 << 112) + (number << 80)),
    ):
        assert is_private(str(disguise)) == is_private(str(plain))


REFUSED = {
    "ftp://example.org/x.jpg": reasons.SCHEME,
    "http://user@example.org/x.jpg": reasons.CREDENTIALS,
    "http://user:word@example.org/x.jpg": reasons.CREDENTIALS,
    "http://example.org:22/x.jpg": reasons.PORT,
    "http://example.org:6000000/x.jpg": reasons.BAD_ADDRESS,
    "http://": reasons.BAD_ADDRESS,
    "http:///x.jpg": reasons.BAD_ADDRESS,
    "http://exa mple.org/": reasons.BAD_ADDRESS,
    "http://example.org/\r\nHost: x": reasons.BAD_ADDRESS,
    "http://[::1": reasons.BAD_ADDRESS,
    "http://example.org/\udcff.jpg": reasons.BAD_ADDRESS,
    "http://[zz]/": reasons.BAD_ADDRESS,
    "http://" + "a" * 300 + ".org/": reasons.BAD_ADDRESS,
    "http://example.org/" + "a" * 9000: reasons.BAD_ADDRESS,
}


@pytest.mark.parametrize(("url", "reason"), REFUSED.items())
def test_addresses_that_are_none(url: str, reason: str) -> None:
    with pytest.raises(Failed) as told:
        target(url)
    assert told.value.reason == reason


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("HTTP://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a b?c=d e#f", "https://example.org/a%20b?c=d%20e"),
        ("https://example.org:8443/%C3%A4/ö", "https://example.org:8443/%C3%A4/%C3%B6"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[2607:F8B0::1]:8080/", "http://[2607:f8b0::1]:8080/"),
    ],
)
def test_addresses_are_put_in_one_form(url: str, asked: str) -> None:
    assert target(url).url == asked


@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    for url in (text, "http://" + text, "https://example.org/" + text):
        with contextlib.suppress(Failed):
            assert target(url).host


# Written as numbers, octal, hexadecimal or short, these all mean this machine to a resolver.
DISGUISED = [
    "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "[::1]", "[::]",
    "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "192.168.0.1", "127.0.0.1.",
]  # fmt: skip


@pytest.mark.parametrize("name", DISGUISED)
def test_this_machine_is_not_asked_under_any_name(name: str, host: Host, fetcher: Open) -> None:
    (got,) = fetcher(allow_hosts=[], attempts=1).fetch_many([f"http://{name}:{host.port}/x.jpg"])
    assert got.reason in {reasons.PRIVATE, reasons.NO_HOST, reasons.BAD_ADDRESS}
    assert not host.asked


@pytest.mark.parametrize(
    "name", ["127。1", "0177.0.0.①", "②130706433", "127。①", "0127.0.0.²", "127.0.0.1。", "１２７.0.0.1"]
)
def test_digits_and_dots_of_other_scripts_make_no_number_pass_for_a_name(name: str) -> None:
    """HTTP clients take what looks like a number for an address, which no resolver then checks."""
    with pytest.raises(Failed) as told:
        check_literal(target(f"http://{name}/x.jpg").host, [])
    assert told.value.reason in {reasons.PRIVATE, reasons.BAD_ADDRESS}


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names stand for these addresses, one answer after another; gives the names that were looked up."""
    looked_up: list[str] = []

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        found = answers[min(len(looked_up), len(answers)) - 1]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in found
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return looked_up


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch, fetcher: Open) -> None:
    resolve(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    (got,) = fetcher(attempts=1).fetch_many(["http://pictures.example/x.jpg"])
    assert got.reason == reasons.PRIVATE


def test_an_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch, fetcher: Open) -> None:
    resolve(monkeypatch, [])
    (got,) = fetcher(attempts=2).fetch_many(["http://pictures.example/x.jpg"])
    assert got.reason == reasons.NO_HOST


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, fetcher: Open, clock: Clock
) -> None:
    """A name server that answers publicly first and privately next gains nothing: it is asked once."""
    looked_up = resolve(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    reached: list[Any] = []

    async def sock_connect(self: Any, sock: socket.socket, address: Any) -> None:
        reached.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    (got,) = fetcher(attempts=1).fetch_many(["http://pictures.example:8080/x.jpg"])
    assert got.reason == reasons.NO_CONNECTION
    assert reached == [("8.8.8.8", 8080)]
    assert looked_up == ["pictures.example"]
    (got,) = fetcher(attempts=1).fetch_many(["http://pictures.example:8080/y.jpg"])
    assert got.reason == reasons.PRIVATE


def test_allowed_hosts_are_named_one_by_one() -> None:
    async def resolved(allowed: list[str]) -> int:
        return len(await CheckedResolver(allowed).resolve("localhost", 80))

    assert asyncio.run(resolved(["localhost"])) > 0
    with pytest.raises(Failed):
        asyncio.run(resolved(["127.0.0.1"]))
