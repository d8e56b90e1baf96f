"""Hosts that fail, lie, loop and stall: each picture has its reason, none takes longer than it may."""

from __future__ import annotations

import gzip
import time
import zlib
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import pytest

from fetch.conftest import Clock, Open
from fetch.server import Host, Request
from findling.errors import ConfigError
from findling.fetch import FetchOptions, reasons
from findling.pictures import MAX_BYTES, TOO_MANY_BYTES, WEB_PAGE
from pictures import hostile

PICTURE = hostile.jpeg()


def give(content: bytes = PICTURE, status: str = "200 OK", **headers: object) -> Callable[[Request], None]:
    return lambda request: request.answer(status, content, **headers)


def raw(*pieces: bytes) -> Callable[[Request], None]:
    """Send these bytes and hang up."""

    def send(request: Request) -> None:
        for piece in pieces:
            request.send(piece)
        raise OSError

    return send


def endless(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
    while True:
        request.send(bytes(1 << 20))


def endless_chunks(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        request.send(b"100000\r\n" + bytes(1 << 20) + b"\r\n")


def slow_headers(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\n")
    request.drip(b"X-Slow: 1\r\n")


def slow_body(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    request.drip(b"\xff")


def silent_body(request: Request) -> None:
    request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n\xff\xd8")
    request.hang()


def continues(request: Request) -> None:
    request.drip(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.001)


def bomb() -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(64)) + squeeze.flush()


def redirect(where: str, status: str = "302 Found") -> Callable[[Request], None]:
    return lambda request: request.answer(status, Location=where)


CASES: dict[str, tuple[Callable[[Request], None], str | None]] = {
    "a picture": (give(), None),
    "a picture of another type": (give(Content_Type="text/html"), None),
    "gzip": (give(gzip.compress(PICTURE), Content_Encoding="gzip"), None),
    "deflate": (give(zlib.compress(PICTURE), Content_Encoding="deflate"), None),
    "chunks": (
        raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PICTURE),
            PICTURE + b"\r\n0\r\n\r\n",
        ),
        None,
    ),
    "no length, then the end": (raw(b"HTTP/1.0 200 OK\r\n\r\n", PICTURE), None),
    "a page called a jpeg": (give(hostile.html(), Content_Type="image/jpeg"), WEB_PAGE),
    "svg": (give(hostile.svg(), Content_Type="image/svg+xml"), "SVG is not taken"),
    "nothing": (give(b""), "no bytes"),
    "no content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), reasons.REFUSED),
    "a part": (give(PICTURE[:100], "206 Partial Content"), reasons.REFUSED),
    "not modified, unasked": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), reasons.REFUSED),
    "not found": (give(b"", "404 Not Found"), reasons.NOT_FOUND),
    "gone": (give(b"", "410 Gone"), reasons.NOT_FOUND),
    "forbidden": (give(b"", "403 Forbidden"), reasons.FORBIDDEN),
    "a teapot": (give(b"", "418 I'm a teapot"), reasons.REFUSED),
    "always busy": (give(b"", "503 Service Unavailable"), reasons.SERVER),
    "always too many": (give(b"", "429 Too Many Requests"), reasons.TOO_MANY),
    "status 999": (give(b"", "999 Denied"), reasons.SERVER),
    "fewer bytes than promised": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", PICTURE),
        reasons.CUT,
    ),
    "a chunk cut short": (
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", PICTURE),
        reasons.CUT,
    ),
    "gzip cut short": (give(gzip.compress(PICTURE)[:-20], Content_Encoding="gzip"), reasons.CUT),
    "no gzip": (give(PICTURE, Content_Encoding="gzip"), "damaged"),
    "brotli": (give(PICTURE, Content_Encoding="br"), reasons.ENCODING),
    "gzip in gzip": (give(PICTURE, Content_Encoding="gzip, gzip"), reasons.ENCODING),
    "a bomb": (give(bomb(), Content_Encoding="gzip"), TOO_MANY_BYTES),
    "a length of 100 MB": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n\xff\xd8"),
        TOO_MANY_BYTES,
    ),
    "an endless body": (endless, TOO_MANY_BYTES),
    "endless chunks": (endless_chunks, TOO_MANY_BYTES),
    "a negative length": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", PICTURE), reasons.NOT_HTTP),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", PICTURE),
        reasons.NOT_HTTP,
    ),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), reasons.NOT_HTTP),
    "a line without end": (raw(b"HTTP/1.1 200 " + b"A" * 200_000), reasons.NOT_HTTP),
    "headers without end": (raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 30_000), reasons.NOT_HTTP),
    "hung up": (raw(b""), reasons.NO_CONNECTION),
    "a redirect to nowhere": (give(b"", "302 Found"), reasons.REDIRECT),
    "a redirect to a file": (redirect("file:///etc/passwd"), reasons.SCHEME),
    "a redirect to data": (redirect("data:image/png;base64,AAAA"), reasons.SCHEME),
    "a redirect with a password": (redirect("http://a:b@127.0.0.1/x.jpg"), reasons.CREDENTIALS),
    "a redirect to itself": (redirect("?"), reasons.LOOP),
    "a redirect to a neighbour": (redirect("http://10.0.0.1/x.jpg"), reasons.PRIVATE),
    "a redirect to the cloud's secrets": (redirect("http://169.254.169.254/latest/"), reasons.PRIVATE),
    "a redirect to this machine": (redirect("http://localhost:1024/x.jpg"), reasons.PRIVATE),
    "a redirect to this machine in disguise": (redirect("http://[::ffff:127.0.0.1]/"), reasons.PRIVATE),
    "a redirect to a mail server": (redirect("http://127.0.0.1:25/"), reasons.PORT),
}


