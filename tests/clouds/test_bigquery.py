"""BigQuery through Google's own clients, against a host of ours that speaks their protocols."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from findling import build, config
from findling.catalog import Catalog
from findling.cli import run
from findling.errors import ConfigError, SourceError
from findling.sources.bigquery import BigQuery

pytest.importorskip("google.cloud.bigquery_storage_v1", reason="needs google: the extra gcp")
pytest.importorskip("google.cloud.bigquery", reason="needs google: the extra gcp")

from clouds.bigquery_host import BigQueryHost

QUERY = "SELECT title, SUM(views) AS views FROM pages GROUP BY title HAVING views > 2"
TITLES = pa.table(
    {
        "title": [f"A title of {n} words" for n in range(8)],
        "views": pa.array(range(8), pa.int64()),
        "tags": [["x", "y"]] * 8,
        "seen": pa.array([n * 1_000_000 for n in range(8)], pa.timestamp("us", tz="UTC")),
    }
)


@pytest.fixture
def host() -> Iterator[BigQueryHost]:
    host = BigQueryHost(
        {"pages": TITLES, "result": TITLES.slice(3), "none": TITLES.slice(0, 0)}, {QUERY: "result"}
    )
    yield host
    host.close()


def write(home: Path, options: dict[str, Any]) -> Path:
    source = "\n".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    (home / "findling.toml").write_text(
        f"""
collection = "titles"
[source]
kind = "bigquery"
{source}
[document]
title = "title"
keep = ["title", "views", "tags"]
[vectors.text]
encoder = "hashing"
input = ["title"]
""",
        "utf-8",
    )
    return home / "findling.toml"


def test_a_table_is_built_from_all_its_streams(tmp_path: Path, host: BigQueryHost) -> None:
    settings = config.load(write(tmp_path, {**host.options, "table": "d.pages", "id": "views"}))
    report = build.build(settings)
    assert (report.records["read"], report.records["kept"]) == (8, 8)
    assert sorted(host.read) == ["pages-0-3", "pages-1-3", "pages-2-3"]
    before = list(host.read)
    again = build.build(settings)
    assert again.snapshot == report.snapshot
    assert host.read == before  # an unchanged table is not read again


def test_a_build_that_stopped_between_two_streams_has_every_row_in_the_end(
    tmp_path: Path, host: BigQueryHost
) -> None:
    settings = config.load(write(tmp_path, {**host.options, "table": "d.pages", "id": "views"}))
    host.refuse = "pages-2-3"
    with pytest.raises(SourceError, match="not yours"):
        build.build(settings)
    host.refuse = None
    report = build.build(settings)  # in a session of its own, whose streams hold other rows
    assert (report.records["read"], report.records["kept"]) == (8, 8)


def test_a_query_runs_there_and_its_result_is_read(tmp_path: Path, host: BigQueryHost) -> None:
    settings = config.load(write(tmp_path, {**host.options, "query": QUERY}))
    report = build.build(settings)
    assert report.records["kept"] == 5
    assert host.asked == [QUERY]
    manifest = Catalog.of(settings).manifest(str(report.snapshot))
    assert manifest.columns == ["title", "views", "tags"]


def test_an_empty_result_is_told_as_such(tmp_path: Path, host: BigQueryHost, capsys: Any) -> None:
    file = write(tmp_path, {**host.options, "table": "d.none"})
    assert run(["build", "-c", str(file)]) == 1
    assert "no document was kept of 0 records" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"table": "d.nowhere"}, "Not found: nowhere"),
        ({"query": "SELEC 1"}, "Syntax error: SELEC 1"),
    ],
)
def test_what_bigquery_refuses_is_one_line(host: BigQueryHost, options: dict[str, Any], said: str) -> None:
    source = BigQuery.from_options({**host.options, **options}, "")
    with pytest.raises(SourceError, match=said):
        source.splits()


def test_one_of_query_and_table_is_wanted() -> None:
    for options in ({}, {"query": "SELECT 1", "table": "d.t"}):
        with pytest.raises(ConfigError, match="exactly one of"):
            BigQuery.from_options({"project": "p", **options}, "")
