"""Pictures in a build: embedded once, searched by picture, and each failure told under its reason."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from findling import build, cli, config
from findling.catalog import Catalog
from findling.demo.covers import draw_cover
from findling.encoders.base import Vectors
from findling.encoders.clip import Clip
from findling.errors import SourceError
from findling.fetch import FetchOptions
from findling.records import Query
from findling.schema import WAITED, WORKED, Drop, waited_share
from findling.searcher import Searcher
from findling.steps import EmbedPicturesStep
from needs import data_directory

CONFIG = """
collection = "pictures"
source = { kind = "table", path = "books.jsonl", id = "id" }
document = { title = "title", keep = ["title", "kind"], picture = "cover" }
vectors.text = { encoder = "hashing", input = ["title"] }
vectors.cover = { encoder = "hashing", image = "cover" }
lexical = { input = ["title"] }
"""


def picture(colour: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 60), colour).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "covers").mkdir()
    books = [
        {"id": "red", "title": "a red book", "kind": "good", "cover": "covers/red.png"},
        {"id": "blue", "title": "a blue book", "kind": "good", "cover": "covers/blue.png"},
        {"id": "same", "title": "another red book", "kind": "good", "cover": "covers/red.png"},
        {"id": "broken", "title": "a broken book", "kind": "bad", "cover": "covers/broken.png"},
        {"id": "absent", "title": "an absent book", "kind": "bad", "cover": "covers/absent.png"},
        {"id": "outside", "title": "an outside book", "kind": "bad", "cover": "/etc/hostname"},
        {"id": "none", "title": "a plain book", "kind": "none", "cover": None},
    ]
    (tmp_path / "books.jsonl").write_text("".join(json.dumps(book) + "\n" for book in books))
    (tmp_path / "findling.toml").write_text(CONFIG)
    for colour in ("red", "blue"):
        (tmp_path / "covers" / f"{colour}.png").write_bytes(picture(colour))
    (tmp_path / "covers" / "broken.png").write_bytes(picture("green")[:60])
    return tmp_path


def failures(home: Path) -> dict[str, str]:
    file = home / "data" / "pictures" / "failures" / "embed-cover.jsonl"
    return {told["id"]: told["reason"] for told in map(json.loads, file.read_text().splitlines())}


def ids(home: Path, query: Query) -> list[str]:
    settings = config.load(home)
    return [hit.id for hit in Searcher.open(Catalog.of(settings).local(), settings.rank).search(query).hits]


def test_each_picture_is_embedded_once_and_each_failure_is_told(home: Path) -> None:
    first = build.build(config.load(home))
    assert first.embedded["cover"] == {"new": 2, "reused": 0, "failed": 3}
    assert set(failures(home)) == {"broken", "absent", "outside"}
    assert len(set(failures(home).values())) == 3
    second = build.build(config.load(home))
    assert second.embedded["cover"] == {"new": 0, "reused": 2, "failed": 3}
    assert second.snapshot == first.snapshot


def test_failures_are_told_by_reason_also_when_nothing_has_changed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    for _ in range(2):
        assert cli.run(["build"]) == 0
        told = capsys.readouterr().out
        assert set(re.findall(r"failed +1 +(.+)", told)) == set(failures(home).values())
    assert cli.run(["build", "--json"]) == 0
    by_reason = json.loads(capsys.readouterr().out)["failures"]["cover"]
    assert by_reason == {"not found": 1, "outside the folders": 1, failures(home)["broken"]: 1}


def test_where_no_picture_can_be_had_the_reasons_are_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    (home / "covers").rename(home / "elsewhere")
    assert cli.run(["build"]) == 1
    told = "none of the pictures of 'cover' could be had: 4 not found, 1 outside the folders"
    assert told in capsys.readouterr().err
    assert cli.run(["build"]) == 1
    assert told in capsys.readouterr().err, "also where nothing has changed"


def test_another_rule_for_fetching_is_tried_at_once(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "green.png").write_bytes(picture("green"))
    books = (home / "books.jsonl").read_text().replace("/etc/hostname", f"{elsewhere}/green.png")
    (home / "books.jsonl").write_text(books)
    assert build.build(config.load(home)).failures["cover"]["outside the folders"] == 1
    (home / "findling.toml").write_text(CONFIG + f'fetch = {{ allow_paths = ["{elsewhere}"] }}\n')
    again = build.build(config.load(home))
    assert again.embedded["cover"]["new"] == 1
    assert "outside the folders" not in again.failures["cover"]


def test_a_wrong_rule_for_fetching_is_told_before_anything_is_read(home: Path) -> None:
    (home / "findling.toml").write_text(CONFIG + 'fetch = { contact = "me" }\n')
    with pytest.raises(config.ConfigError, match=r"fetch\.contact is 'me'"):
        build.build(config.load(home))
    assert not list((home / "data").glob("**/*.parquet"))


@pytest.mark.parametrize("name", [None, "readme.txt"])
def test_a_folder_without_pictures_is_told(home: Path, name: str | None) -> None:
    (home / "empty").mkdir()
    if name:
        (home / "empty" / name).touch()
    source = (
        'source = { kind = "images", path = "empty" }\ndocument = { title = "title", keep = ["title"] }\n'
    )
    rest = 'collection = "pictures"\nvectors.cover = { encoder = "hashing", image = "image" }\n'
    (home / "findling.toml").write_text(source + rest)
    why = "look at why .* 1 not a picture by its name" if name else r"check the path in \[source\]"
    with pytest.raises(SourceError, match=f"no document was kept of {1 if name else 0} records.*{why}"):
        build.build(config.load(home))


def test_an_encoder_of_texts_is_refused_for_pictures_before_anything_is_read(home: Path) -> None:
    (home / "findling.toml").write_text(CONFIG.replace('"hashing", image', '"minilm", image'))
    with pytest.raises(config.ConfigError, match=r"vectors\.cover has images.* reads none"):
        build.build(config.load(home))
    assert not list((home / "data").glob("**/*.parquet"))


def test_a_picture_that_is_mended_is_tried_again_alone(home: Path) -> None:
    build.build(config.load(home))
    (home / "covers" / "broken.png").write_bytes(picture("green"))
    again = build.build(config.load(home), retry_failed=True)
    assert again.embedded["cover"] == {"new": 1, "reused": 2, "failed": 2}
    assert set(failures(home)) == {"absent", "outside"}
    assert "broken" in ids(home, Query(image=picture("green"), mode="semantic", k=1))


def test_a_picture_finds_its_like_and_words_find_what_has_none(home: Path) -> None:
    build.build(config.load(home))
    assert set(ids(home, Query(image=picture("red"), field="cover", k=2))) == {"red", "same"}
    assert ids(home, Query(like="red", field="cover", mode="semantic", k=1)) == ["same"]
    assert ids(home, Query(q="plain", k=1, mode="lexical")) == ["none"]
    assert "none" in ids(home, Query(q="a plain book", k=5))
    assert "none" not in ids(home, Query(image=picture("red"), field="cover", k=10))


def test_a_large_jpeg_is_reduced_in_the_build_as_in_a_query(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its document has the vector of the same file dropped onto the page, to the last bit."""
    content = io.BytesIO()
    draw_cover("The Red Ship").resize((1024, 1536)).save(content, "JPEG", quality=90)
    (home / "covers" / "red.png").write_bytes(content.getvalue())
    (home / "findling.toml").write_text(CONFIG.replace('"hashing", image', '"tiny-clip", image'))
    settings = config.load(home)
    build.build(settings)
    sizes, vectors, embed_images = [], [], Clip.embed_images

    def watched(encoder: Clip, images: list[Image.Image]) -> Vectors:
        sizes.extend(image.size for image in images)
        vectors.extend(embed_images(encoder, images))
        return embed_images(encoder, images)

    monkeypatch.setattr(Clip, "embed_images", watched)
    query = Query(image=content.getvalue(), field="cover", mode="semantic", k=1)
    (hit,) = Searcher.open(Catalog.of(settings).local(), settings.rank).search(query).hits
    assert hit.id in {"red", "same"}
    fetch = FetchOptions.read({})
    step = EmbedPicturesStep("tiny-clip", {}, home / "models", fetch, home / "cache", str(home))
    row = {"hash": [b"1"], "text": ["covers/red.png"], "id": ["red"]}
    embedded = step.open()(pa.record_batch(row)).column("vector")[0].as_py()
    assert sizes == [(256, 384)] * 2
    assert vectors[0].tolist() == vectors[1].tolist() == embedded


