"""findling.toml to frozen settings: the only reader of TOML and of the environment.

An unknown key, a wrong type or an impossible value is one line that names the key, what was found and what
is allowed. `FINDLING_SERVE__PORT=9000` overrides `[serve] port`.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from findling.errors import ConfigError

T = TypeVar("T")
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Share = Annotated[float, Meta(gt=0, le=1)]

FILE = "findling.toml"
MILVUS_TOKEN = "FINDLING_MILVUS_TOKEN"  # noqa: S105 - the variable's name
PACKED_MODELS = "share/findling/models"  # below the prefix of a packed environment
LEXICAL = "lexical"
_LEAST_MEMORY = 128_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of findling.toml."""


class FilterOptions(Options, frozen=True):
    """Which records become documents."""

    where: str = ""


class DocumentOptions(Options, frozen=True):
    """What of a document is kept and shown: `picture` is the column that holds a cover's path or URL."""

    title: str
    keep: list[str] = []
    facets: list[str] = []
    picture: str | None = None

    @property
    def columns(self) -> list[str]:
        """All columns that a document carries, the title first, each once."""
        pictured = [self.picture] if self.picture else []
        return list(dict.fromkeys([self.title, *self.keep, *self.facets, *pictured]))


class VectorOptions(Options, frozen=True):
    """A vector field: the text columns (or the picture column) that one encoder embeds.

    `query` says who embeds a query's words: the encoder ("full"), or words' vectors that the build fits
    ("instant"), if these find at least `instant_overlap` of the encoder's top 10. `options` are the table's
    further keys, which the encoder itself knows and checks.
    """

    encoder: str
    input: list[str] = []
    image: str | None = None
    query: Literal["full", "instant"] = "full"
    instant_overlap: Share = 0.4
    options: dict[str, Any] = {}


class LexicalOptions(Options, frozen=True):
    """The BM25 side: which columns, how much each counts, and the language of the stemmer."""

    input: list[str]
    weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    language: str = "en"


class IndexOptions(Options, frozen=True):
    """What the index must promise: recall@10, memory, and the milliseconds that 95% of its searches keep to.

    `kind` "auto" chooses what fits; `queries` is a file of queries to measure with.
    """

    kind: str = "auto"
    recall: Share = 0.95
    memory: str = "2GB"
    latency_ms: Annotated[float, Meta(gt=0)] | None = None
    queries: str | None = None
    params: dict[str, int | float | str] = {}

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes; raises ConfigError for less than joins can work with."""
        found = bytes_of(self.memory, "index.memory")
        if found < _LEAST_MEMORY:
            raise ConfigError(f"index.memory is {self.memory!r}", todo='the least is "128MB"')
        return found


class RankOptions(Options, frozen=True):
    """How the parts' ranked lists become one: `candidates` from each, weights by part.

    `constant` is the k of reciprocal-rank fusion (Cormack et al., 2009).
    """

    fusion: Literal["rrf", "weighted"] = "rrf"
    weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    constant: Annotated[float, Meta(gt=0)] = 60
    candidates: Annotated[int, Meta(ge=10, le=10_000)] = 100


class ServeOptions(Options, frozen=True):
    """The service. `image_hosts` are the hosts the page may show pictures from; by default none.

    `keys` are lines that `findling key` prints; without any, only this machine is served, or a proxy that
    guards the service (`behind_proxy`). `hosts` are further names it answers to, `cors` the origins whose
    pages may read answers, `rate` the requests a second that one client may send (0: any number).
    `access_log` writes a line for each request, with the words that were asked only where `log_queries`;
    `otel` is the address of an OpenTelemetry collector.
    `cache` is "off", "memory", "redis://…" or "memory+redis://…"; `cache_memory` bounds it in each process,
    and `cache_seconds` is how long a Redis may take.
    """

    host: str = "127.0.0.1"
    port: Port = 8000
    workers: Positive = 1
    examples: list[str] = []
    image_hosts: list[str] = []
    keys: list[str] = []
    behind_proxy: bool = False
    hosts: list[str] = []
    cors: list[str] = []
    rate: Annotated[float, Meta(ge=0)] = 0
    access_log: bool = False
    log_queries: bool = False
    otel: str | None = None
    cache: str = "memory"
    cache_memory: str = "64MB"
    cache_seconds: Annotated[float, Meta(gt=0, le=10)] = 0.05


class Settings(Options, frozen=True):
    """A whole findling.toml; `base` is the directory that relative paths start from."""

    collection: str
    source: dict[str, Any]
    document: DocumentOptions
    home: str = "data"
    filter: FilterOptions = FilterOptions()
    vectors: dict[str, VectorOptions] = {}
    lexical: LexicalOptions | None = None
    fetch: dict[str, Any] = {}
    store: dict[str, Any] = {}
    engine: dict[str, dict[str, Any]] = {}
    index: IndexOptions = IndexOptions()
    rank: RankOptions = RankOptions()
    serve: ServeOptions = ServeOptions()
    base: str = ""

    @property
    def source_kind(self) -> str:
        """The registered name of the source."""
        return str(self.source["kind"])

    @property
    def source_options(self) -> dict[str, Any]:
        """The source's own keys."""
        return {key: value for key, value in self.source.items() if key != "kind"}

    @property
    def store_kind(self) -> str:
        """The registered name of the store of documents."""
        return str(self.store.get("kind", "arrow"))

    @property
    def store_options(self) -> dict[str, Any]:
        """The store's own keys."""
        return {key: value for key, value in self.store.items() if key != "kind"}

    def path(self, value: str) -> str:
        """A path of the configuration, from the directory of its file."""
        return value if "://" in value or not self.base else str(Path(self.base, value))

    @property
    def parts(self) -> list[str]:
        """What a query can be ranked by: the vector fields, and `lexical` where there is one."""
        return [*self.vectors, *([LEXICAL] if self.lexical else [])]


