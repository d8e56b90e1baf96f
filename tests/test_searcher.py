"""The searcher: modes, combinations, paging, filters, facets, and what it refuses."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import small
from findling import build, config, snapshot
from findling.catalog import Catalog
from findling.errors import FindlingError, NotFound, QueryError, SnapshotError
from findling.fields import VectorField
from findling.records import Answer, Query, Term
from findling.searcher import Searcher


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    settings = config.load(small.write(tmp_path_factory.mktemp("small")))
    build.build(settings)
    return settings


@pytest.fixture(scope="module")
def searcher(settings: config.Settings) -> Searcher:
    return opened(settings)


def opened(settings: config.Settings, **rank: Any) -> Searcher:
    options = config.RankOptions(**{"candidates": 10, **rank})
    return Searcher.open(Catalog.of(settings).local(), options)


def ids(answer: Answer) -> list[str]:
    return [hit.id for hit in answer.hits]


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
def test_every_mode_finds_the_book_that_is_described(searcher: Searcher, mode: Any) -> None:
    answer = searcher.search(Query(q="captain hunts a white whale", mode=mode, k=3))
    assert ids(answer)[0] == "moby"
    assert [hit.rank for hit in answer.hits] == list(range(1, len(answer.hits) + 1))
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)


def test_parts_tell_their_scores_and_ranks(searcher: Searcher) -> None:
    first = searcher.search(Query(q="white whale", k=1, explain=True)).hits[0]
    assert set(first.scores) == {"text", "lexical"}
    assert first.ranks == {"text": 1, "lexical": 1}
    assert 0 < first.scores["text"] <= 1.001


def test_semantic_scores_are_cosines(searcher: Searcher) -> None:
    query = "A desert planet"
    own = searcher.fields["text"].encoder.embed_texts([query], role="query")[0]
    text = searcher.fields["text"].encoder.embed_texts(["Dune. " + small.BOOKS[4]["text"]])[0]
    hit = next(h for h in searcher.search(Query(q=query, mode="semantic")).hits if h.id == "dune")
    assert hit.score == pytest.approx(float(own @ text), abs=2e-3)


def test_documents_like_one_leave_it_out(searcher: Searcher) -> None:
    answer = searcher.search(Query(like="moby", mode="semantic", k=10))
    assert "moby" not in ids(answer)
    assert len(answer.hits) == len(small.BOOKS) - 2  # itself, and the one without a text


def test_likeness_and_words_combine(searcher: Searcher) -> None:
    alone = searcher.search(Query(like="emma", mode="semantic")).hits[0]
    both = searcher.search(Query(like="emma", q="whale ocean captain hunts", mode="semantic", k=10))
    assert alone.id != "moby"
    assert "moby" in ids(both)[:3]


def test_terms_add_up_and_one_below_zero_pushes_away(searcher: Searcher) -> None:
    words = "captain whale hunts"
    toward = Query(q=words, also=(Term(like="sea/wolf"),), mode="semantic", k=3)
    away = Query(q=words, also=(Term(q="white whale hunts", weight=-0.9),), mode="semantic", k=3)
    assert "sea/wolf" not in ids(searcher.search(toward))  # it is no answer to itself
    assert ids(searcher.search(Query(q=words, mode="semantic", k=1))) == ["moby"]
    assert ids(searcher.search(away))[0] == "sea/wolf"


def test_a_document_pushed_away_may_still_be_found(searcher: Searcher) -> None:
    answer = searcher.search(Query(q="whale", also=(Term(like="emma", weight=-1.0),), mode="semantic", k=10))
    assert ids(answer)[-1] == "emma"


def test_a_vector_asks_for_itself(searcher: Searcher) -> None:
    own = searcher.fields["text"].vector_of(searcher.store.row_of("dune") or 0)
    assert own is not None
    assert ids(searcher.search(Query(vector=own, mode="semantic", k=1))) == ["dune"]


def test_a_document_without_text_is_found_by_filter_only(searcher: Searcher) -> None:
    everything = ids(searcher.search(Query(q="captain", mode="semantic", k=100)))
    assert "empty" not in everything
    assert json.loads(searcher.document("empty"))["id"] == "empty"
    with pytest.raises(QueryError, match=r"no vector field can take.*has no vector there"):
        searcher.search(Query(like="empty", mode="semantic"))


def test_pages_neither_overlap_nor_miss(tmp_path: Path) -> None:
    books = [
        {"id": f"{n:04}", "title": f"whale {n % 7} {n % 11} {n}", "text": "whale " * (n % 5)}
        for n in range(400)
    ]
    text = small.CONFIG.replace('["title", "authors", "year", "pages", "subjects", "text"]', '["title"]')
    settings = config.load(
        small.write(tmp_path, books, text.replace('facets = ["authors", "subjects"]\n', ""))
    )
    build.build(settings)
    searcher = opened(settings, candidates=20)
    whole = ids(searcher.search(Query(q="whale 3 5", k=400)))
    pages = [ids(searcher.search(Query(q="whale 3 5", k=37, offset=at))) for at in range(0, 400, 37)]
    assert sorted(whole) == [book["id"] for book in books]
    assert [identity for page in pages for identity in page] == whole
    deep = searcher.search(Query(q="whale 3 5", k=400))
    scores = [hit.score for hit in deep.hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
def test_a_filter_holds_in_every_mode(searcher: Searcher, mode: Any) -> None:
    answer = searcher.search(Query(q="captain creature desert proud", mode=mode, where="year < 1820", k=10))
    assert ids(answer)
    assert set(ids(answer)) <= {"emma", "pride", "frank"}


def test_a_filter_by_tree_and_by_text_agree(searcher: Searcher) -> None:
    text = searcher.search(Query(q="sea", where="subjects contains 'Sea stories'"))
    tree = searcher.search(
        Query(q="sea", where={"column": "subjects", "op": "contains", "value": "Sea stories"})
    )
    assert set(ids(text)) == {"moby", "sea/wolf"}
    assert ids(tree) == ids(text)


def test_facets_count_the_filtered_set(searcher: Searcher) -> None:
    whole = searcher.search(Query(q="sea", facets=("authors",))).facets["authors"]
    assert dict(whole)["Jane Austen"] == 2
    some = searcher.search(Query(q="sea", facets=("subjects",), where="year >= 1900")).facets["subjects"]
    assert dict(some) == {"Sea stories": 1, "Deserts": 1, "Science fiction": 1, "Dragons": 1}


def test_matches_are_marked_in_characters(searcher: Searcher) -> None:
    hit = searcher.search(Query(q="whales", mode="lexical", k=1, highlight=True)).hits[0]
    assert hit.highlights is not None
    text = json.loads(hit.document)["text"]
    assert [text[start:end] for start, end in hit.highlights["text"]] == ["whale"]


def test_weights_of_a_request_decide(searcher: Searcher) -> None:
    words = searcher.search(Query(q="white whale", weights={"text": 0.0}, k=10, explain=True))
    assert all("lexical" in hit.scores for hit in words.hits)


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_both_fusions_agree_on_the_obvious(settings: config.Settings, fusion: str) -> None:
    searcher = opened(settings, fusion=fusion)
    assert ids(searcher.search(Query(q="a captain hunts a whale", k=1))) == ["moby"]


@pytest.mark.parametrize("mode", ["hybrid", "semantic", "lexical"])
def test_low_scores_can_be_left_out(searcher: Searcher, mode: Any) -> None:
    every = searcher.search(Query(q="captain whale creature", mode=mode, k=10)).hits
    least = every[1].score
    some = searcher.search(Query(q="captain whale creature", mode=mode, k=10, min_score=least)).hits
    assert some == [hit for hit in every if hit.score >= least]
    assert 2 <= len(some) < len(every)
    assert not searcher.search(Query(q="captain whale", mode=mode, min_score=1e6)).hits


def test_typos_are_forgiven_unless_told(searcher: Searcher) -> None:
    assert ids(searcher.search(Query(q="dragosn", mode="lexical"))) == ["naïve 🐉"]
    assert ids(searcher.search(Query(q="dragosn", mode="lexical", typos=False))) == []


REFUSED: dict[str, tuple[Query, str]] = {
    "k 0": (Query(q="x", k=0), "k is 0"),
    "k -1": (Query(q="x", k=-1), "k is -1"),
    "k 10^9": (Query(q="x", k=10**9), "k is 1000000000"),
    "offset": (Query(q="x", offset=-1), "offset -1"),
    "deep": (Query(q="x", offset=10_000, k=1), "out of reach"),
    "long": (Query(q="x" * 8001), "8001 characters"),
    "empty": (Query(q=" \n"), "empty"),
    "empty term": (Query(q="x", also=(Term(),)), "empty"),
    "long term": (Query(q="x", also=(Term(q="x" * 8001),)), "8001 characters"),
    "many terms": (Query(q="x", also=(Term(q="x"),) * 17), "17 further"),
    "weight": (Query(q="x", also=(Term(q="x", weight=float("nan")),)), "weight"),
    "part's weight": (Query(q="x", weights={"text": 1e9}), "weight"),
    "min_score": (Query(q="x", min_score=float("nan")), "min_score is nan"),
    "instant": (Query(q="x", query="instant"), "no instant queries"),
    "mode": (Query(q="x", mode="psychic"), "unknown mode"),  # type: ignore[arg-type] # as a caller may send it
    "field": (Query(q="x", field="cover"), "'cover'"),
    "weights": (Query(q="x", weights={"cover": 1.0}), "'cover'"),
    "facets": (Query(q="x", facets=("colour",)), "'colour'"),
    "where": (Query(q="x", where="title ==== 1"), "where"),
    "unknown column": (Query(q="x", where="colour = 'red'"), "colour"),
    "wrong type": (Query(q="x", where="year = 'red'"), "year"),
    "vector": (Query(vector=np.ones(3, np.float32)), "3 numbers"),
    "picture": (Query(image=b"no picture"), "picture cannot be decoded"),
    "weights of 0": (Query(q="x", weights={"text": 0, "lexical": -1}), "nothing to rank by: text, lexical"),
    "weight of the only part": (Query(like="moby", weights={"text": -1}), "nothing to rank by: text"),
    "words wanted": (Query(like="moby", mode="lexical"), "needs words"),
}


@pytest.mark.parametrize(("query", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_asked_is_refused_in_one_line(searcher: Searcher, query: Query, said: str) -> None:
    with pytest.raises(QueryError) as refused:
        searcher.search(query)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_picture_that_nothing_looks_at_is_refused_beside_words_too(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VectorField, "reads", lambda field, modality: modality == "text")  # noqa: ARG005
    for query in (
        Query(image=b"x"),
        Query(q="whale", image=b"x"),
        Query(q="whale", also=(Term(image=b"x"),)),
    ):
        with pytest.raises(QueryError, match="no vector field that is asked reads pictures"):
            searcher.search(query)


def test_an_unknown_document_is_not_found(searcher: Searcher) -> None:
    for ask in (lambda: searcher.document("nope"), lambda: searcher.search(Query(like="nope"))):
        with pytest.raises(NotFound, match="nope"):
            ask()


@pytest.mark.parametrize(
    "text", ["naïve 🐉", "\u0000", "\" AND ( [ ~ * ' ; --", "李白", "\u202eevil", "a" * 8000, "́" * 100]
)
def test_any_text_is_a_query(searcher: Searcher, text: str) -> None:
    for mode in ("hybrid", "semantic", "lexical"):
        searcher.search(Query(q=text, mode=mode, k=3))  # type: ignore[arg-type] # a str of the literal's values


def test_a_snapshot_of_another_encoder_is_refused(settings: config.Settings, tmp_path: Path) -> None:
    root = Catalog.of(settings).local()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in root.rglob("*"):
        target = copy / file.relative_to(root)
        target.mkdir(parents=True, exist_ok=True) if file.is_dir() else target.write_bytes(file.read_bytes())
    manifest = snapshot.read_manifest(copy)
    spec = msgspec.structs.replace(manifest.fields["text"].spec, revision="another")
    field = msgspec.structs.replace(manifest.fields["text"], spec=spec)
    (copy / "manifest.json").unlink()
    snapshot.seal(copy, msgspec.structs.replace(manifest, fields={"text": field}))
    with pytest.raises(SnapshotError, match="embedded by"):
        Searcher.open(copy, config.RankOptions())


def test_probes_pass_and_fail(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = opened(settings)
    searcher.probe()

    def wrong(*_: Any) -> Any:
        return np.zeros(1, np.int64), np.ones(1, np.float32)

    monkeypatch.setattr(type(searcher.fields["text"]), "search", wrong)
    with pytest.raises(SnapshotError, match="known neighbours"):
        searcher.probe()


def test_a_broken_encoder_leaves_the_words(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from findling.errors import EncoderError

    searcher = opened(settings)

    def broken(*_: Any, **__: Any) -> Any:
        raise EncoderError("the weights are gone")

    monkeypatch.setattr(type(searcher.fields["text"].encoder), "embed_texts", broken)
    answer = searcher.search(Query(q="white whale"))
    assert answer.degraded
    assert ids(answer)[0] == "moby"
    with pytest.raises(FindlingError, match="weights are gone"):
        searcher.search(Query(q="white whale", mode="semantic"))


def test_a_snapshot_that_nobody_asks_any_more_is_gone_at_once(settings: config.Settings) -> None:
    searcher = opened(settings)
    searcher.search(Query(q="whale", where="year > 1900", facets=["authors"], highlight=True))
    held = [
        weakref.ref(part) for part in (searcher, searcher.store, searcher.lexical, searcher.fields["text"])
    ]
    gc.disable()  # which would find it later, when much has been allocated
    try:
        del searcher
        assert [part() for part in held] == [None] * 4
    finally:
        gc.enable()
