"""Extracting books from an Open Library dump: ours, DuckDB and PySpark beside one another.

    python benchmarks/extract.py [--json] [--quick]

All find the editions for which `language = 'eng' and fiction and pages > 100 and year >= 2016`, in the same
file, on two cores, and must find the same ones. All give the keys: ours through the local engine, whose two
workers write them to shards, the peers in memory. What starts once has started for all of them.
DuckDB is asked in several ways ("json" leaves all work to its JSON functions; "json after text" first looks
for words in the line), and the fastest of each counts. The input repeats a dump in Open Library's form
(FINDLING_DATA, or ../shared/data).
"""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from isal import igzip

from _bench import arguments, installed, report, run_alternating

CORES = 2
WHERE = "language = 'eng' and fiction and pages > 100 and year >= 2016"
FICTION = (
    r"\b(fictions?|novels?|novelas?|(short|detective|mystery|ghost|horror|love|adventure|sea|western|spy"
    r"|suspense|fantasy|humorous|christmas|animal|school|sports|fantastic|historical|children.?s)"
    r" (stories|tales))\b"
)
ABOUT = (
    "non-? ?fiction|criticism|authorship|technique|bibliograph|study and teaching|themes, motives"
    r"|book reviews|dictionaries|encyclop|indexes|publishing|\bfilms?\b"
)


def data() -> Path:
    """The collection that the input is made from."""
    named = os.environ.get("FINDLING_DATA")
    home = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    file = home / "openlibrary" / "gutenberg_editions.txt.gz"
    if not file.is_file():
        sys.exit(f"{file} is not there; set FINDLING_DATA")
    return file


def make_input(path: Path, copies: int) -> tuple[Path, float]:
    """The dump repeated with other keys, gzipped where the name says so; its megabytes before that."""
    once = gzip.decompress(data().read_bytes())
    octets = 0
    with igzip.open(path, "wb", 2) if path.suffix == ".gz" else path.open("wb") as file:
        for place in range(copies):
            octets += file.write(once.replace(b"/books/OL", b"/books/OL%d" % (place + 1)))
    return path, octets / 1e6


def ours(path: Path, work: Path) -> set[str]:
    """The way of a build: parse and filter through the local engine, documents written."""
    from pyarrow import parquet

    from findling import registry
    from findling.filters import Where
    from findling.steps import FilterStep, ParseStep, SelectStep

    shutil.rmtree(work, ignore_errors=True)
    source = registry.load("source", "openlibrary").from_options({"editions": str(path)}, "")
    where = Where.parse(WHERE)
    asked = frozenset(column for part in where.parts for column in part.columns)
    steps = [
        ParseStep(source, "editions", where, count=True, columns=asked | {"id"}),
        FilterStep(where),
        SelectStep(("id",)),
    ]
    shards = engine(work).run(source, steps, str(work / "editions"))
    found = (parquet.read_table(file, columns=["id"]) for file in shards.files())
    return {key for table in found for key in table["id"].to_pylist()}


_engine: list[Any] = []


def engine(work: Path) -> Any:
    """One engine for all rounds: its workers stand already, as DuckDB and the Spark session do."""
    if not _engine:
        from findling import registry

        _engine.append(registry.load("engine", "local")(work, workers=CORES))
    return _engine[0]


