from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from findling import config
from findling.errors import ConfigError

LEAST: dict[str, Any] = {
    "collection": "books",
    "source": {"kind": "table", "path": "x.csv"},
    "document": {"title": "title"},
    "vectors": {"text": {"encoder": "hashing", "input": ["title"]}},
    "lexical": {"input": ["title", "body"]},
}
TEXT = {"encoder": "hashing", "input": ["title"]}


def changed(**tables: Any) -> dict[str, Any]:
    found = copy.deepcopy(LEAST) | tables
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        # Unknown keys: the nearest, and all that are allowed.
        (
            {"colection": "x"},
            ["unknown key 'colection'", "mean 'collection'?", "allowed are", "serve"],
        ),
        ({"base": "x"}, ["unknown key 'base'"]),
        (
            {"serve": {"prot": 1}},
            ["'serve.prot'", "did you mean 'port'?", "allowed are access_log, behind_proxy"],
        ),
        (
            {"index": {"zzz": 1}},
            ["'index.zzz'", "allowed are kind, latency_ms, memory, params, queries, recall"],
        ),
        ({"filter": {"were": ""}}, ["'filter.were'", "did you mean 'where'?"]),
        ({"document": {"title": "t", "kept": []}}, ["'document.kept'", "did you mean 'keep'?"]),
        ({"lexical": {"input": ["t"], "language_": "en"}}, ["'lexical.language_'", "'language'"]),
        ({"rank": {"weight": {}}}, ["'rank.weight'", "'weights'"]),
        # Missing keys.
        ({"collection": None}, ["collection is missing"]),
        ({"source": None}, ["source is missing"]),
        ({"source": {}}, ["source.kind is missing", 'kind = "table"']),
        ({"source": {"kind": 3}}, ["source.kind is missing"]),
        ({"document": {}}, ["document.title is missing"]),
        ({"vectors": {"text": {"input": ["a"]}}}, ["vectors.text.encoder is missing"]),
        ({"lexical": {}}, ["lexical.input is missing"]),
        # Wrong types, in TOML's words.
        ({"collection": 3}, ["collection: expected text", "found 3"]),
        ({"home": ["a"]}, ["home: expected text, got a list"]),
        ({"source": "x"}, ["source: expected a table, got text", "'x'"]),
        ({"document": {"title": "t", "keep": "title"}}, ["document.keep: expected a list", "'title'"]),
        ({"document": {"title": "t", "keep": ["a", 1]}}, ["document.keep.1: expected text", "found 1"]),
        ({"document": {"title": "t", "facets": 1}}, ["document.facets: expected a list"]),
        ({"document": {"title": "t", "picture": 1}}, ["document.picture: expected text"]),
        ({"filter": {"where": 3}}, ["filter.where: expected text"]),
        ({"vectors": 3}, ["vectors must hold one table for each", "[vectors.text]"]),
        ({"vectors": {"text": 3}}, ["vectors must hold one table for each"]),
        ({"vectors": {"text": TEXT | {"encoder": 3}}}, ["vectors.text.encoder: expected text"]),
        ({"vectors": {"text": TEXT | {"input": "title"}}}, ["vectors.text.input: expected a list"]),
        ({"lexical": {"input": ["t"], "weights": {"t": "much"}}}, ["lexical.weights", "float"]),
        ({"lexical": {"input": ["t"], "language": 1}}, ["lexical.language: expected text"]),
        ({"index": {"kind": 1}}, ["index.kind: expected text"]),
        ({"index": {"memory": 2}}, ["index.memory: expected text", "found 2"]),
        ({"index": {"params": {"M": [1]}}}, ["index.params"]),
        ({"serve": {"host": 1}}, ["serve.host: expected text"]),
        ({"serve": {"port": "8000"}}, ["serve.port: expected int", "'8000'"]),
        ({"serve": {"workers": True}}, ["serve.workers: expected int", "True"]),
        ({"serve": {"examples": "a"}}, ["serve.examples: expected a list"]),
        ({"serve": {"image_hosts": "a"}}, ["serve.image_hosts: expected a list"]),
        # Values that cannot be.
        ({"collection": "../x"}, ["collection is '../x'", "lower-case"]),
        ({"collection": ""}, ["collection is ''"]),
        ({"vectors": {"Text": TEXT}}, ["vectors.Text is 'Text'"]),
        ({"vectors": {"lexical": TEXT}}, ["may not be called 'lexical'"]),
        ({"vectors": {"text": {"encoder": "hashing"}}}, ["exactly one of `input` and `image`"]),
        ({"vectors": {"text": TEXT | {"image": "cover"}}}, ["exactly one of `input` and `image`"]),
        ({"vectors": None, "lexical": None}, ["nothing could be searched"]),
        ({"lexical": {"input": []}}, ["lexical.input is empty"]),
        ({"lexical": {"input": ["a"], "weights": {"b": 1}}}, ["lexical.weights names 'b'", "allowed are a"]),
        ({"lexical": {"input": ["a"], "weights": {"a": -1}}}, ["lexical.weights", ">= 0.0"]),
        ({"lexical": {"input": ["a"], "weights": {"a": 0}}}, ["lexical.weights are all 0"]),
        ({"rank": {"fusion": "rff"}}, ["rank.fusion", "expected 'rrf' or 'weighted'", "found 'rff'"]),
        ({"rank": {"fusion": 3}}, ["rank.fusion", "expected 'rrf' or 'weighted'", "found 3"]),
        ({"rank": {"weights": {"txt": 1}}}, ["rank.weights names 'txt'", "allowed are text, lexical"]),
        ({"rank": {"weights": {"text": -1}}}, ["rank.weights", ">= 0.0"]),
        ({"rank": {"weights": {"text": float("nan")}}}, ["rank.weights", ">= 0.0"]),
        ({"rank": {"constant": 0}}, ["rank.constant", "> 0.0"]),
        ({"rank": {"candidates": 9}}, ["rank.candidates", ">= 10", "found 9"]),
        ({"rank": {"candidates": 10_001}}, ["rank.candidates", "<= 10000"]),
        ({"index": {"recall": 1.5}}, ["index.recall", "<= 1.0", "1.5"]),
        ({"index": {"recall": 0}}, ["index.recall", "> 0.0"]),
        ({"index": {"memory": "lots"}}, ["index.memory is 'lots'", '"2GB"']),
        ({"index": {"memory": "-1GB"}}, ["index.memory is '-1GB'"]),
        ({"index": {"memory": "0GB"}}, ["index.memory is '0GB'", "the least is"]),
        ({"serve": {"port": 65_536}}, ["serve.port", "<= 65535"]),
        ({"serve": {"port": -1}}, ["serve.port", ">= 0"]),
        ({"serve": {"workers": 0}}, ["serve.workers", ">= 1"]),
    ],
)
def test_what_is_wrong_is_named(tables: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(changed(**tables))
    message = str(caught.value)
    assert "\n" not in message
    assert [part for part in told if part not in message] == [], message


def test_what_is_right_comes_through() -> None:
    settings = config.parse(
        changed(
            source={"kind": "table", "path": "x.csv", "id": "key"},
            document={
                "title": "title",
                "keep": ["id", "title", "year"],
                "facets": ["year"],
                "picture": "cover",
            },
            vectors={"text": TEXT | {"dim": 32}},
            index={"memory": "512 MiB"},
        ),
        base="/somewhere",
    )
    assert settings.source_kind == "table"
    assert settings.source_options == {"path": "x.csv", "id": "key"}
    assert settings.document.columns == ["title", "id", "year", "cover"]
    assert settings.vectors["text"].options == {"dim": 32}
    assert settings.index.memory_bytes == 512 << 20
    assert settings.parts == ["text", "lexical"]
    assert settings.path("a") == "/somewhere/a"
    assert settings.path("s3://bucket/a") == "s3://bucket/a"
    assert settings.home == "data"


@pytest.mark.parametrize(
    ("text", "number"),
    [("2GB", 2_000_000_000), ("2 gb", 2_000_000_000), ("1.5GiB", 3 << 29), ("300K", 300_000), ("7", 7)],
)
def test_sizes(text: str, number: int) -> None:
    assert config.bytes_of(text, "here") == number


FILE = """
collection = "books"
source = { kind = "table", path = "x.csv" }
document = { title = "title" }
lexical = { input = ["title"] }
[serve]
port = 8000
"""


def load(tmp_path: Path, content: str | bytes = FILE, **environ: str) -> config.Settings:
    path = tmp_path / config.FILE
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return config.load(path, environ)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        FINDLING_SERVE__PORT="9000",
        FINDLING_SERVE__HOST="0.0.0.0",  # noqa: S104 - a value like any other
        FINDLING_LEXICAL__WEIGHTS__TITLE="2.5",
        FINDLING_SERVE__EXAMPLES='["a", "b"]',
        FINDLING_INDEX__RECALL="0.9",
        FINDLING_DEBUG="1",
        FINDLING_MODELS="/models",
        PATH="/bin",
    )
    assert settings.serve.port == 9000
    assert settings.serve.host == "0.0.0.0"  # noqa: S104
    assert settings.serve.examples == ["a", "b"]
    assert settings.index.recall == 0.9
    assert settings.lexical is not None
    assert settings.lexical.weights == {"title": 2.5}
    assert settings.base == str(tmp_path.resolve())


