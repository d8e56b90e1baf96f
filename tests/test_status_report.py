"""`findling status --report`: one HTML file that shows recall over latency and runs nothing."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from batch import built, collection, some_rows
from findling import cli, config
from findling.catalog import Catalog
from findling.evaluate.curves import page


class Seen(HTMLParser):
    """The tags of a page with their attributes, and its text; tags that are opened and closed match."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(content: str) -> Seen:
    parser = Seen()
    parser.feed(content)
    return parser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    more = '[index]\nkind = "graph"\nlatency_ms = 10000\n'
    file = collection(tmp_path_factory.mktemp("status"), some_rows(200), more=more)
    built(file)
    return file


def test_the_report_shows_every_point_and_the_one_that_was_chosen(file: Path) -> None:
    target = file.parent / "report.html"
    target.write_text("an old one")
    assert cli.run(["status", "-c", str(file), "--report", str(target)]) == 0
    shown = seen(target.read_text("utf-8"))
    catalog = Catalog.of(config.load(file, environ={}))
    field = catalog.manifest(catalog.current() or "").fields["text"]
    dots = [attributes for tag, attributes in shown.tags if tag == "circle"]
    assert len(dots) == len(field.curve) > 5
    assert sum(dot.get("class") == "chosen" for dot in dots) == 1
    assert all(0 <= float(dot["cx"] or -1) <= 460 and 0 <= float(dot["cy"] or -1) <= 220 for dot in dots)
    assert sum(attributes.get("class") == "target" for _, attributes in shown.tags) == 1
    assert "the targets: recall@10 0.95, 10000 ms" in shown.text, "too far away to be drawn"
    assert field.queries in shown.text
    assert not list(file.parent.glob(".report*")), "nothing stays aside"


def test_the_report_runs_and_fetches_nothing_whatever_names_say(file: Path) -> None:
    catalog = Catalog.of(config.load(file, environ={}))
    manifest = catalog.manifest(catalog.current() or "")
    evil = '"><script>alert(1)</script>'
    field = manifest.fields["text"]
    curve = [{**point, "params": {evil: evil}} for point in field.curve]
    bad = msgspec.structs.replace(field, kind=evil, queries=evil, curve=curve)
    shown = seen(page(msgspec.structs.replace(manifest, collection=evil, fields={evil: bad})))
    assert evil in shown.text
    tags = {tag for tag, _ in shown.tags}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    attributes = {name for _, found in shown.tags for name in found}
    assert attributes.isdisjoint({"src", "href", "onload", "onclick"})


def test_a_latency_that_is_near_is_drawn(file: Path) -> None:
    catalog = Catalog.of(config.load(file, environ={}))
    manifest = catalog.manifest(catalog.current() or "")
    near = max(point["latency_ms"]["p95"] for point in manifest.fields["text"].curve) * 1.5
    shown = seen(page(msgspec.structs.replace(manifest, latency_ms=near)))
    lines = [attributes for _, attributes in shown.tags if attributes.get("class") == "target"]
    assert [line["x1"] == line["x2"] for line in lines] == [False, True]


def test_a_snapshot_without_latencies_is_shown_by_its_means(file: Path) -> None:
    catalog = Catalog.of(config.load(file, environ={}))
    manifest = catalog.manifest(catalog.current() or "")
    curve = [{"params": {}, "recall": 1.0, "qps": 0.0}, {"params": {"ef": 1}, "recall": 0.0, "qps": 100.0}]
    field = msgspec.structs.replace(manifest.fields["text"], curve=curve)
    old = msgspec.structs.replace(manifest, fields={"text": field}, latency_ms=None, recall=1.0)
    assert "10.000" in page(old)
    assert "no vector fields" in page(msgspec.structs.replace(old, fields={}))


def test_a_report_of_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.html"
    assert cli.run(["status", "-c", str(collection(tmp_path / "new")), "--report", str(target)]) == 2
    assert "nothing published" in capsys.readouterr().err
    assert not target.exists()