def duckdb_queries(path: Path) -> dict[str, str]:
    """The same question in several ways."""
    columns = (
        "{'type': 'VARCHAR', 'key': 'VARCHAR', 'revision': 'VARCHAR', 'changed': 'VARCHAR', 'j': 'VARCHAR'}"
    )
    lines = (
        f"read_csv('{path}', delim='\t', quote='', escape='', header=false, auto_detect=false,"
        f" columns={columns})"
    )
    structure = (
        '{"languages": "JSON", "publish_date": "VARCHAR", "number_of_pages": "VARCHAR",'
        ' "pagination": "VARCHAR", "subjects": ["VARCHAR"], "genres": ["VARCHAR"]}'
    )

    def condition(language: str, date: str, count: str, pagination: str, subjects: str) -> str:
        present = datetime.now(tz=UTC).year
        found = (
            f"list_max(list_filter(list_transform(regexp_extract_all({pagination}, '\\d{{2,}}'),"
            " lambda x: try_cast(x AS INTEGER)), lambda x: x < 50000))"
        )
        return (
            f"({language}) = '/languages/eng'"
            f" AND try_cast(regexp_extract({date}, '\\b\\d{{4}}\\b') AS INTEGER) BETWEEN 2016 AND {present}"
            f" AND coalesce(try_cast({count} AS INTEGER), {found}) > 100"
            f" AND regexp_matches({subjects}, '{FICTION}', 'i')"
            f" AND list_any_value(list_filter({subjects.replace('::VARCHAR', '')}::JSON::VARCHAR[],"
            f" lambda s: regexp_matches(s, '{FICTION}', 'i') AND NOT regexp_matches(s, '{ABOUT}', 'i')))"
            " IS NOT NULL"
        )

    language = "coalesce(j->>'$.languages[0].key', j->>'$.languages')"
    arrows = condition(
        language, "(j->>'$.publish_date')", "(j->>'$.number_of_pages')", "(j->>'$.pagination')",
        "(j->>'$.subjects')",
    )  # fmt: skip
    several = condition("coalesce(v[1], v[2])", "v[3]", "v[4]", "v[5]", "v[6]")
    paths = (
        "'$.languages[0].key','$.languages','$.publish_date','$.number_of_pages','$.pagination','$.subjects'"
    )
    typed = condition(
        "coalesce(s.languages->>'$[0].key', s.languages->>'$')", "s.publish_date", "s.number_of_pages",
        "s.pagination", "to_json(s.subjects)::VARCHAR",
    )  # fmt: skip
    return {
        "DuckDB json/arrows": f"SELECT key FROM {lines} WHERE {arrows}",
        "DuckDB json/paths": f"SELECT key FROM (SELECT key, json_extract_string(j, [{paths}]) AS v"
        f" FROM {lines}) WHERE {several}",
        "DuckDB json/structure": f"SELECT key FROM (SELECT key, from_json(j, '{structure}') AS s"
        f" FROM {lines}) WHERE {typed}",
        "DuckDB json after text/words": f"SELECT key FROM {lines} WHERE contains(j, 'iction')"
        f" AND contains(j, 'eng') AND {arrows}",
        "DuckDB json after text/date": f"SELECT key FROM {lines} WHERE"
        " regexp_matches(j, '\"publish_date\": \"[^\"]*(201[6-9]|202\\d)') AND contains(j, 'eng') AND"
        f" {arrows}",
    }


def duckdb(sql: str) -> set[str]:
    """The keys that one query gives, on as many threads."""
    import duckdb as library

    with library.connect(config={"threads": str(CORES)}) as database:
        return {key.removeprefix("/books/") for (key,) in database.sql(sql).fetchall()}


def pyspark(path: Path) -> set[str]:
    """DataFrame functions on local[2], in a session that stands already."""
    from pyspark.sql import functions as f

    columns = f.split("value", "\t", 5)
    schema = "publish_date STRING, number_of_pages STRING, pagination STRING, subjects ARRAY<STRING>"
    frame = spark().read.text(str(path)).select(columns[1].alias("key"), columns[4].alias("j"))
    frame = frame.select(
        "key",
        f.from_json("j", schema).alias("s"),
        f.coalesce(f.get_json_object("j", "$.languages[0].key"), f.get_json_object("j", "$.languages")).alias(
            "language"
        ),
    )
    year = f.regexp_extract("s.publish_date", r"\b(\d{4})\b", 1).cast("int")
    found = f.expr(
        r"array_max(filter(transform(regexp_extract_all(s.pagination, '(\\d{2,})', 1), x -> cast(x AS INT)),"
        " x -> x < 50000))"
    )
    count = f.coalesce(f.expr("try_cast(s.number_of_pages AS INT)"), found)
    novel = f.exists("s.subjects", lambda told: told.rlike(f"(?i){FICTION}") & ~told.rlike(f"(?i){ABOUT}"))
    chosen = frame.where(
        (f.col("language") == "/languages/eng")
        & year.between(2016, datetime.now(tz=UTC).year)
        & (count > 100)
        & novel
    )
    return {row.key.removeprefix("/books/") for row in chosen.select("key").collect()}


_session: list[Any] = []