@pytest.mark.parametrize(("sent", "reason"), CASES.values(), ids=CASES)
def test_each_answer_is_a_picture_or_has_its_reason(
    sent: Callable[[Request], None], reason: str | None, host: Host, fetcher: Open
) -> None:
    host.routes["/x.jpg"] = sent
    (got,) = fetcher(attempts=2).fetch_many([host.url("/x.jpg")])
    assert got.reason == reason
    assert got.content == (None if reason else PICTURE)
    assert got.reference == host.url("/x.jpg")
    tries = 2 if got.reason in reasons.PASSING else 1
    # Where a connection ends without a word, aiohttp opens another one at once and asks again.
    assert host.asked["/x.jpg"] in ({tries, 2 * tries} if got.reason == reasons.NO_CONNECTION else {tries})


@pytest.mark.parametrize("sent", [slow_headers, slow_body, silent_body, continues, Request.hang])
def test_a_slow_host_takes_no_longer_than_it_may(
    sent: Callable[[Request], None], host: Host, fetcher: Open
) -> None:
    host.routes["/x.jpg"] = sent
    started = time.monotonic()
    (got,) = fetcher(attempts=1, timeout=0.3, read_timeout=0.2).fetch_many([host.url("/x.jpg")])
    assert got.reason == reasons.TIMED_OUT
    assert time.monotonic() - started < 5


def test_redirects_are_part_of_the_time_that_a_try_may_take(host: Host, fetcher: Open) -> None:
    def slowly(request: Request) -> None:
        request.host.closing.wait(0.2)
        redirect(f"{request.path}0")(request)

    host.default = slowly
    (got,) = fetcher(attempts=1, timeout=0.5).fetch_many([host.url("/0")])
    assert got.reason == reasons.TIMED_OUT  # and not "too many redirects", of which each was quick enough
    assert host.asked.total() < 6


def test_a_host_of_one_picture_is_left_at_once(host: Host, fetcher: Open) -> None:
    """With thousands of hosts, connections that wait for a second request would use up a process's files."""
    host.default = give()
    (got,) = fetcher(robots=True).fetch_many([host.url("/x.jpg")])
    assert got.content == PICTURE
    assert host.left(5)