def test_the_process_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / config.FILE).write_text(FILE)
    monkeypatch.setenv("FINDLING_SERVE__PORT", "9001")
    assert config.load(tmp_path).serve.port == 9001


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FINDLING_SERVE__PORT", "many", ["serve.port: expected int", "'many'", "from FINDLING_SERVE__PORT"]),
        ("FINDLING_SERV__PORT", "1", ["unknown key 'serv'", "'serve'", "from FINDLING_SERV__PORT"]),
        ("FINDLING_SERVE__PROT", "1", ["unknown key 'serve.prot'", "'port'", "from FINDLING_SERVE__PROT"]),
        ("FINDLING_COLLECTION__X", "1", ["FINDLING_COLLECTION__X", "'collection', which is not a table"]),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{variable: value})
    assert [part for part in told if part not in str(caught.value)] == [], str(caught.value)


def test_a_wrong_file_is_not_blamed_on_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, FILE + "wrokers = 1\n", FINDLING_SERVE__PORT="1")
    assert "FINDLING" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\x00\xff\xfe\x93garbage", b"collection = ", b"= 1", b"\xff", b"[a\n", b"a = 1\na = 2"]
)
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"findling\.toml is not TOML"):
        load(tmp_path, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*other\.toml.*findling new"):
        config.load(tmp_path / "other.toml")
    with pytest.raises(ConfigError, match=r"there is no .*findling\.toml"):
        config.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        config.load(tmp_path / "file" / "findling.toml")


def test_where_models_are_kept() -> None:
    assert config.models_cache({"FINDLING_MODELS": "/models"}) == Path("/models")
    assert config.models_cache({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/findling/models")
    assert config.user_cache({}) == Path.home() / ".cache" / "findling"


def test_an_encoders_directory_starts_from_the_file_like_every_path(tmp_path: Path) -> None:
    tables = {
        "a": {"encoder": "./mine", "input": ["t"]},
        "b": {"encoder": "minilm", "input": ["t"], "path": "models/minilm", "query_prefix": "ask: "},
        "c": {"encoder": "tfhub", "input": ["t"], "model": "../use"},
        "d": {"encoder": "tfhub", "input": ["t"], "model": "https://tfhub.example/use/4"},
    }
    found = config.parse(changed(vectors=tables), base=str(tmp_path)).vectors
    assert found["a"].encoder == str(tmp_path / "mine")
    assert found["b"].options == {"path": str(tmp_path / "models" / "minilm"), "query_prefix": "ask: "}
    assert found["c"].options == {"model": str(tmp_path / ".." / "use")}
    assert found["d"].options == {"model": "https://tfhub.example/use/4"}
