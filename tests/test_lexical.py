from __future__ import annotations

import math
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling.errors import ConfigError, SnapshotError
from findling.lexical import MAX_TERMS, Lexical

BOOKS = [
    {"title": "Moby-Dick; or, The Whale", "text": "A captain hunts a white whale across the oceans."},
    {"title": "The Old Man and the Sea", "text": "An old fisherman fights a giant marlin."},
    {"title": "It", "text": "Children are hunted by a clown in the sewers."},
    {"title": "The Who", "text": "A rock band from London."},
    {"title": "Wuthering Heights", "text": "Emily Brontë's only novel. Running over the moors."},
    {"title": None, "text": "Nothing but oceans, oceans and oceans."},
    {"title": "Leviathan", "text": "Whales and whaling, and whales again."},
]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Lexical:
    path = tmp_path_factory.mktemp("lexical") / "books"
    assert Lexical.build(BOOKS, path, {"title": 1.0, "text": 1.0}) == len(BOOKS)
    return Lexical.open(path)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Lexical:
    path = tmp_path_factory.mktemp("lexical") / "many"
    texts = ({"text": f"common word{at % 100} rare{at % 5000}"} for at in range(20_000))
    Lexical.build(texts, path, {"text": 1.0})
    return Lexical.open(path)


def rows(index: Lexical, text: str, k: int = 10, mask: Any = None) -> list[int]:
    return index.search(text, k, mask)[0].tolist()


def test_the_best_row_comes_first_with_its_score(books: Lexical) -> None:
    found, scores = books.search("white whale", 10)
    assert (found.dtype, scores.dtype) == (np.int64, np.float32)
    assert found.tolist() == [0, 6]
    assert scores[0] > scores[1] > 0


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("whaling captains", 0),
        ("EMILY BRONTE", 4),
        ("Emily Brontë", 4),
        ("run", 4),
        ("it", 2),
        ("the who", 3),
    ],
)
def test_words_match_by_stem_and_without_accents(books: Lexical, query: str, row: int) -> None:
    assert rows(books, query)[0] == row


def test_a_title_of_stop_words_is_found_among_others(books: Lexical) -> None:
    assert rows(books, "it stephen king")[0] == 2


@pytest.mark.parametrize(
    "query", ["", "   ", "?!*()[]{}^~\"'\\", "鯨", "\x00", "\ud800", "zzz", "AND OR NOT", "🐋"]
)
def test_a_query_without_a_known_word_finds_nothing(books: Lexical, query: str) -> None:
    assert rows(books, query) in ([], rows(books, "and or not"))


@pytest.mark.parametrize(
    "query", ['"white whale"', "title:whale", "+whale -captain", "whale~2", "wh*le whale", "(whale", "whale^"]
)
def test_operators_are_only_punctuation(books: Lexical, query: str) -> None:
    assert 0 in rows(books, query)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_any_text_is_a_query(books: Lexical, text: str) -> None:
    found, scores = books.search(text, 5)
    assert len(found) == len(scores) <= 5
    books.highlights(text, {"text": text})


def test_a_long_query_is_bounded_to_its_rarest_words(many: Lexical) -> None:
    words = [f"word{at}" for at in range(100)]
    assert len(words) > MAX_TERMS
    assert rows(many, " ".join(["common", *words, "rare4321"]), 4) == [4321, 9321, 14321, 19321]


def test_ties_come_in_row_order_and_k_cuts_them(many: Lexical) -> None:
    assert rows(many, "word7", 5) == [7, 107, 207, 307, 407]
    assert rows(many, "word7", 200) == list(range(7, 20_000, 100))
    assert rows(many, "word7", 1000) == list(range(7, 20_000, 100))
    assert rows(many, "word7", 0) == []


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005, 0.0005])
def test_a_mask_still_gives_k_where_k_exist(many: Lexical, share: float) -> None:
    mask = np.random.default_rng(1).random(len(many)) < share
    everything, every_score = many.search("common word7", len(many))
    allowed = mask[everything]
    found, scores = many.search("common word7", 10, mask)
    assert found.tolist() == everything[allowed][:10].tolist()
    np.testing.assert_allclose(scores, every_score[allowed][:10], rtol=1e-6)