def load(path: str | Path = FILE, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check a findling.toml; raises ConfigError."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {path}", todo="name one with -c FILE, or write one with: findling new table DIR"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    overridden = _override(tables, os.environ if environ is None else environ)
    try:
        return parse(tables, base=str(path.resolve().parent))
    except ConfigError as error:
        for variable, keys in overridden.items():
            named = rf"(?<![\w.])({re.escape('.'.join(keys))}|{re.escape(keys[0])}')(?![\w.])"
            if re.search(named, error.what):
                raise ConfigError(f"{error.what}, from {variable}", todo=error.todo) from None
        raise


def parse(tables: Mapping[str, Any], base: str = "") -> Settings:
    """Settings out of TOML's tables; raises ConfigError."""
    plain = dict(tables)
    if "base" in plain:
        raise ConfigError(_unknown("base", Settings))
    fields = plain.pop("vectors", {})
    settings = convert(plain, Settings, at="")
    if not isinstance(fields, dict) or not all(isinstance(value, dict) for value in fields.values()):
        raise ConfigError("vectors must hold one table for each vector field", todo="write [vectors.text]")
    settings = msgspec.structs.replace(settings, base=base)
    vectors = {name: _vector_options(name, value, settings.path) for name, value in fields.items()}
    settings = msgspec.structs.replace(settings, vectors=vectors)
    _check(settings)
    return settings


def _vector_options(name: str, table: Mapping[str, Any], path: Callable[[str], str]) -> VectorOptions:
    table = {key: path(value) if _is_path(key, value) else value for key, value in table.items()}
    ours = {*VectorOptions.__struct_fields__} - {"options"}
    known = {key: value for key, value in table.items() if key in ours}
    options = {key: value for key, value in table.items() if key not in known}
    return convert({**known, "options": options}, VectorOptions, at=f"vectors.{name}")


def _is_path(key: str, value: Any) -> bool:
    """Whether an encoder's key names a directory: `path` does, two others where they begin with a dot."""
    if not isinstance(value, str):
        return False
    return key == "path" or (key in ("encoder", "model") and value.startswith(("./", "../")))


def convert(value: Mapping[str, Any], kind: type[T], at: str) -> T:
    """A TOML table as a value of type `kind`; raises ConfigError naming the key below `at`."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), value, kind, at)) from None


def models_cache(environ: Mapping[str, str] | None = None, otherwise: Path | None = None) -> Path:
    """Where models are looked for and converted ones kept, by this process.

    FINDLING_MODELS, or what the packed environment that this Python is part of carries, or `otherwise`, or
    the user's cache directory.
    """
    environ = os.environ if environ is None else environ
    chosen = environ.get("FINDLING_MODELS")
    packed = Path(sys.prefix, PACKED_MODELS)
    if chosen or packed.is_dir():
        return Path(chosen) if chosen else packed
    return otherwise or user_cache(environ) / "models"


def user_cache(environ: Mapping[str, str] | None = None) -> Path:
    """The user's cache directory for findling (XDG base directory specification)."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "findling"


def milvus_token(environ: Mapping[str, str] | None = None) -> str:
    """What Milvus knows its caller by; empty where nothing is set."""
    return (os.environ if environ is None else environ).get(MILVUS_TOKEN, "")


def bytes_of(text: str, at: str) -> int:
    """The number of bytes in a text such as "2GB" or "512 MiB"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if not match:
        raise ConfigError(f"{at} is {text!r}", todo='write a size such as "2GB"')
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))


def value_of(text: str) -> Any:
    """A value out of a text: what TOML makes of it, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _override(tables: dict[str, Any], environ: Mapping[str, str]) -> dict[str, list[str]]:
    """FINDLING_A__B=value sets [a] b; a value that is TOML is read as such, any other is a string.

    Returns what each variable set, table by table.
    """
    overridden: dict[str, list[str]] = {}
    for variable, text in sorted(environ.items()):
        keys = variable.removeprefix("FINDLING_").lower().split("__")
        if not variable.startswith("FINDLING_") or len(keys) < 2:
            continue
        value = value_of(text)
        table = tables
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{variable} names {key!r}, which is not a table")
        table[keys[-1]] = value
        overridden[variable] = keys
    return overridden


def _check(settings: Settings) -> None:
    """What types alone do not say."""
    for at, name in [("collection", settings.collection), *((f"vectors.{n}", n) for n in settings.vectors)]:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{at} is {name!r}", todo="use lower-case letters, digits, - and _")
    if LEXICAL in settings.vectors:
        raise ConfigError(f"a vector field may not be called {LEXICAL!r}", todo="rename [vectors.lexical]")
    if not isinstance(settings.source.get("kind"), str):
        raise ConfigError("source.kind is missing", todo='write for example: kind = "table"')
    if not settings.parts:
        raise ConfigError("nothing could be searched", todo="add [vectors.text] or [lexical]")
    for name, field in settings.vectors.items():
        if bool(field.input) == bool(field.image):
            raise ConfigError(
                f"vectors.{name} needs exactly one of `input` and `image`",
                todo='write input = ["title"] or image = "cover_url"',
            )
        if field.image and field.query == "instant":
            raise ConfigError(
                f'vectors.{name}.query is "instant", but its documents are pictures',
                todo='write query = "full"',
            )
    _check_parts("rank.weights", settings.rank.weights, settings.parts)
    if settings.lexical:
        _check_parts("lexical.weights", settings.lexical.weights, settings.lexical.input)
        if not settings.lexical.input:
            raise ConfigError("lexical.input is empty", todo="name the columns to search")
        if not any(settings.lexical.weights.get(name, 1) for name in settings.lexical.input):
            raise ConfigError("lexical.weights are all 0", todo="leave [lexical] out, or let a column count")
    _ = settings.index.memory_bytes


def _check_parts(at: str, weights: Mapping[str, float], allowed: list[str]) -> None:
    for name in weights:
        if name not in allowed:
            raise ConfigError(f"{at} names {name!r}", todo=f"allowed are {', '.join(allowed)}")


def _explain(message: str, value: Mapping[str, Any], kind: type[Any], at: str) -> str:
    """msgspec's message in the words of findling.toml."""
    what, _, path = message.partition(" - at `$")
    keys = [key for key in re.split(r"[.\[\]`]+", path) if key and key != "..."]
    where = ".".join([*([at] if at else []), *keys])
    unknown = re.search(r"unknown field `(.*)`", what)
    missing = re.search(r"missing required field `(.*)`", what)
    owner: Any = kind
    for key in keys:
        hint = get_type_hints(owner).get(key, owner) if isinstance(owner, type) else owner
        owner = next((arm for arm in getattr(hint, "__args__", ()) if _is_struct(arm)), hint)
    if unknown:
        return _unknown(f"{where}.{unknown[1]}" if where else unknown[1], owner)
    if missing:
        return f"{where}.{missing[1]} is missing" if where else f"{missing[1]} is missing"
    found: Any = value
    for key in keys:
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal():
            found = found[int(key)]
    for theirs, ours in _WORDS.items():
        what = what.replace(theirs, ours)
    choices = get_args(owner) if get_origin(owner) is Literal else ()
    if choices:
        what = f"expected {' or '.join(map(repr, choices))}"
    what = what[0].lower() + what[1:].replace("`", "")
    # Whoever put a key where its line belongs shall not read it in a log.
    shown = "" if keys[:2] == ["serve", "keys"] else f" (found {found!r})"
    return f"{where or 'the configuration'}: {what}{shown}"


# TOML's words for what msgspec names in JSON's.
_WORDS = {
    "`str | null`": "text",
    "`object | null`": "a table",
    "`object`": "a table",
    "`array`": "a list",
    "`str`": "text",
    "`bool`": "true or false",
}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _unknown(key: str, owner: Any) -> str:
    allowed = [name for name in getattr(owner, "__struct_fields__", ()) if name != "base"]
    near = difflib.get_close_matches(key.rpartition(".")[2], allowed, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key {key!r}; {meant}allowed are {', '.join(sorted(allowed))}"
