"""A build on Dataflow: what it is asked for, by Beam's real client, and that the build is the same there."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from test_submit import planned, refused

from batch import built, collection, some_rows
from conftest import find_free_port
from findling import config, plan, registry, storage
from findling.catalog import Catalog
from findling.cli import run
from findling.clouds import dataflow
from findling.progress import Silent
from needs import skip_without

if TYPE_CHECKING:
    from dataflow_host import DataflowHost

IMAGE = "europe-west1-docker.pkg.dev/books-1234/findling/worker"
NAMED = ["--project", "books-1234", "--region", "europe-west1", "--image", IMAGE, "--to", "gs://bucket/flow"]


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DataflowHost]:
    """Dataflow on loopback, and Cloud Storage with an empty `bucket`."""
    # Read when gcsfs is imported: the emulator has no hierarchical buckets to be asked for.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    skip_without("apache_beam", "gcp_storage_emulator", "gcsfs", "google")
    import gcsfs
    from dataflow_host import DataflowHost
    from gcp_storage_emulator.server import create_server

    port = find_free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://localhost:{port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    gcsfs.GCSFileSystem.clear_instance_cache()  # they remember the server of another test
    store = create_server("localhost", port, in_memory=True, default_bucket="bucket")
    store.start()
    host = DataflowHost()
    yield host
    for thread in threading.enumerate():
        if "poll_for_job_completion" in thread.name:  # Beam's: it fails where nobody answers it any more
            thread.join(60)
            assert not thread.is_alive()
    host.close()
    store.stop()
    gcsfs.GCSFileSystem.clear_instance_cache()


def elsewhere(path: Path) -> Path:
    """A collection whose home and rows are in the bucket."""
    file = collection(path, some_rows(40), home="gs://bucket/search")
    file.write_text(file.read_text().replace('"rows.jsonl"', '"gs://bucket/rows.jsonl"'))
    return file


def submitted(file: Path, host: DataflowHost, *words: str) -> list[str]:
    storage.write_bytes("gs://bucket/rows.jsonl", (file.parent / "rows.jsonl").read_bytes())
    there = ["--option", f"dataflow_endpoint={host.endpoint}", "--option", "no_auth=true"]
    return ["submit", "dataflow", "-c", str(file), *NAMED, *there, *words]


def documents_of(file: Path) -> list[str]:
    root = Catalog.of(config.load(file, environ={})).local()
    with pa.memory_map(str(root / "documents.arrow")) as mapped:
        return sorted(map(repr, pa.ipc.open_file(mapped).read_all().to_pylist()))


@pytest.mark.slow
def test_dataflow_builds_what_one_machine_builds(
    google: DataflowHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = elsewhere(tmp_path / "there")
    asked = planned(tmp_path / "plan.json", "dataflow")
    assert run(submitted(file, google, "--plan", str(tmp_path / "plan.json"), "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["records"] == {"read": 40, "kept": 40, "dropped": {}}
    here = collection(tmp_path / "here", some_rows(40))
    assert built(here).embedded == report["embedded"]
    assert documents_of(file) == documents_of(here)

    assert google.jobs
    for place in range(len(google.jobs)):
        sent = google.options(place)
        assert sent["sdk_container_image"] == IMAGE
        assert sent["temp_location"].startswith("gs://bucket/flow/temp")
        assert sent["max_num_workers"] == asked.workers
        (pool,) = google.jobs[place]["environment"]["workerPools"]
        assert pool["machineType"] == "n1-standard-4"
        assert pool["workerHarnessContainerImage"] == IMAGE


@pytest.mark.slow
def test_an_interrupted_build_cancels_its_job(
    google: DataflowHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    google.state = "JOB_STATE_RUNNING"
    google.when_asked = lambda: os.kill(os.getpid(), signal.SIGINT)
    try:
        assert run(submitted(elsewhere(tmp_path / "c"), google)) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert google.cancelled == ["job-1"]


@pytest.mark.slow
def test_a_failed_job_is_one_line(
    google: DataflowHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    google.state = "JOB_STATE_FAILED"
    assert run(submitted(elsewhere(tmp_path / "c"), google)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Beam gave the work up: DataflowRuntimeException: ")
    assert "State: FAILED" in error


def test_a_dry_run_tells_the_options_and_asks_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = elsewhere(tmp_path / "c")
    asked = planned(tmp_path / "plan.json", "local", "dataflow")
    words = ["--plan", str(tmp_path / "plan.json"), "--option", "machine_type=n2-standard-8", "--dry-run"]
    assert run(["submit", "dataflow", "-c", str(file), *NAMED, *words]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "runner": "DataflowRunner",
        "project": "books-1234",
        "region": "europe-west1",
        "temp_location": "gs://bucket/flow/temp",
        "staging_location": "gs://bucket/flow/staging",
        "sdk_container_image": IMAGE,
        "sdk_location": "container",
        "machine_type": "n2-standard-8",
        "num_workers": asked.workers,
        "max_num_workers": asked.workers,
    }


def test_every_shape_of_the_plan_has_a_machine_type() -> None:
    anything = dict.fromkeys(plan.Plan.__dataclass_fields__)
    for cores, gigabytes in plan.SHAPES["dataflow"]:
        shape: dict[str, Any] = {**anything, "workers": 3, "cores": cores, "memory": int(gigabytes * 1e9)}
        assert dataflow.workers(plan.Plan(**shape))["machine_type"].endswith(f"-{cores}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--project", "Books"], "--project is 'Books'"),
        (["--to", "bucket"], "--to is 'bucket'; name an address in the cloud: --to gs://BUCKET"),
    ],
)
def test_what_cannot_be_submitted_is_refused(
    words: Sequence[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["submit", "dataflow", "-c", str(elsewhere(tmp_path / "c")), *NAMED, *words], told, capsys)


def test_a_home_of_this_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = collection(tmp_path / "c")
    refused(["submit", "dataflow", "-c", str(here), *NAMED], 'write home = "gs://BUCKET/search"', capsys)


@pytest.mark.needs("apache_beam")
def test_work_is_cut_for_all_cores_of_all_workers(tmp_path: Path) -> None:
    def cores(**options: Any) -> int:
        found = {"runner": "DataflowRunner", **options}
        engine = registry.load("engine", "beam").from_options(found, str(tmp_path), Silent())
        return int(engine.cores())

    assert cores(max_num_workers=5, machine_type="n1-highmem-8") == 40
    assert cores(num_workers=3) == 3
