"""What robots.txt says to findling, by the rules of RFC 9309."""

from __future__ import annotations

import pytest

from findling.fetch.robots import MAX_BYTES, rules_of

CASES = {
    "nothing": ("", "/x.jpg", True),
    "everything": ("User-agent: *\nDisallow: /", "/x.jpg", False),
    "an empty rule": ("User-agent: *\nDisallow:", "/x.jpg", True),
    "another's rules": ("User-agent: other\nDisallow: /", "/x.jpg", True),
    "our rules before all's": (
        "User-agent: *\nDisallow: /\nUser-agent: FindLing/2.0\nAllow: /",
        "/x.jpg",
        True,
    ),
    "our rules, which are none": ("User-agent: findling\n\nUser-agent: *\nDisallow: /", "/x", False),
    "one of several agents": ("User-agent: a\nUser-agent: findling\nDisallow: /x", "/x.jpg", False),
    "the longest rule, later": ("User-agent: *\nAllow: /\nDisallow: /private/", "/private/x.jpg", False),
    "the longest rule, earlier": ("User-agent: *\nDisallow: /a/b\nAllow: /a/", "/a/b.jpg", False),
    "the longest rule, allowing": ("User-agent: *\nDisallow: /\nAllow: /covers/", "/covers/x.jpg", True),
    "rules of one length": ("User-agent: *\nDisallow: /x\nAllow: /x", "/x.jpg", True),
    "a blank line in a group": ("User-agent: *\n\nDisallow: /x\n\nDisallow: /y", "/y.jpg", False),
    "groups of one agent": ("User-agent: *\nDisallow: /x\nUser-agent: *\nDisallow: /y", "/x.jpg", False),
    "an ending": ("User-agent: *\nDisallow: /*.jpg$", "/a/x.jpg", False),
    "no such ending": ("User-agent: *\nDisallow: /*.jpg$", "/a/x.jpg?size=L", True),
    "an ending after its like": ("User-agent: *\nDisallow: /*.jpg$", "/x.jpg.jpg", False),
    "a whole path": ("User-agent: *\nDisallow: /x$", "/x", False),
    "not a whole path": ("User-agent: *\nDisallow: /x$", "/x.jpg", True),
    "a star": ("User-agent: *\nDisallow: /*/private/", "/a/b/private/x.jpg", False),
    "stars in order": ("User-agent: *\nDisallow: /*a*b", "/b/a.jpg", True),
    "a star and an ending that overlap": ("User-agent: *\nDisallow: /aba*ba$", "/aba", True),
    "a query": ("User-agent: *\nDisallow: /*?size=", "/x.jpg?size=L", False),
    "escapes": ("User-agent: *\nDisallow: /%7eme/%c3%a4", "/~me/%C3%A4.jpg", False),
    "letters as they are": ("User-agent: *\nDisallow: /ä", "/%C3%A4.jpg", False),
    "an escaped star": ("User-agent: *\nDisallow: /a%2Ab", "/a*b", False),
    "a comment": ("User-agent: * # all\nDisallow: /x # this", "/x.jpg", False),
    "a byte order mark": ("\ufeffUser-agent: *\nDisallow: /", "/x.jpg", False),
    "old line ends": ("User-agent: *\rDisallow: /", "/x.jpg", False),
    "lower case and spaces": ("  user-AGENT :*\n disallow:/x", "/x.jpg", False),
    "a map between": ("User-agent: *\nSitemap: http://a/b\nDisallow: /x", "/x.jpg", False),
    "rules of nobody": ("Disallow: /", "/x.jpg", True),
    "a web page": ("<html><body>Disallow: /</body></html>", "/x.jpg", True),
}


@pytest.mark.parametrize(("text", "path", "allowed"), CASES.values(), ids=CASES)
def test_a_path_is_allowed_or_not(text: str, path: str, allowed: bool) -> None:
    assert rules_of(text.encode()).allow(path) is allowed


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("User-agent: *\nCrawl-delay: 2.5", 2.5),
        ("User-agent: *\nCrawl-delay: -1", 0),
        ("User-agent: *\nCrawl-delay: 1e9", 0),
        ("User-agent: *\nCrawl-delay: 9\n\nUser-agent: findling\nAllow: /", 0),
        ("User-agent: findling\nCrawl-delay: 3\n\nUser-agent: *\nCrawl-delay: 9", 3),
    ],
)
def test_a_host_may_ask_for_time_between_requests(text: str, delay: float) -> None:
    assert rules_of(text.encode()).delay == delay


def test_half_a_rule_at_the_end_of_what_is_read_is_none() -> None:
    """The file goes on: what ends as `Disallow: /` here may be `Disallow: /private` there."""
    head, rule = b"User-agent: *\nDisallow: /x\n", b"\nDisallow: /"
    text = head + b"#" * (MAX_BYTES - len(head) - len(rule)) + rule
    assert rules_of(text).allow("/y.jpg")
    assert not rules_of(text).allow("/x.jpg")
    assert not rules_of(head + rule).allow("/y.jpg")
