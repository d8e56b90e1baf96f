"""What goes into a packed environment, how it is written, and how docker is asked to make one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from findling import config
from findling.cli import run
from findling.pack import archive, installed
from findling.pack.installed import Entry
from findling.progress import Silent

DOCKERFILE = Path(config.__file__).parent / "pack" / "emr-7.Dockerfile"


def some_files(root: Path, time: int) -> list[Entry]:
    """Two files of equal content whose times and permissions differ, and one from memory."""
    root.mkdir()
    for name in ("b", "a"):
        (root / name).write_text(name * 1000)
        os.utime(root / name, (time, time))
        (root / name).chmod(0o600 if time % 2 else 0o664)
    return [Entry("lib/b", root / "b"), Entry("lib/a", root / "a", executable=True), Entry("c", b"c")]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for time in (1_000_000_001, 1_700_000_000):
        out = tmp_path / f"{time}.tar.gz"
        entries = some_files(tmp_path / str(time), time)
        archive.write(entries if time % 2 else entries[::-1], str(out), Silent())
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1
    with tarfile.open(out) as packed:
        assert [(member.name, member.mode) for member in packed] == [
            ("c", 0o644), ("lib/a", 0o755), ("lib/b", 0o644)
        ]  # fmt: skip
        assert packed.extractfile("lib/a").read() == b"a" * 1000  # type: ignore[union-attr]


def test_nothing_half_written_takes_a_name(tmp_path: Path) -> None:
    entries = some_files(tmp_path / "files", 1_000_000_000)
    out = tmp_path / "out" / "e.tar.gz"
    archive.write(entries, str(out), Silent())
    before = out.read_bytes()
    (tmp_path / "files" / "b").chmod(0)
    broken = [*entries, Entry("z", tmp_path / "files")]  # a directory cannot be read
    with pytest.raises(Exception, match="directory"):
        archive.write(broken, str(out), Silent())
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == ["e.tar.gz"]


def test_what_is_packed_is_what_findling_asks_for() -> None:
    names = {each.metadata["Name"].lower() for each in installed.distributions([])}
    told = (
        re.match(r"[\w.-]+", text)
        for text in metadata.distribution("findling").requires or []
        if ";" not in text
    )
    plain = {match[0].lower() for match in told if match}
    assert plain <= names
    assert "msgspec" in plain
    assert names & {"findling", "pytest", "pyspark", "torch"} == set()


def test_a_cluster_brings_its_own_spark() -> None:
    pytest.importorskip("pyspark", reason="needs pyspark: the module is not installed")
    names = {each.metadata["Name"].lower() for each in installed.distributions(["spark"])}
    assert "pandas" in names
    assert "pyspark" not in names


def test_files_are_below_the_directory_of_packages() -> None:
    (numpy,) = (each for each in installed.distributions([]) if each.metadata["Name"] == "numpy")
    names = [entry.name for entry in installed.files_of(numpy)]
    assert "numpy/__init__.py" in names
    assert not [name for name in names if ".." in name or "__pycache__" in name]
    own = {entry.name for entry in installed.own_files()}
    assert {"findling/build.py", "findling/pack/emr-7.Dockerfile"} <= own
    assert any(name.endswith(".dist-info/METADATA") for name in own)


def test_python_comes_along() -> None:
    names = {entry.name: entry for entry in installed.python_files()}
    assert names["bin/python"].executable
    assert any(name.endswith("/os.py") for name in names)
    assert not [name for name in names if "/site-packages/" in name or "/test/" in name]
    assert installed.packages_directory().startswith(("lib", "local/lib"))


def test_a_worker_looks_where_the_archive_has_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    driver = Path("/the/driver/has")
    assert config.models_cache({}, otherwise=driver) == driver
    (tmp_path / config.PACKED_MODELS).mkdir(parents=True)
    assert config.models_cache({}, otherwise=driver) == tmp_path / config.PACKED_MODELS
    assert config.models_cache({"FINDLING_MODELS": "/models"}, otherwise=driver) == Path("/models")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--platform", "local", "--extras", "sparks"], "unknown extra 'sparks'; known are annoy"),
        (["--platform", "local", "--with-model", "minilmm"], "did you mean 'minilm'"),
        (["--platform", "local", "--with-model", "./model"], "'./model' is a directory"),
        (["--platform", "local", "--with-model", "sentence"], "needs the extra 'torch'"),
        (["--platform", "local", "--image", "x"], "--image is for EMR"),
        (["--platform", "emr-6"], "emr-7"),
    ],
)
def test_what_cannot_be_packed_is_told_in_one_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pack", "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert os.listdir(tmp_path) == []


FAKE = """#!{python}
import json, sys
from pathlib import Path
*words, here = sys.argv[1:]
told = {{
    "words": words,
    "names": sorted(path.name for path in Path(here).iterdir()),
    "pack": json.loads(Path(here, "pack.json").read_text()),
    "pins": Path(here, "requirements.txt").read_text().splitlines(),
    "steps": Path(here, "Dockerfile").read_text(),
    "runs": Path(here, "site/findling/pack/__main__.py").exists(),
}}
Path({record!r}).write_text(json.dumps(told))
print("what docker says")
for word in words:
    if word.startswith("--output="):
        Path(word.partition("dest=")[2], "environment.tar.gz").write_bytes(b"packed there")
