"""Pictures as documents: what each kind of place gives, under which id, and what is told of the rest."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from findling.errors import ConfigError, SourceError
from findling.sources import images_read as reading
from sources.pipeline import Built, build, load

JPEG = b"\xff\xd8\xff not read here"


def fill(home: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)


def pack(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))


def built(tmp_path: Path, **options: Any) -> Built:
    work = tmp_path / f"work-{len(list(tmp_path.glob('work-*')))}"
    return build(load("images", options, tmp_path), work)


def test_a_folder_gives_each_picture_under_its_path(tmp_path: Path) -> None:
    home = tmp_path / "photos"
    fill(home, "tom.jpg", "cats/tom.PNG", "cats/tom.webp", "dogs/red_setter-02.gif")
    fill(home, "cats/notes.doc", "cats/.hidden.jpg", ".git/x.jpg")
    got = built(tmp_path, path="photos")
    assert {name: row["title"] for name, row in got.documents.items()} == {
        "tom.jpg": "tom",
        "cats/tom.PNG": "tom",
        "cats/tom.webp": "tom",
        "dogs/red_setter-02.gif": "red setter 02",
    }
    assert got.documents["cats/tom.PNG"]["image"] == str(home / "cats/tom.PNG")
    assert got.dropped == {"not a picture by its name": 1}
    assert got.failures == [("not a picture by its name", "cats/notes.doc")]
    assert got.adds_up()


def test_ids_do_not_depend_on_where_the_folder_lies_nor_on_neighbours(tmp_path: Path) -> None:
    fill(tmp_path / "a/photos", "cats/tom.jpg")
    fill(tmp_path / "b/photos", "cats/tom.jpg", "cats/anna.jpg", "tom.jpg")
    one, two = (set(built(tmp_path / name, path="photos").documents) for name in "ab")
    assert one <= two


def test_a_glob_counts_ids_from_its_first_star(tmp_path: Path) -> None:
    fill(tmp_path, "photos/2024/may/a.jpg", "photos/2025/june/a.jpg", "photos/2025/june/b.png")
    pack(tmp_path / "photos/2025/june/c.jpg.zip", {"in.jpg": JPEG})
    got = built(tmp_path, path="photos/*/*/*.jpg")
    assert set(got.documents) == {"2024/may/a.jpg", "2025/june/a.jpg"}
    several = built(tmp_path, path=["photos/*/*/a.jpg", "photos/*/*/*.png", "photos/2025/june/*.zip"])
    assert set(several.documents) == {
        "2024/may/a.jpg", "2025/june/a.jpg", "2025/june/b.png", "c.jpg/in.jpg",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["00000.tar", "00000.tar.gz", "00000.tgz", "00000.zip"])
def test_a_shard_with_captions(name: str, tmp_path: Path) -> None:
    files = {}
    for n in range(3):
        files[f"s{n}.jpg"] = JPEG
        files[f"s{n}.txt"] = f"a red ship, {n}\n".encode()
        files[f"s{n}.json"] = json.dumps({"width": 10 + n, "url": "u", "id": n, "name": f"n{n}"}).encode()
    files |= {"s9.json": b'{"width": 99}', "broken.jpg": JPEG, "broken.json": b"{"}
    files |= {"deep.jpg": JPEG, "deep.json": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}
    pack(tmp_path / name, files)
    got = built(tmp_path, path=name)
    assert list(got.documents) == ["00000/s0.jpg", "00000/s1.jpg", "00000/s2.jpg"]
    document = got.documents["00000/s1.jpg"]
    assert document["image"] == f"{tmp_path / name}!s1.jpg"
    assert (document["caption"], document["width"], document["id_"]) == ("a red ship, 1", 11, 1)
    assert (document["name"], document["title"]) == ("n1", "s1")
    assert got.dropped == {"not a picture by its name": 1, "not JSON beside the picture": 2}


def test_captions_beside_loose_pictures(tmp_path: Path) -> None:
    fill(tmp_path / "p", "a.front.jpg", "b.jpg", "plain.jpg")
    fill(tmp_path / "p", "a.txt", content=b"\xef\xbb\xbf  a caption ")
    fill(tmp_path / "p", "b.json", content=b'{"caption": "from json", "tags": ["x", "y"]}')
    fill(tmp_path / "p", "readme.txt", content=b"no picture's")
    got = built(tmp_path, path="p")
    assert {name: (row["caption"], row["tags"]) for name, row in got.documents.items()} == {
        "a.front.jpg": ("a caption", None),
        "b.jpg": ("from json", ["x", "y"]),
        "plain.jpg": (None, None),
    }
    assert got.failures == [("not a picture by its name", "readme.txt")]


def test_bulk_covers_have_their_numbers(tmp_path: Path) -> None:
    pack(tmp_path / "bulk/m_covers_0008_12.zip", {f"{8_120_000 + n:010d}-M.jpg": JPEG for n in range(4)})
    pack(tmp_path / "bulk/covers_0000_00.zip", {"0000000007.jpg": JPEG})
    got = built(tmp_path, path="bulk/*covers_*.zip")
    assert set(got.documents) == {"8120000", "8120001", "8120002", "8120003", "7"}
    assert got.documents["8120001"]["title"] == "Cover 8120001"
    assert got.documents["8120001"]["image"].endswith("m_covers_0008_12.zip!0008120001-M.jpg")


def test_links_directories_and_climbing_names_are_no_pictures_or_harmless(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
        info = tarfile.TarInfo("../../climbs.jpg")
        info.size = len(JPEG)
        packed.addfile(info, io.BytesIO(JPEG))
    got = built(tmp_path, path="x.tar")
    assert list(got.documents) == ["x/../../climbs.jpg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work-0", "x.tar"]


def test_a_table_of_pictures_carries_its_columns(tmp_path: Path) -> None:
    lines = [
        "key\timage\tlabel",
        "1\tp/red_ship.jpg\tship",
        "2\thttps://example.org/Old%20Mill.jpg?x=1\tmill",
    ]
    lines += [f"3\t{tmp_path}/elsewhere.png\tcat", "4\t\tnothing", "5\tbulk.zip!in/x.jpg\tzip"]
    (tmp_path / "t").mkdir()
    (tmp_path / "t/pictures.tsv").write_text("\n".join(lines) + "\n")
    source = load("images", {"table": "t/pictures.tsv", "id": "key"}, tmp_path)
    got = build(source, tmp_path / "work").documents
    assert source.columns.names == ["id", "key", "image", "label", "title"]
    assert {name: row["image"] for name, row in got.items()} == {
        "1": f"{tmp_path}/t/p/red_ship.jpg",
        "2": "https://example.org/Old%20Mill.jpg?x=1",
        "3": f"{tmp_path}/elsewhere.png",
        "4": None,
        "5": f"{tmp_path}/t/bulk.zip!in/x.jpg",
    }
    assert [got[n]["title"] for n in "12345"] == ["red ship", "Old Mill", "elsewhere", None, "x"]
    assert source.roots() == [str(tmp_path / "t")]


def test_a_table_may_name_its_column_and_have_titles(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "a", "cover": "x.jpg", "title": "A book"}\n')
    source = load("images", {"table": "p.jsonl", "image": "cover"}, tmp_path)
    assert build(source, tmp_path / "work").documents == {
        "a": {"id": "a", "cover": "x.jpg", "title": "A book", "image": f"{tmp_path}/x.jpg"}
    }


@pytest.mark.needs("data")
def test_the_photographs_are_there(data_dir: Path, tmp_path: Path) -> None:
    source = load("images", {"table": "caltech101.tsv"}, data_dir / "images")
    got = build(source, tmp_path / "work")
    assert len(got.documents) == got.read == 1010
    document = got.documents["Faces_image_0020"]
    assert document["title"] == "Faces image 0020"
    assert Path(document["image"]).is_file()
    assert document["label"] == "faces"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "exactly one of `path` and `table`"),
    "both": ({"path": "p", "table": "t.csv"}, "exactly one of `path` and `table`"),
    "an id of files": ({"path": "p", "id": "x"}, "columns of a table"),
    "not there": ({"path": "q"}, "there is no"),
    "no match": ({"path": "q/*.jpg"}, "there is no"),
    "no archive": ({"path": "broken.zip"}, "no archive"),
    "cut short": ({"path": "short.tar.gz"}, "no archive"),
    "another column": ({"table": "t.csv", "image": "cover"}, "columns are"),
    "a column of numbers": ({"table": "n.csv", "image": "n"}, "holds int64"),
    "two image columns": ({"table": "t.csv", "image": "other"}, "beside source.image"),
}


@pytest.mark.parametrize(("options", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,other,n\nx.jpg,y.jpg,1\n")
    (tmp_path / "n.csv").write_text("n\n1\n")
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 no more")
    pack(tmp_path / "whole.tar.gz", {"a.jpg": bytes(range(256)) * 100})
    (tmp_path / "short.tar.gz").write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:200])
    fill(tmp_path / "p", "a.jpg")
    with pytest.raises((ConfigError, SourceError), match=told) as error:
        build(load("images", options, tmp_path), tmp_path / "work")
    assert "\n" not in str(error.value)


def test_splits_share_an_archive_and_miss_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_ARCHIVE_ROWS", 7)
    monkeypatch.setattr(reading, "_FOLDER_ROWS", 7)
    pack(tmp_path / "x.zip", {f"{n}.jpg": JPEG for n in range(30)})
    pack(tmp_path / "y.tar.gz", {f"{n}.jpg": JPEG for n in range(30)})
    fill(tmp_path / "z", *(f"{n}.jpg" for n in range(30)))
    source = load("images", {"path": ["x.zip", "y.tar.gz", "z"]}, tmp_path)
    assert len(source.splits()) == 5 + 1 + 5
    read = [name for s in source.splits() for b in source.read(s) for name in b.column("name").to_pylist()]
    assert len(read) == len(set(read)) == 90


def test_lists_of_files_do_not_travel(tmp_path: Path) -> None:
    fill(tmp_path / "p", *(f"{n:03d}.jpg" for n in range(500)))
    source = load("images", {"path": "p/*.jpg"}, tmp_path)
    assert len(source.splits()) == 1
    assert source.columns.names == ["id", "image", "title"]
    assert len(pickle.dumps(source)) < 2000


def test_a_stamp_changes_with_any_file(tmp_path: Path) -> None:
    fill(tmp_path / "p", "a/b.jpg")
    stamps = []
    for change in (None, ("a/c.jpg", JPEG), ("a/b.txt", b"one"), ("a/b.txt", b"three")):
        if change:
            fill(tmp_path / "p", change[0], content=change[1])
        stamps.append(load("images", {"path": "p"}, tmp_path).stamp())
    assert len(set(stamps)) == 4


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("lighthouse_in-a.storm.jpg", "lighthouse in a storm"),
        ("lighthouse/0007.jpg", "lighthouse 0007"),
        ("00000/000012.jpg", "00000 000012"),
        ("häuser/Straße_1.png", "Straße 1"),
        ("", ""),
    ],
)
def test_titles_are_words(name: str, title: str) -> None:
    assert reading.title_of(name) == title
