"""All hostile pictures and hosts of the tests in one build: it ends, and each has its reason in failures/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetch import test_web as hosts
from fetch.server import Host
from findling import build, config
from findling.fetch import reasons
from pictures import hostile

CONFIG = """
collection = "pictures"
source = { kind = "table", path = "rows.jsonl", id = "id" }
document = { title = "id", picture = "picture" }
vectors.cover = { encoder = "hashing", image = "picture" }
[fetch]
contact = "you@example.org"
allow_hosts = ["127.0.0.1"]
robots = false
per_minute = 0
attempts = 1
timeout = 2
"""
SLOW = {"slow headers": hosts.slow_headers, "slow body": hosts.slow_body, "continues": hosts.continues}
PLACES = {
    "file:///etc/passwd": reasons.OUTSIDE,
    "../secret.jpg": reasons.OUTSIDE,
    "nowhere.jpg": reasons.NOT_FOUND,
    "http://localhost:1024/x.jpg": reasons.PRIVATE,
    "http://169.254.169.254/latest/meta-data/": reasons.PRIVATE,
    "http://[::ffff:10.0.0.1]/x.jpg": reasons.PRIVATE,
    "http://2130706433/x.jpg": reasons.BAD_ADDRESS,
    "http://127。1/x.jpg": reasons.BAD_ADDRESS,
    "http://good@127.0.0.1/x.jpg": reasons.CREDENTIALS,
    "ftp://127.0.0.1/x.jpg": reasons.SCHEME,
    "data:image/png;base64,AAAA": reasons.SCHEME,
    "http://127.0.0.1:22/x.jpg": reasons.PORT,
}


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def test_each_hostile_picture_of_a_build_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "home"
    (home / "files").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(hostile.jpeg())
    expected: dict[str, tuple[str, frozenset[str]]] = {}
    for number, (name, case) in enumerate(hostile.CASES.items()):
        place = home / "files" / f"{number}.jpg"
        place.write_bytes(case.make())
        expected[f"a file: {name}"] = (str(place), case.reasons)
    answers = {name: (sent, reason) for name, (sent, reason) in hosts.CASES.items()}
    answers |= {name: (sent, reasons.TIMED_OUT) for name, sent in SLOW.items()}
    for number, (name, (sent, reason)) in enumerate(answers.items()):
        host.routes[f"/{number}.jpg"] = sent
        expected[f"an answer: {name}"] = (host.url(f"/{number}.jpg"), frozenset([reason] if reason else []))
    expected |= {f"a place: {place}": (place, frozenset([reason])) for place, reason in PLACES.items()}
    rows = [{"id": name, "picture": reference} for name, (reference, _) in expected.items()]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "findling.toml").write_text(CONFIG)
    report = build.build(config.load(home))
    lines = (home / "data/pictures/failures/embed-cover.jsonl").read_text().splitlines()
    told = {failure["id"]: failure["reason"] for failure in map(json.loads, lines)}
    assert {name for name, (_, wanted) in expected.items() if wanted} == set(told)
    wrong = {name: told[name] for name in told if told[name] not in expected[name][1]}
    assert not wrong
    assert len(told) >= 40
    assert report.embedded["cover"]["failed"] == sum(report.failures["cover"].values()) == len(told)
    assert report.embedded["cover"]["new"] == len(expected) - len(told)