def test_one_bad_picture_fails_no_other(host: Host, fetcher: Open) -> None:
    for name, (sent, _) in CASES.items():
        host.routes[f"/{name.replace(' ', '_')}"] = sent
    urls = [host.url(path) for path in host.routes]
    mixed = [url for bad in urls for url in (host.url("/good.jpg"), bad)]
    host.routes["/good.jpg"] = give()
    got = list(fetcher(attempts=1).fetch_many(mixed))
    assert [each.reference for each in got] == mixed
    assert all(each.content == PICTURE for each in got[::2])
    assert host.asked["/good.jpg"] == 1, "once had, it is not asked for again"


def test_redirects_are_followed_five_times(host: Host, fetcher: Open) -> None:
    for hop in range(7):
        host.routes[f"/{hop}"] = redirect(
            f"/{hop + 1}", ("301 Moved", "302 F", "303 S", "307 T", "308 P")[hop % 5]
        )
    host.routes["/7"] = give()
    got = list(fetcher().fetch_many([host.url("/2"), host.url("/1")]))
    assert [each.reason for each in got] == [None, reasons.HOPS]


def test_a_loop_of_several_is_named(host: Host, fetcher: Open) -> None:
    host.routes |= {"/a": redirect("/b"), "/b": redirect("/c"), "/c": redirect("/a")}
    (got,) = fetcher().fetch_many([host.url("/a")])
    assert got.reason == reasons.LOOP
    assert host.asked.total() == 3


def test_what_passes_is_tried_again_with_growing_waits(host: Host, fetcher: Open, clock: Clock) -> None:
    def third_time(request: Request) -> None:
        request.answer("200 OK" if request.times == 3 else "500 Oops", PICTURE)

    host.routes["/x.jpg"] = third_time
    (got,) = fetcher().fetch_many([host.url("/x.jpg")])
    assert got.content == PICTURE
    assert clock.slept == [1.0, 2.0]


@pytest.mark.parametrize("dated", [False, True])
def test_a_host_that_asks_for_a_pause_gets_it(dated: bool, host: Host, fetcher: Open, clock: Clock) -> None:
    def once_busy(request: Request) -> None:
        if request.times > 1:
            request.answer("200 OK", PICTURE)
            return
        until = formatdate(clock.time + 30, usegmt=True) if dated else "30"
        request.answer("429 Too Many Requests", Retry_After=until)

    host.routes["/x.jpg"] = once_busy
    host.routes["/y.jpg"] = give()
    started = clock.time
    made = fetcher(connections=1)
    assert [got.reason for got in made.fetch_many([host.url("/x.jpg"), host.url("/y.jpg")])] == [None, None]
    assert clock.time - started == pytest.approx(30, abs=1)


def test_a_pause_longer_than_patience_fails_at_once(host: Host, fetcher: Open, clock: Clock) -> None:
    host.default = lambda request: request.answer("503 Busy", Retry_After="86000")
    urls = [host.url(f"/{n}.jpg") for n in range(20)]
    got = list(fetcher(connections=1, patience=60).fetch_many(urls))
    assert {each.reason for each in got} <= {reasons.SERVER, reasons.TOO_MANY}
    assert host.asked.total() == 1
    assert not clock.slept


def test_a_rate_is_kept_and_outlives_the_run(host: Host, fetcher: Open, clock: Clock) -> None:
    host.default = give()
    started = clock.time
    for run in range(2):
        with fetcher(rates={"127.0.0.1": 60}) as made:
            assert len(list(made.fetch_many([host.url(f"/{run}/{n}.jpg") for n in range(10)]))) == 10
    assert clock.time - started == pytest.approx(19, abs=0.01)


def test_a_dead_host_is_given_up_for_a_while(host: Host, fetcher: Open, clock: Clock) -> None:
    host.default = raw(b"")
    got = list(fetcher(attempts=1, connections=1).fetch_many([host.url(f"/{n}.jpg") for n in range(60)]))
    told = Counter(each.reason for each in got)
    assert told == {reasons.NO_CONNECTION: 40, reasons.GAVE_UP: 20}
    clock.time += 301
    host.default = give()
    made = fetcher(attempts=1, connections=1)
    assert next(made.fetch_many([host.url("/60.jpg")])).content == PICTURE


