"""The service on Cloud Run: a manifest that asks for what findling serves, and starts what it knows."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("yaml", reason="needs yaml: the module is not installed")
import yaml

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "gcp" / "cloud-run.yaml"


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
