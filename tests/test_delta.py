"""A delta on a whole snapshot answers as a full build of the same documents would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import small
from findling import build, config
from findling.catalog import Catalog
from findling.errors import SnapshotError
from findling.records import Query
from findling.searcher import Searcher

WORDS = [
    "red",
    "blue",
    "ship",
    "sea",
    "storm",
    "house",
    "garden",
    "whale",
    "captain",
    "letter",
    "winter",
    "song",
]


def book(number: int, words: list[str]) -> dict[str, Any]:
    return {
        "id": f"b{number:03d}",
        "title": " ".join(words),
        "authors": [words[0]],
        "year": 1900 + number,
        "pages": None,
        "subjects": words[:2],
        "text": "",
    }


def shelf(many: int = 60) -> list[dict[str, Any]]:
    return [book(n, [WORDS[(n * 7 + i * (n % 5 + 1)) % len(WORDS)] for i in range(4)]) for n in range(many)]


def built(home: Path, books: list[dict[str, Any]], kind: str = "graph", **options: Any) -> build.Report:
    text = small.CONFIG + f'[index]\nkind = "{kind}"\nrecall = 0.5\n'
    home.mkdir(exist_ok=True)
    return build.build(config.load(small.write(home, books, text)), **options)


def opened(home: Path) -> Searcher:
    settings = config.load(home / config.FILE)
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank, home / "models")
    searcher.probe()
    return searcher


def scored(searcher: Searcher, **asked: Any) -> dict[str, float]:
    answer = searcher.search(Query(k=100, **asked))
    ids = [hit.id for hit in answer.hits]
    assert len(set(ids)) == len(ids)
    return {hit.id: round(hit.score, 3) for hit in answer.hits}


def test_a_delta_holds_only_what_changed(tmp_path: Path) -> None:
    books = shelf()
    first = built(tmp_path, books)
    books[3]["title"] = "a lighthouse in the fog"
    del books[10]
    books.append(book(900, ["comet", "dust", "and", "ice"]))
    second = built(tmp_path, books, incremental=True)
    assert second.published
    assert second.records["kept"] == len(books)
    manifest = Catalog.of(config.load(tmp_path / config.FILE)).manifest(str(second.snapshot))
    assert manifest.base is not None
    told = (manifest.base.id, manifest.base.added, manifest.base.replaced, manifest.base.removed)
    assert told == (first.snapshot, 1, 1, 1)
    assert manifest.documents == len(books)
    assert manifest.fields["text"].count == len(books)
    searcher = opened(tmp_path)
    assert next(iter(scored(searcher, q="lighthouse in the fog"))) == "b003"
    assert next(iter(scored(searcher, q="comet dust", mode="lexical"))) == "b900"
    assert "b010" not in scored(searcher, q="ship sea storm whale red blue")
    assert json.loads(searcher.document("b003"))["title"] == "a lighthouse in the fog"
    assert json.loads(searcher.document("b900"))["year"] == 2800


@given(
    changed=st.sets(st.integers(0, 59), max_size=3),
    removed=st.sets(st.integers(0, 59), max_size=2),
    added=st.sets(st.integers(100, 999), max_size=2),
    words=st.lists(st.sampled_from(WORDS), min_size=4, max_size=4),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_answers_as_a_full_build_does(
    tmp_path: Path, changed: set[int], removed: set[int], added: set[int], words: list[str]
) -> None:
    for name in ("delta", "whole"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    built(tmp_path / "delta", shelf())
    books = {n: each for n, each in enumerate(shelf()) if n not in removed}
    books |= {n: book(n, words) for n in (changed & books.keys()) | added}
    built(tmp_path / "delta", list(books.values()), incremental=True)
    built(tmp_path / "whole", list(books.values()), kind="exact")
    layered, whole = opened(tmp_path / "delta"), opened(tmp_path / "whole")
    for asked in (
        {"q": " ".join(words)},
        {"q": "red sea"},
        {"like": min(str(b["id"]) for b in books.values())},
    ):
        assert scored(layered, mode="semantic", **asked) == scored(whole, mode="semantic", **asked)
    assert scored(layered, q="red", mode="lexical").keys() == scored(whole, q="red", mode="lexical").keys()
    for query in (
        Query(q="red", facets=("subjects",)),
        Query(q="red", where="year < 1930", facets=("year",)),
    ):
        ours, theirs = layered.search(query), whole.search(query)
        assert ours.facets == theirs.facets
        assert {hit.id for hit in ours.hits} <= {book["id"] for book in books.values()}
    narrow = "year in (1901, 1905, 1930)"
    assert scored(layered, q="sea", where=narrow).keys() == scored(whole, q="sea", where=narrow).keys()


def test_nothing_changed_is_no_new_snapshot(tmp_path: Path) -> None:
    first = built(tmp_path, shelf())
    again = built(tmp_path, list(reversed(shelf())), incremental=True)
    assert again.snapshot == first.snapshot


def test_a_second_delta_stands_on_the_whole_snapshot_and_a_full_build_folds_both_in(tmp_path: Path) -> None:
    first = built(tmp_path, shelf(60))
    built(tmp_path, shelf(61), incremental=True)
    third = built(tmp_path, shelf(62), incremental=True)
    catalog = Catalog.of(config.load(tmp_path / config.FILE))
    manifest = catalog.manifest(str(third.snapshot))
    assert manifest.base is not None
    assert (manifest.base.id, manifest.base.added) == (first.snapshot, 2)
    whole = built(tmp_path, shelf(62))
    assert catalog.manifest(str(whole.snapshot)).base is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("many", "more than 10% of 60 documents"),
        ("settings", "settings or encoders"),
        ("none", "nothing is published"),
    ],
)
def test_what_a_delta_cannot_tell_is_built_whole(tmp_path: Path, change: str, said: str) -> None:
    if change != "none":
        built(tmp_path, shelf())
    told: list[str] = []

    class Listening(build.Silent):
        def say(self, line: str) -> None:
            told.append(line)

    books = shelf(90 if change == "many" else 61)
    kind = "exact" if change == "settings" else "graph"
    report = built(tmp_path, books, kind, incremental=True, progress=Listening())
    assert Catalog.of(config.load(tmp_path / config.FILE)).manifest(str(report.snapshot)).base is None
    assert any(said in line for line in told), told


def test_prune_keeps_what_a_delta_stands_on(tmp_path: Path) -> None:
    first = built(tmp_path, shelf())
    second = built(tmp_path, shelf(61), incremental=True)
    catalog = Catalog.of(config.load(tmp_path / config.FILE))
    assert catalog.prune(keep=1) == []
    assert catalog.ids() == [first.snapshot, second.snapshot]
    assert catalog.rollback().id == first.snapshot


def test_a_damaged_base_is_told_by_name(tmp_path: Path) -> None:
    first = built(tmp_path, shelf())
    second = built(tmp_path, shelf(61), incremental=True)
    catalog = Catalog.of(config.load(tmp_path / config.FILE))
    file = catalog.local(first.snapshot) / "documents.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(SnapshotError, match=rf"{first.snapshot} is damaged: documents.arrow"):
        catalog.publish(str(second.snapshot))


def test_a_delta_and_its_base_are_fetched_from_a_remote_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(small, "CONFIG", small.CONFIG.replace('"data"', f'"memory://{tmp_path.name}"'))
    built(tmp_path, shelf())
    built(tmp_path, shelf(61), incremental=True)
    shutil.rmtree(tmp_path / "cache")
    assert "b060" in scored(opened(tmp_path), q="sea", mode="semantic")


def test_only_removals_make_a_delta(tmp_path: Path) -> None:
    built(tmp_path, shelf())
    built(tmp_path, shelf()[:-1], incremental=True)
    searcher = opened(tmp_path)
    assert len(scored(searcher, q="sea", mode="semantic")) == 59
    assert searcher.manifest.documents == 59
    assert np.array_equal(np.load(searcher.paths.gone), [59])