def test_the_request_says_who_asks(host: Host, fetcher: Open) -> None:
    host.default = give()
    list(fetcher().fetch_many([host.url("/x.jpg")]))
    headers = host.seen[0].headers
    assert headers["user-agent"].startswith("findling/")
    assert "you@example.org" in headers["user-agent"]
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


def test_nothing_is_asked_of_strangers_without_a_contact(fetcher: Open) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.contact is missing"):
        list(fetcher(contact=None).fetch_many(["https://covers.openlibrary.org/b/id/1-M.jpg"]))


def test_a_redirect_to_strangers_without_a_contact_fails_no_other(host: Host, fetcher: Open) -> None:
    host.routes |= {"/x.jpg": redirect("http://example.org/x.jpg"), "/y.jpg": give()}
    got = list(fetcher(contact=None).fetch_many([host.url("/x.jpg"), host.url("/y.jpg")]))
    assert [each.reason for each in got] == [reasons.NO_CONTACT, None]


@pytest.mark.parametrize("contact", ["me", "a@b.c\r\nX: y", "a@b.c)", "ö@example.org"])
def test_a_contact_is_an_address(contact: str) -> None:
    with pytest.raises(ConfigError, match=r"fetch\.contact"):
        FetchOptions.read({"contact": contact})


def test_open_librarys_covers_are_asked_for_at_its_rate() -> None:
    options = FetchOptions.read({})
    assert options.interval("covers.openlibrary.org") == 60 / 400
    assert (
        FetchOptions.read({"rates": {"covers.openlibrary.org": 100}}).interval("covers.openlibrary.org")
        == 0.6
    )
    with pytest.raises(ConfigError, match=r"fetch\.rates"):
        FetchOptions.read({"rates": {"a": -1}})


def test_robots_are_obeyed_and_asked_once(host: Host, fetcher: Open, clock: Clock) -> None:
    rules = b"User-agent: *\nDisallow: /private/\nCrawl-delay: 2\n\nUser-agent: other\nDisallow: /\n"
    host.routes["/robots.txt"] = give(rules)
    host.default = give()
    urls = [host.url(path) for path in ("/a.jpg", "/private/b.jpg", "/c.jpg")]
    for _ in range(2):
        started = clock.time
        with fetcher(robots=True) as made:
            assert [got.reason for got in made.fetch_many(urls)] == [None, reasons.ROBOTS, None]
    assert host.asked == {"/robots.txt": 1, "/a.jpg": 1, "/c.jpg": 1}
    assert clock.time == started


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (give(b"", "404 Not Found"), None),
        (give(b"", "403 Forbidden"), None),
        (give(b"\xff\xfe\0junk" * 100), None),
        (endless, None),
        (give(b"User-agent: findling\nDisallow: /"), reasons.ROBOTS),
        (give(b"User-agent: *\nDisallow: /\n" + b"#" * 600_000), reasons.ROBOTS),
        (
            give(gzip.compress(b"User-agent: *\nDisallow: /\n" + bytes(9_000_000)), Content_Encoding="gzip"),
            reasons.ROBOTS,
        ),
        (
            raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nUser-agent: *\nDisallow: /\n",
                b"#" * 600_000,
            ),
            reasons.ROBOTS,
        ),
        (give(b"User-agent: *\n" + b"#" * 511_980 + b"\nDisallow: /private/"), None),
        (give(PICTURE, Content_Encoding="br"), reasons.NO_ROBOTS),
        (redirect("http://10.0.0.1/robots.txt"), reasons.NO_ROBOTS),
        (give(b"", "500 Oops"), reasons.NO_ROBOTS),
        (raw(b""), reasons.NO_ROBOTS),
    ],
)
def test_robots_that_cannot_be_read_forbid_for_now(
    sent: Callable[[Request], None], reason: str | None, host: Host, fetcher: Open
) -> None:
    host.routes["/robots.txt"] = sent
    host.default = give()
    got = list(fetcher(robots=True, attempts=1).fetch_many([host.url(f"/{n}.jpg") for n in range(5)]))
    assert {each.reason for each in got} == {reason}
    assert host.asked["/robots.txt"] <= 2


