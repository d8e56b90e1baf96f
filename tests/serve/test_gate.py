"""Who comes in and who does not: keys, names, origins, rates, and what only an administrator may do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Caller, Reply, Running, inside, serving

import small
from findling import build, cli, config
from findling.client import Client, ServiceError
from findling.config import ServeOptions
from findling.errors import ConfigError
from findling.serve import auth, gate, hosts
from findling.serve.app import create
from findling.serve.limits import Rates
from findling.serve.live import Collection

SEARCH = "/collections/small/search?q=whale"
RELOAD = "/admin/collections/small/reload"
ROLLBACK = "/admin/collections/small/rollback"
SEARCHER, SEARCHER_LINE = auth.new_key("search")
ADMIN, ADMIN_LINE = auth.new_key("admin")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def guarded(collection: Collection) -> Iterator[Caller]:
    """A service with a key of each kind, for pages of one other origin."""
    options = ServeOptions(keys=[SEARCHER_LINE, ADMIN_LINE], cors=["https://shop.example.org"])
    with inside(create([collection], options)) as caller:
        yield caller


def is_problem(reply: Reply, status: int, code: str) -> bool:
    return (reply.status, reply.type, reply.json()["code"]) == (status, "application/problem+json", code)


def paths(collection: Collection) -> list[tuple[str, str]]:
    """Every route of the application, filled in."""
    found = []
    for route in create([collection]).routes:
        path = getattr(route, "path", "").replace("{collection}", "small").replace("{id:path}", "moby")
        method = "POST" if "POST" in (getattr(route, "methods", None) or ()) else "GET"
        found.append((method, path))
    return found


def test_every_route_but_the_probes_and_the_shell_asks_for_a_key(
    guarded: Caller, collection: Collection
) -> None:
    free = {path for method, path in paths(collection) if guarded.call(path, method=method).status != 401}
    assert free == {"/", "/livez", "/readyz", "/favicon.ico"}
    assert guarded.call("/page/page.js").status == 200
    for path in ("/nope", "/collections/nope/search", "//metrics", "/search/", "/livez/", "/%2fmetrics"):
        assert is_problem(guarded.call(path), 401, "key")
    for path in ("/page/../metrics", "/page/%2e%2e/metrics", "/page/..%2fapp.py", "/page//etc/passwd"):
        assert is_problem(guarded.call(path), 404, "not-found")


def test_a_key_opens_search_and_an_admin_key_everything(guarded: Caller) -> None:
    for key in (SEARCHER, ADMIN):
        for path in (SEARCH, "/search?query=whale", "/collections", "/metrics", "/openapi.json"):
            assert guarded.call(path, headers=bearer(key)).status == 200
    assert guarded.call(SEARCH, headers={"authorization": f"bearer  {SEARCHER} "}).status == 200
    refused = guarded.call(RELOAD, method="POST", headers=bearer(SEARCHER))
    assert is_problem(refused, 403, "key")
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    done = guarded.call(RELOAD, method="POST", headers=bearer(ADMIN))
    assert done.status == 200
    assert done.json()["moved"] is False


def test_the_client_sends_its_key_and_does_not_show_it(guarded: Caller) -> None:
    client = Client(guarded.base, key=SEARCHER)
    assert client.search("small", "whale")["hits"][0]["id"] == "moby"
    assert SEARCHER not in repr(client)
    with pytest.raises(ServiceError, match="asks for a key"):
        Client(guarded.base).collections()


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer x",
        f"Basic {SEARCHER}",
        SEARCHER,
        f"Bearer {SEARCHER[:-1]}",
        f"Bearer {SEARCHER}x",
        f"Bearer {SEARCHER[:-1]}é",
        f"Bearer {auth.new_key('admin')[0]}",
        f"Bearer {SEARCHER_LINE}",
        f"Bearer {SEARCHER} {ADMIN}",
        "Bearer findling_" + "a" * 5000,
    ],
)
def test_what_is_no_known_key_does_not_open(guarded: Caller, authorization: str) -> None:
    refused = guarded.call(SEARCH, headers={"Authorization": authorization.encode().decode("latin-1")})
    assert is_problem(refused, 401, "key")
    assert refused.headers["www-authenticate"].startswith('Bearer realm="findling"')
    assert SEARCHER not in refused.body.decode()


def test_a_secret_with_another_keys_id_does_not_open() -> None:
    keys = auth.Keys([SEARCHER_LINE, ADMIN_LINE])
    mixed = "_".join(["findling", ADMIN.split("_")[1], SEARCHER.split("_", 2)[2]])
    assert keys.of(f"Bearer {mixed}".encode()) is None
    found = keys.of(f"Bearer {ADMIN}".encode())
    assert found is not None
    assert found.may_administer


def test_keys_are_never_the_same_and_their_lines_do_not_tell_them() -> None:
    keys = [auth.new_key("search") for _ in range(100)]
    assert len({key for key, _ in keys}) == 100
    for key, line in keys:
        assert key.split("_", 2)[2] not in line
        assert len(key.split("_", 2)[2]) == 43


@pytest.mark.parametrize("line", ["", "search:ab", SEARCHER, SEARCHER_LINE.upper(), SEARCHER_LINE + " "])
def test_a_line_that_is_none_is_named_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match=r"serve\.keys\[1\]") as refused:
        auth.Keys([ADMIN_LINE, line])
    assert not line or line not in str(refused.value)
    with pytest.raises(ConfigError, match=r"serve\.keys") as refused:
        config.parse({"serve": {"keys": SEARCHER}, "collection": "a"})
    assert SEARCHER not in str(refused.value)


def test_two_lines_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigError, match="two lines"):
        auth.Keys([ADMIN_LINE, ADMIN_LINE])


@pytest.mark.parametrize(("words", "scope"), [([], "search"), (["--admin"], "admin")])
def test_the_verb_makes_a_key_and_its_line(
    words: list[str], scope: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["key", *words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    found = auth.Keys([made["line"]]).of(f"Bearer {made['key']}".encode())
    assert found is not None
    assert found.scope == scope


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])  # noqa: S104 - that it is refused is the point
def test_serving_others_without_keys_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="without keys"):
        gate.check(ServeOptions(host=host))
    gate.check(ServeOptions(host=host, keys=[SEARCHER_LINE]))
    gate.check(ServeOptions(host=host, behind_proxy=True))


def test_the_refusal_is_one_line_and_exit_code_2(
    small_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["serve", "-c", str(small_home), "--host", "0.0.0.0", "--port", "0"]) == 2  # noqa: S104
    told = capsys.readouterr().err
    assert told.startswith("error: serving on 0.0.0.0 without keys")
    assert told.count("\n") == 1


def test_a_second_configuration_brings_no_keys(
    small_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = small.CONFIG.replace('"small"', '"other"').replace(
        "[serve]", f'[serve]\nkeys = ["{SEARCHER_LINE}"]'
    )
    other = small.write(tmp_path, config=text)
    assert cli.run(["serve", "-c", str(small_home), "-c", str(other), "--port", "0"]) == 2
    assert "has keys of its own" in capsys.readouterr().err


def test_a_service_whose_keys_were_taken_away_lets_nobody_in(collection: Collection) -> None:
    with inside(create([collection], ServeOptions(host="0.0.0.0"))) as caller:  # noqa: S104
        assert is_problem(caller.call(SEARCH), 401, "key")
        assert caller.call("/livez").status == 200


# ---- names and origins ---------------------------------------------------------------------------


def test_a_strangers_name_for_this_machine_is_not_answered(service: Running) -> None:
    for name in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        for path in ("/", SEARCH, RELOAD):
            assert is_problem(service.call(path, headers={"Host": name}), 421, "host")
    for name in ("localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:80"):
        assert service.call(SEARCH, headers={"Host": name}).status == 200
    assert service.call("/readyz", headers={"Host": "10.1.2.3"}).status == 200


@pytest.mark.parametrize(
    ("listening", "named", "known", "unknown"),
    [
        ("127.0.0.1", ["search.example.org"], ["search.example.org:80", "localhost"], ["example.org"]),
        (
            "127.0.0.1",
            ["*.example.org"],
            ["a.example.org", "A.B.EXAMPLE.org"],
            ["example.org", "xexample.org"],
        ),
        ("127.0.0.1", ["*"], ["anything"], []),
        ("192.0.2.1", [], ["anything"], []),
        ("192.0.2.1", ["a.example"], ["a.example", "192.0.2.1", "localhost"], ["b.example", "a.example:x"]),
    ],
)
def test_which_names_are_known(
    listening: str, named: list[str], known: list[str], unknown: list[str]
) -> None:
    names = hosts.Hosts(listening, named)
    assert all(names.knows(name.encode()) for name in known)
    assert not any(names.knows(name.encode()) for name in unknown)


def test_other_origins_read_nothing_unless_named(service: Running, guarded: Caller) -> None:
    origin = {"Origin": "https://shop.example.org"}
    assert "access-control-allow-origin" not in service.call(SEARCH, headers=origin).headers
    answer = guarded.call(SEARCH, headers={**origin, **bearer(SEARCHER)})
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    asked = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = guarded.call(SEARCH, method="OPTIONS", headers=asked)
    assert allowed.status == 200
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    stranger = {**asked, "Origin": "https://evil.example"}
    refused = guarded.call(SEARCH, method="OPTIONS", headers=stranger)
    assert refused.status == 400
    assert "access-control-allow-origin" not in refused.headers
    # A refusal can be read as well: the page of that origin has to know that its key is wrong.
    assert guarded.call(SEARCH, headers=origin).headers["access-control-allow-origin"] == origin["Origin"]


@pytest.mark.parametrize("origin", ["shop.example.org", "https://a/b", "ftp://a", "https://"])
def test_an_origin_that_is_none_is_named(collection: Collection, origin: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(origin)):
        create([collection], ServeOptions(cors=[origin]))


# ---- rates ---------------------------------------------------------------------------------------


def test_who_asks_too_often_is_told_when_to_come_back(collection: Collection) -> None:
    options = ServeOptions(keys=[SEARCHER_LINE, ADMIN_LINE], rate=0.5)
    with inside(create([collection], options)) as caller:
        assert caller.call(SEARCH, headers=bearer(SEARCHER)).status == 200
        refused = caller.call(SEARCH, headers=bearer(SEARCHER))
        assert is_problem(refused, 429, "rate")
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        # Another key has a bucket of its own, and who comes without one has the address's.
        assert caller.call(SEARCH, headers=bearer(ADMIN)).status == 200
        assert [caller.call(SEARCH).status for _ in range(2)] == [401, 429]
        assert {caller.call(path).status for path in ("/", "/livez", "/page/page.js")} == {200}


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 1000.0
    monkeypatch.setattr("findling.serve.limits.time.monotonic", lambda: now)
    one, other = Rates(10, tmp_path / "rates"), Rates(10, tmp_path / "rates")
    taken = [rates.take("a") for _ in range(10) for rates in (one, other)]
    assert taken == [0.0] * 20  # two seconds' worth, over both workers
    assert one.take("a") == pytest.approx(0.1)
    assert other.take("a") == pytest.approx(0.1)
    assert one.take("b") == 0
    now += 0.1001
    assert other.take("a") == 0
    assert one.take("a") > 0


def test_the_table_of_rates_stays_as_it_is_however_many_clients_come() -> None:
    rates = Rates(0.001)
    assert not any(rates.take(f"10.{n >> 16}.{(n >> 8) & 255}.{n & 255}") for n in range(3 * (1 << 14)))
    assert rates.take("10.0.0.0") == 0  # long forgotten
    assert rates.take("10.0.0.0") > 0


def test_behind_a_proxy_the_client_is_whom_the_proxy_names() -> None:
    assert hosts.client_of("10.0.0.1", b"1.2.3.4, 5.6.7.8", behind_proxy=True) == "5.6.7.8"
    assert hosts.client_of("10.0.0.1", b"1.2.3.4", behind_proxy=False) == "10.0.0.1"
    assert hosts.client_of("10.0.0.1", None, behind_proxy=True) == "10.0.0.1"
    assert hosts.network_of("2001:db8:1:2:3:4:5:6") == hosts.network_of("2001:db8:1:2::1")
    assert hosts.network_of("2001:db8:1:2::1") != hosts.network_of("2001:db8:1:3::1")
    assert hosts.network_of("192.0.2.1") != hosts.network_of("192.0.2.2")


# ---- administration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
    ],
)
def test_without_keys_neither_a_browser_nor_a_proxy_may_administer(
    service: Running, headers: dict[str, str]
) -> None:
    assert is_problem(service.call(RELOAD, method="POST", headers=headers), 403, "key")
    assert service.call(RELOAD, method="POST").status == 200


def test_without_keys_nobody_administers_through_a_proxy(collection: Collection) -> None:
    with inside(create([collection], ServeOptions(behind_proxy=True))) as caller:
        assert caller.call(SEARCH).status == 200
        assert is_problem(caller.call(RELOAD, method="POST"), 403, "key")


def test_rollback_and_reload_reach_every_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.build(config.load(small.write(tmp_path))).snapshot
    small.write(tmp_path, small.BOOKS[:-1])
    second = build.build(config.load(tmp_path)).snapshot
    monkeypatch.setenv("FINDLING_SERVE__KEYS", json.dumps([SEARCHER_LINE, ADMIN_LINE]))
    monkeypatch.setenv("FINDLING_SERVE__ACCESS_LOG", "true")
    with serving(tmp_path, "--workers", "2") as running:

        def ask(path: str, method: str | None = None) -> Any:
            reply = running.call(path, method=method, headers=bearer(ADMIN))
            return reply.status, reply.json()

        def all_answer_from(snapshot: str | None) -> bool:
            return {ask(SEARCH)[1]["snapshot"] for _ in range(12)} == {snapshot}

        assert all_answer_from(second)
        assert ask(ROLLBACK, "POST") == (200, {"collection": "small", "snapshot": first, "moved": True})
        running.until(lambda: all_answer_from(first))
        status, refused = ask(ROLLBACK, "POST")
        assert (status, refused["code"]) == (409, "snapshot")
        (tmp_path / "data/small/CURRENT").write_text(f"{second}\n")
        assert ask(RELOAD, "POST")[1]["snapshot"] == second
        running.until(lambda: all_answer_from(second))
        (tmp_path / "data/small/CURRENT").write_text("20000101T000000Z-00000000\n")
        assert ask(RELOAD, "POST")[0] == 409
        assert all_answer_from(second)
        assert ask("/admin/collections/nope/reload", "POST")[0] == 404
        running.process.terminate()
        log = running.process.stderr.read() if running.process.stderr else ""
    assert ADMIN.split("_")[1] in log
    assert ADMIN not in log
    assert ADMIN.split("_", 2)[2] not in log