def spark() -> Any:
    """One session for all rounds; its start is not counted."""
    if not _session:
        from pyspark.sql import SparkSession

        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master(f"local[{CORES}]").config("spark.ui.enabled", "false")
        session = builder.config("spark.sql.ansi.enabled", "false").getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        _session.append(session)
    return _session[0]


def timed(
    work: Callable[[], set[str]], megabytes: float, expected: set[str], name: str
) -> Callable[[], float]:
    """Megabytes of plain text a second; the answer is checked every time."""

    def run() -> float:
        start = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - start
        if found != expected:
            odd = sorted(found ^ expected)
            sys.exit(f"{name} finds {len(found):,} of {len(expected):,} editions; differing: {odd[:5]}")
        return megabytes / seconds

    return run


def compare(
    path: Path, megabytes: float, peers: dict[str, Callable[[], set[str]]], rounds: int, work: Path
) -> dict[str, list[float]]:
    """Rates of ours and of peers on one file, every answer being the same."""
    expected = ours(path, work)
    runs = {"ours": timed(lambda: ours(path, work), megabytes, expected, "ours")}
    runs |= {name: timed(peer, megabytes, expected, name) for name, peer in peers.items()}
    return run_alternating(runs, rounds)


def main() -> None:
    options = arguments(__doc__ or "", sys.argv[1:])
    copies, packed_copies, spark_copies, rounds = (16, 12, 0, 3) if options.quick else (60, 24, 24, 5)
    versions = installed("duckdb", "pyspark", "pyarrow", "isal")
    has_spark = versions["pyspark"] != "not installed" and shutil.which("java") is not None
    with_spark = has_spark and not options.quick  # its start alone takes a quarter of the time
    with tempfile.TemporaryDirectory(prefix="findling-extract-") as name:
        home = Path(name)
        trial, _ = make_input(home / "trial.txt", 2)
        plain, megabytes = make_input(home / "editions.txt", copies)
        packed, packed_megabytes = make_input(home / "editions.txt.gz", packed_copies)
        ways = fastest(duckdb_queries(trial))

        def asked(path: Path, suffix: str = "") -> dict[str, Callable[[], set[str]]]:
            queries = duckdb_queries(path)
            return {way + suffix: partial(duckdb, queries[query]) for way, query in ways.items()}

        rates = compare(plain, megabytes, asked(plain), rounds, home / "work")
        packed_rates = compare(packed, packed_megabytes, asked(packed, ", gz"), rounds, home / "work")
        spark_rates: dict[str, list[float]] = {"ours": []}
        if with_spark:
            short, short_megabytes = (
                (plain, megabytes) if spark_copies == copies else make_input(home / "short.txt", spark_copies)
            )
            spark().range(1).count()
            peers = {"PySpark": partial(pyspark, short)}
            spark_rates = compare(short, short_megabytes, peers, rounds, home / "work")
        engine(home / "work").close()
    mine, packed_mine, spark_mine = (each.pop("ours") for each in (rates, packed_rates, spark_rates))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    setting = {
        "input_mb": {"plain": round(megabytes), "gz": round(packed_megabytes)},
        "ours_gz": round(statistics.median(packed_mine), 1),
        "workers": CORES,
        "rounds": rounds,
        "where": WHERE,
        "duckdb_queries": ways,
        "peak_rss_mb_of_the_largest_process": round(peak / 1024),
        "versions": versions,
    }
    if not with_spark:
        setting["absent"] = (
            "PySpark (in the full run only)" if has_spark else "PySpark (not installed, or no java)"
        )
    against = {**dict.fromkeys(packed_rates, packed_mine), **dict.fromkeys(spark_rates, spark_mine)}
    report(
        "extract",
        "MB of plain text a second",
        mine,
        {**rates, **packed_rates, **spark_rates},
        setting,
        compare=against,
        as_json=options.json,
    )


def fastest(queries: dict[str, str]) -> dict[str, str]:
    """For each way of asking (the part before the slash) the query that is fastest in a trial."""
    best: dict[str, tuple[float, str]] = {}
    for name, sql in queries.items():
        for _ in range(2):
            start = time.perf_counter()
            duckdb(sql)
            seconds = time.perf_counter() - start
            way = name.partition("/")[0]
            best[way] = min(best.get(way, (seconds, name)), (seconds, name))
    return {way: name for way, (_, name) in best.items()}


if __name__ == "__main__":
    main()