@pytest.mark.parametrize(
    "line",
    [
        b"Crawl-delay: 5\xc2\xb2",
        b"Crawl-delay: " + b"9" * 5000,
        b"Crawl-delay: \xd9\xa1",
        b"crawl-delay:-1",
        b"Request-rate: 1/0s",
        b"Request-rate: 9/" + b"9" * 5000,
        b"Disallow: /%zz%\xff",
        b"Disallow: /a" + b"*a" * 10_000,
        b"\n".join(b"User-agent: a%d" % n for n in range(15_000)) + b"\nDisallow: /y\nUser-agent: *",
        b"Allow",
        b"\0" * 9999,
    ],
)
def test_robots_of_any_bytes_do_no_harm(line: bytes, host: Host, fetcher: Open) -> None:
    host.routes["/robots.txt"] = give(b"User-agent: *\n" + line + b"\nDisallow: /private\n")
    host.default = give()
    got = list(fetcher(robots=True).fetch_many([host.url("/x.jpg"), host.url("/private/x.jpg")]))
    assert [each.reason for each in got] == [None, reasons.ROBOTS]


def test_robots_are_read_again_after_a_day(host: Host, fetcher: Open, clock: Clock) -> None:
    host.routes["/robots.txt"] = give(b"User-agent: *\nDisallow: /private\n")
    host.default = give()
    made = fetcher(robots=True)
    for day, reason in ((0, None), (2, reasons.ROBOTS)):
        clock.time = 1_700_000_000 + day * 86_400
        (got,) = made.fetch_many([host.url(f"/{day}.jpg")])
        assert got.reason == reason
        host.routes["/robots.txt"] = give(b"User-agent: *\nDisallow: /\n")
    assert host.asked["/robots.txt"] == 2


@pytest.mark.parametrize("value", [b"\xff\xfe", b'"' + b"a" * 7000 + b'"', "\u2028é".encode(), b""])
def test_headers_of_any_bytes_do_no_harm(value: bytes, host: Host, fetcher: Open) -> None:
    host.routes["/x.jpg"] = raw(
        b"HTTP/1.1 200 OK\r\nETag: %b\r\nLast-Modified: %b\r\nContent-Type: %b\r\n\r\n%b"
        % (value, value, value, PICTURE)
    )
    for _ in range(2):
        (got,) = fetcher(refresh_days=0).fetch_many([host.url("/x.jpg")])
        assert got.content == PICTURE


@pytest.mark.parametrize(
    "value", [b"9" * 5000, b"-1", b"soon", b"\xff", b"Mon, 99 Foo 99999 99:99:99 GMT", b"1e9", b"0", b""]
)
def test_pauses_of_any_bytes_do_no_harm(value: bytes, host: Host, fetcher: Open) -> None:
    host.routes["/x.jpg"] = raw(b"HTTP/1.1 429 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % value)
    (got,) = fetcher(attempts=2).fetch_many([host.url("/x.jpg")])
    assert got.reason == reasons.TOO_MANY


@pytest.mark.parametrize(
    "where", [b"\xff\xfe", b"//", b"http://", b"http:///x", b"http://[", b"http://a b/", b"\t"]
)
def test_redirects_of_any_bytes_do_no_harm(where: bytes, host: Host, fetcher: Open) -> None:
    host.routes["/x.jpg"] = raw(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where)
    (got,) = fetcher(attempts=1).fetch_many([host.url("/x.jpg")])
    assert got.reason in reasons.ALL


def test_the_limit_is_the_bodies_own(host: Host, fetcher: Open) -> None:
    exact = PICTURE + bytes(MAX_BYTES - len(PICTURE))
    host.routes |= {"/most.jpg": give(exact), "/more.jpg": give(exact + b"\0")}
    got = list(fetcher().fetch_many([host.url("/most.jpg"), host.url("/more.jpg")]))
    assert [each.reason for each in got] == [None, TOO_MANY_BYTES]