sys.exit({status})
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `docker` on the PATH that does as it is told; what it was asked comes to this file."""
    return fake_docker(tmp_path, monkeypatch, 0)


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    for library in ("pandas", "pyspark", "boto3"):  # an archive for EMR carries what is installed here
        pytest.importorskip(library, reason=f"needs {library}: the module is not installed")
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    record = tmp_path / "asked.json"
    (programs / "docker").write_text(FAKE.format(python=sys.executable, record=str(record), status=status))
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    return record


def test_docker_is_asked_for_the_archive(
    docker: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "environment.tar.gz"
    words = ["--platform", "emr-7", "--extras", "", "--with-model", "hashing", "--out", str(out), "--json"]
    assert run(["pack", *words]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out) == {
        "platform": "emr-7", "models": ["hashing"], "archive": str(out), "bytes": len(b"packed there")
    }  # fmt: skip
    assert "what docker says" in told.err
    assert out.read_bytes() == b"packed there"
    asked = json.loads(docker.read_text())
    assert asked["words"][:2] == ["build", "--platform=linux/amd64"]
    assert f"--build-arg=PYTHON={sys.version_info[0]}.{sys.version_info[1]}" in asked["words"]
    assert "--target=environment" in asked["words"]
    assert f"numpy=={metadata.version('numpy')}" in asked["pins"]
    assert asked["pack"] == {"extras": ["aws", "spark"], "models": {"hashing": {}}}
    assert asked["runs"]
    # All that the Dockerfile copies from its context is there.
    copied = re.findall(r"^COPY (?!--from)(\S+) ", asked["steps"], re.MULTILINE)
    assert set(copied) | {"Dockerfile"} == set(asked["names"])
    targets = re.findall(r"^FROM .* AS (\w+)$", asked["steps"], re.MULTILINE)
    assert {"environment", "image"} <= set(targets)


def test_docker_is_asked_for_an_image(docker: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [
        "--platform",
        "emr-7",
        "--extras",
        "spark",
        "--with-model",
        "hashing",
        "--image",
        "me/findling:1",
    ]
    assert run(["pack", *words, "--release", "emr-7.5.0"]) == 0
    assert "made the image me/findling:1" in capfd.readouterr().out
    asked = json.loads(docker.read_text())["words"]
    assert {"--target=image", "--tag=me/findling:1", "--build-arg=RELEASE=emr-7.5.0"} <= set(asked)
    assert not [word for word in asked if word.startswith("--output")]


def test_a_docker_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_docker(tmp_path, monkeypatch, 3)
    out = tmp_path / "environment.tar.gz"
    words = ["--platform", "emr-7", "--extras", "spark", "--with-model", "hashing", "--out", str(out)]
    assert run(["pack", *words]) == 1
    assert "error: docker build ended with 3; its last lines above say why" in capfd.readouterr().err
    assert not out.exists()


def test_without_docker_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["pack", "--platform", "emr-7", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "error: packing for EMR needs docker, and there is none on the PATH; "
        "install Docker, or run this on a machine that has it\n"
    )


def test_the_dockerfile_for_people_is_the_one_that_is_used() -> None:
    shown = Path(__file__).resolve().parents[2] / "deploy" / "aws" / "emr-7.Dockerfile"
    assert shown.resolve() == DOCKERFILE.resolve()