def test_several_segments_answer_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def texts() -> Any:
        chance = np.random.default_rng(0)
        for _ in range(40_000):
            yield {"text": " ".join(f"w{at}" for at in chance.zipf(1.3, 12) % 30_000)}

    Lexical.build(texts(), tmp_path / "one", {"text": 1.0})
    monkeypatch.setattr("findling.lexical.WRITER_BYTES", 15_000_000)
    Lexical.build(texts(), tmp_path / "some", {"text": 1.0})
    count = len(list((tmp_path / "some").glob("*.idx")))
    assert count > len(list((tmp_path / "one").glob("*.idx"))) == 1
    one, some = Lexical.open(tmp_path / "one"), Lexical.open(tmp_path / "some")
    mask = np.random.default_rng(1).random(40_000) < 0.1
    for query in ("w1 w2 w77", "w9 w1000", "w3"):
        for allowed in (None, mask):
            rows_of_one, scores_of_one = one.search(query, 20, allowed)
            rows_of_some, scores_of_some = some.search(query, 20, allowed)
            np.testing.assert_allclose(scores_of_some, scores_of_one, rtol=1e-5)
            assert len(set(rows_of_some.tolist()) & set(rows_of_one.tolist())) >= 15


def test_a_mask_of_all_and_of_nothing(many: Lexical) -> None:
    assert rows(many, "word7", 10, np.ones(len(many), bool)) == rows(many, "word7", 10)
    assert rows(many, "word7", 10, np.zeros(len(many), bool)) == []
    with pytest.raises(SnapshotError, match="mask"):
        many.search("word7", 10, np.ones(3, bool))


def test_weights_count(tmp_path: Path) -> None:
    texts = [{"title": "whale", "text": "sea"}, {"title": "sea", "text": "whale"}]
    for weights, first in (({"title": 2.0, "text": 1.0}, 0), ({"title": 0.5, "text": 1.0}, 1)):
        Lexical.build(texts, tmp_path / str(first), weights)
        index = Lexical.open(tmp_path / str(first))
        assert rows(index, "whale") == [first, 1 - first]
        assert index.weights == weights


@pytest.mark.parametrize(
    "weights", [{}, {"title": 0}, {"title": -1.0}, {"title": math.inf}, {"title": math.nan}]
)
def test_weights_that_cannot_count_are_refused(tmp_path: Path, weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Lexical.build([], tmp_path / "x", weights)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("wuthring", 4),
        ("fishreman", 1),
        ("leviatahn", 6),
        ("Heigths", 4),
        ("captian whale", 0),
    ],
)
def test_a_word_that_no_row_holds_may_be_misspelled(books: Lexical, query: str, row: int) -> None:
    assert rows(books, query)[0] == row


@pytest.mark.parametrize("query", ["wha", "12345", "zzzzzzzz", "oceanographic"])
def test_not_every_unknown_word_is_a_typo(books: Lexical, query: str) -> None:
    assert rows(books, query) == []


def test_known_words_are_taken_at_their_word(many: Lexical) -> None:
    for query in ("word17", "common rare77", "rare4999 word99"):
        exact, exact_scores = many.search(query, 50, typos=False)
        found, scores = many.search(query, 50)
        assert found.tolist() == exact.tolist()
        assert scores.tolist() == exact_scores.tolist()
        assert len(found)


def test_a_query_of_typos_looks_for_three(books: Lexical) -> None:
    assert rows(books, "wuthring fishreman leviatahn captian") == rows(books, "wuthring fishreman leviatahn")


def test_marks_are_the_same_with_and_without_accents_nearby(books: Lexical) -> None:
    plain = "Whales, wha-les and WHALING_boats; a whale's tale 2whales"
    marked = books.highlights("whaling", {"text": plain})["text"]
    accented = books.highlights("whaling", {"text": plain + " é"})["text"]
    assert marked == accented
    assert [plain[start:end] for start, end in marked] == ["Whales", "WHALING", "whale"]


