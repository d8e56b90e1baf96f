"""Instant queries: what the build fits, when it keeps it, and who embeds a query's words."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batch
from findling import config, fitting, snapshot
from findling.catalog import Catalog
from findling.embeddings import hash_halves
from findling.encoders.hashing import Hashing
from findling.encoders.instant import Instant, words_of
from findling.errors import ConfigError, QueryError, SnapshotError
from findling.records import Query
from findling.searcher import Searcher
from findling.steps import content_hash

INSTANT = 'query = "instant"\ninstant_overlap = {}\n'


def lay_out(base: Path, least: float = 0.3, rows: Any = ()) -> Path:
    file = batch.collection(base, rows or batch.some_rows(300))
    text = file.read_text().replace("[lexical]", INSTANT.format(least) + "[lexical]")
    file.write_text(text, "utf-8")
    return file


def manifest_of(file: Path) -> snapshot.Manifest:
    return snapshot.read_manifest(Catalog.of(config.load(file, environ={})).local())


def searcher_of(file: Path) -> Searcher:
    settings = config.load(file, environ={})
    return Searcher.open(Catalog.of(settings).local(), settings.rank)


def fitted(file: Path) -> snapshot.InstantManifest:
    found = manifest_of(file).fields["text"].instant
    assert found is not None
    return found


@pytest.fixture(scope="module")
def built(few_windows: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = lay_out(tmp_path_factory.mktemp("instant"))
    batch.built(file)
    return file


def corpus(texts: list[str], asked: list[str] | None = None) -> fitting.Corpus:
    encoder = Hashing(64)

    def embed(queries: list[str]) -> Any:
        if asked is not None:
            asked.extend(queries)
        return encoder.embed_texts(queries).astype(np.float16)

    hashes = hash_halves([content_hash(text) for text in texts])
    vectors = encoder.embed_texts(texts).astype(np.float16)
    return fitting.Corpus(lambda: iter([texts[:100], texts[100:]]), vectors, hashes, embed)


def some_texts(count: int, seed: int = 1) -> list[str]:
    chance = random.Random(seed)
    words = [*batch.WORDS, *(f"word{n}" for n in range(80))]
    return [" ".join(chance.choices(words, k=12)) for _ in range(count)]


@pytest.fixture(autouse=True, scope="module")
def few_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "WINDOWS", 2000)
        yield


def test_a_fit_lands_where_the_encoder_does() -> None:
    given = corpus(some_texts(400))
    instant = fitting.fit(given)
    queries = ["whale storm island", "iron word7 king moon"]
    full = given.embed(queries).astype(np.float32)
    for text, vector in zip(queries, full, strict=True):
        own = instant.embed(text)
        assert own is not None
        assert float(own @ vector) > 0.9
        assert float(own @ own) == pytest.approx(1, abs=1e-5)


def test_the_fit_solves_its_equations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some_texts(60)
    asked: list[str] = []
    monkeypatch.setattr(fitting, "WINDOWS", 50)
    monkeypatch.setattr(fitting, "STEPS", 400)
    given = corpus(texts, asked)
    held = {0, 11, 23, 35, 47, 59}
    fitting.fit(given, held).write(tmp_path)
    words = (tmp_path / "words.txt").read_text().split("\n")
    windows = asked[: -len(words)]
    rows = [row for row in range(60) if row not in held]
    every = [*(texts[row] for row in rows), *windows]
    counts = np.array([sum(word in words_of(texts[row]) for row in rows) for word in words])
    scale = np.sqrt(np.log(1 + len(rows) / (counts + 1)))
    features = np.array([[word in words_of(text) for word in words] for text in every]) * scale
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weights = np.array([2.0] * len(rows) + [1.0] * len(windows))[:, None]
    targets = np.concatenate([given.vectors[rows], given.embed(windows)]).astype(np.float64)
    own = 0.2 * given.embed(words).astype(np.float64)
    gram = features.T @ (weights * features) + 2.0 * np.eye(len(words))
    wanted = np.linalg.solve(gram, features.T @ (weights * targets) + 2.0 * own) * scale[:, None]
    table = np.load(tmp_path / "table.npy")
    np.testing.assert_allclose(table, wanted, atol=2e-3)


def test_long_rows_are_added_up_whole() -> None:
    lengths = np.array([1, 700, 0, 256, 3])
    columns = np.random.default_rng(0).integers(0, 50, lengths.sum())
    vectors = np.random.default_rng(1).standard_normal((50, 5)).astype(np.float32)
    ends = np.cumsum(lengths)
    wanted = [vectors[columns[end - many : end]].sum(axis=0) for end, many in zip(ends, lengths, strict=True)]
    found = fitting._Bags(columns, lengths).sums(vectors)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_query_is_the_sum_of_its_words(tmp_path: Path) -> None:
    table = np.eye(3, dtype=np.float16)
    Instant(["é", "whale", "sea"], table).write(tmp_path)
    instant = Instant.open(tmp_path)
    half = np.sqrt(0.5)
    assert instant.embed("Whale, whale: SEA!") == pytest.approx([0, half, half], abs=1e-6)
    assert instant.embed("e\u0301") == pytest.approx([1, 0, 0])  # composed or not
    assert instant.embed("whale sea unheard") is not None
    assert instant.embed("whale unheard") is None
    assert instant.embed(" -- ") is None


def test_damaged_files_are_told(tmp_path: Path) -> None:
    Instant(["whale"], np.ones((1, 2), np.float16)).write(tmp_path)
    (tmp_path / "words.txt").write_text("whale\nsea")
    with pytest.raises(SnapshotError, match="2 words"):
        Instant.open(tmp_path)
    (tmp_path / "table.npy").write_bytes(b"")
    with pytest.raises(SnapshotError, match="cannot be opened"):
        Instant.open(tmp_path)


def test_the_build_keeps_what_finds_enough(built: Path) -> None:
    found = fitted(built)
    assert found.used
    assert 0.3 <= found.overlap_at_10 <= 1
    assert "vectors/text/instant/table.npy" in manifest_of(built).files


def test_below_the_threshold_queries_stay_full(tmp_path: Path) -> None:
    file = lay_out(tmp_path, least=1.0)
    batch.built(file)
    assert not fitted(file).used
    assert not any("instant" in name for name in manifest_of(file).files)
    with pytest.raises(QueryError, match="no instant queries"):
        searcher_of(file).search(Query(q="whale", query="instant"))


def test_words_are_embedded_by_whom_the_query_says(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = searcher_of(built)
    calls: list[str] = []
    embed = type(searcher.fields["text"].encoder).embed_texts

    def counted(self: Any, texts: list[str], role: Any = "document") -> Any:
        calls.extend(texts)
        return embed(self, texts, role)

    monkeypatch.setattr(type(searcher.fields["text"].encoder), "embed_texts", counted)
    for way in (None, "instant"):
        searcher.search(Query(q="whale storm", query=way))  # type: ignore[arg-type] # as a caller may send it
    assert calls == []
    searcher.search(Query(q="whale storm", query="full"))
    assert calls == ["whale storm"]
    searcher.search(Query(q="zeppelin storm", query="instant"))  # unknown words are for the encoder
    assert calls[1:] == ["zeppelin storm"]
    with pytest.raises(QueryError, match="unknown query"):
        searcher.search(Query(q="whale", query="psychic"))  # type: ignore[arg-type] # as a caller may send it


def test_a_fit_serves_again_while_little_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = batch.some_rows(300)
    file = lay_out(tmp_path, rows=rows)
    fits: list[int] = []
    fit = fitting.fit

    def counted(given: fitting.Corpus, held: Any = ()) -> Instant:
        fits.append(len(held))
        return fit(given, held)

    monkeypatch.setattr(fitting, "fit", counted)
    for changed, fitted_so_far in ((0, [30, 0]), (3, [30, 0]), (150, [30, 0] * 2)):
        batch.write_rows(
            tmp_path / "rows.jsonl", [*rows[changed:], *batch.some_rows(600, seed=2)[-changed or 600 :]]
        )
        batch.built(file)
        assert fits == fitted_so_far, changed
        assert fitted(file).used


def test_a_damaged_fit_is_made_again(tmp_path: Path) -> None:
    rows = batch.some_rows(300)
    file = lay_out(tmp_path, rows=rows)
    batch.built(file)
    root = Catalog.of(config.load(file, environ={})).local()
    (root / "vectors" / "text" / "instant" / "table.npy").write_bytes(b"nothing")
    batch.write_rows(tmp_path / "rows.jsonl", rows[1:])
    batch.built(file)
    assert fitted(file).used
    assert searcher_of(file).search(Query(q="whale", query="instant")).hits


def test_a_delta_uses_the_fit_of_its_base(tmp_path: Path) -> None:
    rows = batch.some_rows(300)
    file = lay_out(tmp_path, rows=rows)
    batch.built(file)
    before = fitted(file)
    batch.write_rows(tmp_path / "rows.jsonl", rows[1:])
    batch.built(file, incremental=True)
    assert manifest_of(file).base
    assert fitted(file) == before
    assert searcher_of(file).search(Query(q="whale", query="instant")).hits


def test_likeness_is_of_the_texts(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(5000)]
    assert fitting.write(tmp_path, corpus(texts[:400]), least=0.01).used
    hashes = hash_halves([content_hash(text) for text in texts])
    assert fitting.is_like(tmp_path, hashes[:400])
    assert fitting.is_like(tmp_path, hashes[8:408])
    assert not fitting.is_like(tmp_path, hashes[200:600])
    assert not fitting.is_like(tmp_path / "nothing", hashes)


def test_pictures_take_no_instant_queries(tmp_path: Path) -> None:
    file = batch.collection(tmp_path)
    text = file.read_text().replace(
        'input = ["title", "body"]\n\n[lex', 'image = "c"\nquery = "instant"\n[lex'
    )
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="are pictures"):
        config.load(file, environ={})