def test_how_long_an_encoder_waited_for_pictures_is_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert cli.run(["build", "--json"]) == 0
    waited = json.loads(capsys.readouterr().out)["waited"]
    assert waited.keys() == {"cover"}
    assert 0 < waited["cover"] < 1
    assert build.build(config.load(home)).waited == {}  # nothing was embedded
    (home / "covers" / "broken.png").write_bytes(picture("green"))
    assert cli.run(["build", "--retry-failed"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"embedded cover: 1 new, .*; the encoder waited for pictures \d+% of its time", told)


def test_the_share_is_of_all_workers_time_in_this_run() -> None:
    told = [Drop("not found", 3), Drop(WAITED, 30), Drop(WORKED, 10), Drop(WORKED, 60)]
    assert waited_share(told) == 0.3
    assert waited_share([]) == 0


def test_a_hit_says_which_fields_found_it(home: Path) -> None:
    build.build(config.load(home))
    settings = config.load(home)
    searcher = Searcher.open(Catalog.of(settings).local(), settings.rank)
    found = {
        hit.id: set(hit.scores) for hit in searcher.search(Query(q="red book", image=picture("red"))).hits
    }
    assert found["red"] == {"text", "cover", "lexical"}
    assert "cover" not in found["none"]


def test_labels_are_counted_by_field(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build.build(config.load(home))
    words = ["eval", "--like-label", "kind", "--field", "cover", "-c", str(home), "--json"]
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 3
    assert cli.run([*words[:4], "covers", *words[5:]]) == 2
    assert "there is no vector field 'covers'; known are text, cover" in capsys.readouterr().err
    assert cli.run(["eval", "--like-label", "author", "-c", str(home)]) == 2
    assert "has to be in document.keep" in capsys.readouterr().err


def test_documents_without_a_label_are_not_alike(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    books = [
        {"id": f"{colour}{n}", "title": "x", "kind": kind, "cover": f"covers/{colour}.png"}
        for colour, kind in (("red", None), ("blue", ["a", "b"]))
        for n in range(6)
    ]
    (home / "books.jsonl").write_text("".join(json.dumps(book) + "\n" for book in books))
    build.build(config.load(home))
    assert cli.run(["eval", "--like-label", "kind", "--field", "cover", "-c", str(home), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["documents"], told["labels"], told["precision_at_5"]) == (6, 1, 1.0)


def test_pictures_from_elsewhere_need_a_contact(home: Path) -> None:
    (home / "books.jsonl").write_text(
        json.dumps({"id": "web", "title": "x", "kind": "web", "cover": "http://203.0.113.1/a.jpg"}) + "\n"
    )
    with pytest.raises(config.ConfigError, match=r"fetch\.contact is missing"):
        build.build(config.load(home))


def test_pictures_are_measured_by_words_where_people_gave_some(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> dict[str, str]:
        capsys.readouterr()
        assert cli.run(["tune", "-c", str(home), "--json", *words]) == 0
        return {
            name: field["queries"] for name, field in json.loads(capsys.readouterr().out)["fields"].items()
        }

    build.build(config.load(home))
    own = "3 pictures, each left out of its own answer"
    manifest = Searcher.open(Catalog.of(config.load(home)).local(), config.load(home).rank).manifest
    assert manifest.fields["cover"].queries == own
    assert said() == {"text": "7 runs of words out of the documents", "cover": own}
    asked = home / "asked.jsonl"
    asked.write_text('{"q": "a ship at night"}\n{"q": "red"}\n')
    by_words = "2 queries of asked.jsonl"
    assert said("--queries", str(asked)) == {"text": by_words, "cover": by_words}
    toml = home / "findling.toml"
    toml.write_text(toml.read_text() + 'index = { queries = "asked.jsonl" }\n')
    build.build(config.load(home))
    manifest = Searcher.open(Catalog.of(config.load(home)).local(), config.load(home).rank).manifest
    assert manifest.fields["cover"].queries == by_words


@pytest.mark.slow
@pytest.mark.needs("data")
def test_a_table_of_photographs_is_built_served_and_judged_by_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "photos"
    assert cli.run(["new", "covers", str(home)]) == 0
    toml = home / "findling.toml"
    text = toml.read_text()
    for old, new in (
        ('path = "pictures"', f'table = "{data_directory()}/images/caltech101.tsv"'),
        ('keep = ["title", "image"] ', 'keep = ["title", "image", "label"] '),
        ('encoder = "clip-vit-b-32"', 'encoder = "tiny-clip"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    toml.write_text(text)
    assert cli.run(["build", "-c", str(toml)]) == 0
    capsys.readouterr()
    assert cli.run(["eval", "--like-label", "label", "-c", str(toml), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["documents"], told["labels"]) == (1010, 101)
    assert told["precision_at_5"] > 0.05  # chance is 0.009; a model that knows no photographs has 0.08