def test_stop_words_count_but_find_nothing_beside_others(books: Lexical) -> None:
    assert rows(books, "the whale") == rows(books, "whale") == [0, 6]  # not The Old Man and the Sea
    assert books.search("the whale", 1)[1] > books.search("whale", 1)[1]
    assert set(rows(books, "the unheard")) == {0, 1, 2, 3, 4}
    passing = np.array([row in (1, 3) for row in range(len(books))])
    assert rows(books, "the whale", 10, passing) == [3, 1]


def test_no_language_means_no_stems(tmp_path: Path) -> None:
    Lexical.build([{"text": "whales"}], tmp_path / "x", {"text": 1.0}, language="none")
    index = Lexical.open(tmp_path / "x")
    assert index.search("whale", 10, typos=False)[0].tolist() == []
    assert rows(index, "WHALES") == [0]
    with pytest.raises(ConfigError, match="known are en, none"):
        Lexical.build([], tmp_path / "y", {"text": 1.0}, language="klingon")


def test_stop_words_are_marked_only_where_nothing_else_is_asked(books: Lexical) -> None:
    text = "A captain hunts the whale."
    marked = {query: books.highlights(query, {"text": text}).get("text") for query in ("the whale", "the")}
    assert marked == {"the whale": [(20, 25)], "the": [(16, 19)]}


def test_highlights_are_characters_of_the_text(books: Lexical) -> None:
    text = "🐋 Brontë’s whales — whaling, naïve e\u0301tude; Whale"
    found = books.highlights("whale bronte", {"text": text, "title": "Nothing", "empty": ""})
    assert list(found) == ["text"]
    assert [text[start:end] for start, end in found["text"]] == ["Brontë", "whales", "whaling", "Whale"]


def test_any_column_name_and_missing_texts(tmp_path: Path) -> None:
    texts = [{"größe / cm": "whale"}, {}, {"größe / cm": None}, {"größe / cm": "\ud800 whale \x00"}]
    Lexical.build(texts, tmp_path / "x", {"größe / cm": 1.0})
    index = Lexical.open(tmp_path / "x")
    assert len(index) == 4
    assert rows(index, "whale") == [0, 3]


def test_nothing_to_index(tmp_path: Path) -> None:
    Lexical.build([], tmp_path / "x", {"text": 1.0})
    index = Lexical.open(tmp_path / "x")
    assert rows(index, "whale") == []
    assert rows(index, "whale", 10, np.empty(0, bool)) == []


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Lexical.build(BOOKS, tmp_path / name, {"title": 1.0, "text": 1.0})
    first = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    assert first == {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()}
    assert not [name for name in first if "lock" in name]


def test_reading_changes_nothing_in_the_directory(tmp_path: Path) -> None:
    Lexical.build(BOOKS, tmp_path / "x", {"title": 1.0, "text": 1.0})
    before = {
        file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in (tmp_path / "x").iterdir()
    }
    (tmp_path / "x").chmod(stat.S_IRUSR | stat.S_IXUSR)
    index = Lexical.open(tmp_path / "x")
    assert rows(index, "whale")[0] in (0, 6)
    after = {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in (tmp_path / "x").iterdir()}
    (tmp_path / "x").chmod(stat.S_IRWXU)
    assert after == before


def test_several_processes_read_at_once(tmp_path: Path) -> None:
    Lexical.build(BOOKS, tmp_path / "x", {"title": 1.0, "text": 1.0})
    script = (
        "import sys; from pathlib import Path; from findling.lexical import Lexical;"
        "print(Lexical.open(Path(sys.argv[1])).search('white whale', 3)[0].tolist())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "x")], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        for _ in range(2)
    ]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert out.decode().strip() == "[0, 6]"


def test_threads_share_an_index(many: Lexical) -> None:
    queries = [f"common word{at} rare{at * 7}" for at in range(100)]
    alone = [rows(many, query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: rows(many, query), queries)) == alone


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be opened"):
        Lexical.open(tmp_path / "absent")
    Lexical.build(BOOKS, tmp_path / "x", {"text": 1.0})
    (tmp_path / "x" / "meta.json").write_text("{}")
    with pytest.raises(SnapshotError, match="cannot be opened"):
        Lexical.open(tmp_path / "x")
