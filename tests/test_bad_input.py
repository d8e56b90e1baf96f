"""Bad input through the command line: one clear line, exit code 1 or 2, nothing written, nothing lost."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batch import collection, finish, some_rows, tree, write_rows
from findling import config
from findling.catalog import Catalog
from findling.cli import run

ROWS = some_rows(40)


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of a verb, and its one line of complaint."""
    capsys.readouterr()
    code = run([*words])
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    complaints = [line for line in lines if line.startswith("error: ")]
    assert len(complaints) == 1, said.err
    assert lines[-1] == complaints[0]
    assert "Traceback" not in said.err
    assert "unexpected" not in complaints[0]
    return code, complaints[0]


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def source_lost(file: Path) -> None:
    (file.parent / "rows.jsonl").unlink()


def source_a_directory(file: Path) -> None:
    source_lost(file)
    (file.parent / "rows.jsonl").mkdir()


def source_cut(file: Path) -> None:
    whole = gzip.compress((file.parent / "rows.jsonl").read_bytes())
    (file.parent / "rows.jsonl.gz").write_bytes(whole[:-20])
    replaced("rows.jsonl", "rows.jsonl.gz")(file)


def source_no_gzip(file: Path) -> None:
    (file.parent / "rows.jsonl").rename(file.parent / "rows.jsonl.gz")
    replaced("rows.jsonl", "rows.jsonl.gz")(file)


def source_empty(file: Path) -> None:
    (file.parent / "rows.jsonl").write_bytes(b"")


def source_of_no_known_format(file: Path) -> None:
    (file.parent / "rows.xyz").write_bytes(b"a")
    replaced("rows.jsonl", "rows.xyz")(file)


def parquet_of_garbage(file: Path) -> None:
    (file.parent / "rows.parquet").write_bytes(b"PAR1 garbage PAR1")
    replaced("rows.jsonl", "rows.parquet")(file)


def garbage_for_a_model(file: Path) -> None:
    (file.parent / "model").mkdir()
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (file.parent / "model" / name).write_bytes(b"no such thing")
    replaced('encoder = "hashing"', f'encoder = "minilm"\npath = "{file.parent}/model"')(file)


CASES = [
    (source_lost, 1, ["there is no", "rows.jsonl"]),
    (source_a_directory, 1, ["rows.jsonl is a directory"]),
    (source_cut, 1, ["rows.jsonl.gz ends in the middle of its compressed data", "fetch it again"]),
    (source_no_gzip, 1, ["cannot read", "rows.jsonl.gz", "Not a gzipped file"]),
    (source_empty, 1, ["rows.jsonl", "no columns"]),
    (source_of_no_known_format, 1, ["rows.xyz", ".parquet"]),
    (parquet_of_garbage, 1, ["rows.parquet is no Parquet file"]),
    (garbage_for_a_model, 1, ["model"]),
    (replaced("collection", "colection"), 2, ["unknown key 'colection'; did you mean 'collection'?"]),
    (replaced("[filter]", "[filtre]"), 2, ["unknown key 'filtre'; did you mean 'filter'?"]),
    (replaced('path = "rows.jsonl"', 'pth = "rows.jsonl"'), 2, ["source.pth", "did you mean 'path'?"]),
    (replaced('where = ""', 'where = "year >"'), 2, ["filter.where cannot be read at '>'"]),
    (replaced('where = ""', 'where = "yaer > 1"'), 2, ["names the column 'yaer'"]),
    (replaced('where = ""', 'where = "title"'), 2, ["filter.where cannot be evaluated"]),
    (replaced('where = ""', 'where = "sum(year) > 1"'), 2, ["filter.where may not hold"]),
    (replaced('"hashing"', '"nosuch"'), 2, ["unknown encoder 'nosuch'; known are", "minilm"]),
    (replaced('"hashing"', '"./nosuch"'), 2, ["nosuch"]),
    (replaced('title = "title"', "title = 3"), 2, ["document.title: expected text"]),
    (lambda file: file.write_bytes(b"\x7fELF\x02\x01\x00\xff\xfe"), 2, ["findling.toml is not TOML"]),
    (lambda file: file.write_bytes(b""), 2, ["collection is missing"]),
    (lambda file: file.unlink(), 2, ["there is no", "findling.toml"]),
]


@pytest.mark.parametrize(("change", "code", "told"), CASES, ids=range(len(CASES)))
def test_one_clear_line_and_nothing_written(
    change: Callable[[Path], object],
    code: int,
    told: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = collection(tmp_path, ROWS)
    change(file)
    found, line = failed(capsys, "build", "-c", str(file), "--json")
    assert found == code, line
    assert [part for part in told if part not in line] == [], line
    assert list((tmp_path / "data").rglob("snapshots")) == []
    assert list((tmp_path / "data").rglob("CURRENT")) == []


@pytest.mark.parametrize("case", [0, 1, 2, 6, 8, 11, 15, 18])
def test_nothing_is_lost_either(case: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = collection(tmp_path, ROWS)
    assert run(["build", "-c", str(file)]) == 0
    text, home = file.read_text(), tmp_path / "data" / "books"
    live = (home / "CURRENT").read_text()
    before = {name: octets for name, octets in tree(home).items() if not name.startswith("work")}
    change, code, _ = CASES[case]
    change(file)
    assert failed(capsys, "build", "-c", str(file))[0] == code
    after = {name: octets for name, octets in tree(home).items() if not name.startswith("work")}
    assert after == before
    if (tmp_path / "rows.jsonl").is_dir():
        (tmp_path / "rows.jsonl").rmdir()
    file.write_text(text)
    write_rows(tmp_path / "rows.jsonl", ROWS)
    assert run(["build", "-c", str(file)]) == 0
    assert (home / "CURRENT").read_text() == live


@pytest.mark.parametrize("home", ["/sys/findling", "rows.jsonl", "rows.jsonl/below", "/dev/null"])
def test_a_home_that_cannot_be_written(home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = collection(tmp_path, ROWS, home=home)
    before = tree(tmp_path)
    code, line = failed(capsys, "build", "-c", str(file))
    assert code == 1
    assert "cannot make" in line
    assert Path(home).name in line
    assert tree(tmp_path) == before


def test_a_directory_for_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failed(capsys, "build", "-c", str(tmp_path))
    assert code == 2
    assert f"there is no {tmp_path}/findling.toml" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["build", "--only", "extrct"], "unknown stage 'extrct'"),
        (["build", "--engine", "sprak"], "unknown engine 'sprak'"),
        (["build", "--no-such-thing"], "no-such-thing"),
    ],
)
def test_wrong_words(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = failed(capsys, *words, "-c", str(collection(tmp_path, ROWS)))
    assert code == 2
    assert told in line
    assert not (tmp_path / "data").exists()


def test_the_program_itself_ends_so(tmp_path: Path) -> None:
    file = collection(tmp_path, ROWS)
    source_cut(file)
    done = finish(file)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith("fetch it again")


def mount(path: Path, size: str) -> None:
    path.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "findling-test", str(path)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here: it takes root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB, which a test may enlarge."""
    disk = tmp_path / "disk"
    mount(disk, "100k")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True)


def filled(disk: Path, file: Path, sizes: list[str]) -> list[tuple[int, str]]:
    """Builds on a disk of one size after the other: how each ended, and what it said last."""
    ended = []
    for size in sizes:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True, capture_output=True)
        done = finish(file)
        said = done.stderr.splitlines()
        ended.append((done.returncode, said[-1] if said else ""))
        assert "Traceback" not in done.stderr, done.stderr
        catalog = Catalog.of(config.load(file, environ={}))
        assert (catalog.current() is not None) == (done.returncode == 0)
    return ended


def test_a_full_disk_is_told_and_the_same_build_completes_with_room(small_disk: Path, tmp_path: Path) -> None:
    rows = some_rows(3000)
    file = collection(tmp_path / "here", rows, home=str(small_disk))
    *first, last = filled(small_disk, file, ["100k", "400k", "64m"])
    for code, line in first:
        assert code == 1
        assert line.startswith("error: ")
        assert "free some" in line
    assert last[0] == 0
    undisturbed = collection(tmp_path / "there", rows)
    assert finish(undisturbed).returncode == 0
    digests = [
        catalog.manifest(str(catalog.current())).digest
        for catalog in (Catalog.of(config.load(each, environ={})) for each in (file, undisturbed))
    ]
    assert digests[0] == digests[1]
    assert not list(small_disk.rglob("*.tmp"))


@pytest.mark.slow
def test_a_disk_may_be_full_at_any_stage(small_disk: Path, tmp_path: Path) -> None:
    file = collection(tmp_path / "here", some_rows(3000), home=str(small_disk))
    ended = filled(small_disk, file, [f"{size}k" for size in range(200, 4000, 100)])
    codes = [code for code, _ in ended]
    assert codes == sorted(codes, reverse=True), "more room never hurts"
    assert codes[-1] == 0
    assert {line.partition(";")[2].strip() for code, line in ended if code} == {
        "free some space and run the same command again"
    }
