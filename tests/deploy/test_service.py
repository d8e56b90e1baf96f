"""What runs the service elsewhere: files that hold together, say what findling knows, and lock it in."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from findling import config
from findling.cli import app

pytest.importorskip("yaml", reason="needs yaml: the module is not installed")
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
COMPOSE = DEPLOY / "docker" / "compose.yaml"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], " ".join(line.split()[1:])) for line in text.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    told = instructions()
    return told[max(at for at, (word, _) in enumerate(told) if word == "FROM") :]


def documents() -> list[dict[str, Any]]:
    """All Kubernetes objects."""
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text()) if one]


def pods() -> dict[str, dict[str, Any]]:
    """The pods that are made, by what makes them."""
    found = {}
    for one in documents():
        match one["kind"]:
            case "Deployment":
                found[one["metadata"]["name"]] = one["spec"]["template"]
            case "CronJob":
                found[one["metadata"]["name"]] = one["spec"]["jobTemplate"]["spec"]["template"]
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of findling in deploy/, by where it stands."""
    told = dict(last_stage())
    yield "Dockerfile", yaml.safe_load(told["CMD"])
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        if service["image"] == "findling":
            yield f"compose {name}", service.get("command", yaml.safe_load(told["CMD"]))
    for name, pod in pods().items():
        yield f"kubernetes {name}", pod["spec"]["containers"][0]["args"]
    for unit in UNITS:
        for line in re.findall(r"^ExecStart\w*=\S+/findling (.*)$", unit.read_text(), re.MULTILINE):
            yield unit.name, shlex.split(line)


@pytest.mark.parametrize(("where", "words"), list(commands()), ids=lambda value: str(value)[:40])
def test_every_command_is_one_that_findling_knows(where: str, words: list[str]) -> None:
    del where
    verb, *rest = words
    command = typer.main.get_command(app()).commands[verb]  # type: ignore[attr-defined]
    with command.make_context(verb, list(rest), resilient_parsing=False) as context:
        assert context.args == []


def test_every_setting_in_the_environment_is_one_that_findling_knows() -> None:
    texts = "\n".join(path.read_text() for path in [COMPOSE, *MANIFESTS, *UNITS])
    named = set(re.findall(r"FINDLING_([A-Z]+)__([A-Z_]+)", texts))
    assert ("SERVE", "KEYS") in named
    for table, key in named:
        options = getattr(config, f"{table.title()}Options")
        assert key.lower() in options.__struct_fields__


def test_the_container_is_not_root_tells_its_health_and_starts_without_a_shell() -> None:
    told = last_stage()
    words = [word for word, _ in told]
    user = dict(told)["USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes can only check a number"
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("COPY", "RUN"))
    assert "/readyz" in dict(told)["HEALTHCHECK"]
    assert dict(told)["ENTRYPOINT"].startswith("[")
    assert not {"ADD"} & {word for word, _ in instructions()}
    assert not re.search(r"\bsudo\b|curl .*\|", DOCKERFILE.read_text())


def test_the_image_is_made_of_files_that_are_there_and_let_through() -> None:
    through = re.findall(
        r"^!(\S+)$", (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text(), re.MULTILINE
    )
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(copied) == set(through)
    assert all((REPOSITORY / source).exists() for source in copied)
    pinned = re.search(r"WEIGHTS=(\S+)", DOCKERFILE.read_text())
    assert pinned is not None
    assert pinned[1] in (REPOSITORY / "Makefile").read_text(), "the same weights everywhere"


def test_images_have_a_version_and_extras_exist() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    [extras] = re.findall(r"^ARG EXTRAS=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))
    images = re.findall(r"^\s*image: (\S+)$", COMPOSE.read_text(), re.MULTILINE)
    assert [one for one in images if one != "findling" and not re.search(r":\d+\.\d+", one)] == []


def test_compose_opens_only_what_it_has_to() -> None:
    told = yaml.safe_load(COMPOSE.read_text())
    services = told["services"]
    assert services["findling"]["ports"] == ["127.0.0.1:8000:8000"]
    assert "ports" not in services["redis"]
    assert told["networks"]["back"]["internal"] is True
    assert "?" in services["findling"]["environment"]["FINDLING_SERVE__KEYS"], (
        "it does not start without keys"
    )
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(pods()))
def test_pods_are_locked_in(name: str) -> None:
    spec = pods()[name]["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    user, group = dict(last_stage())["USER"].split(":")
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (
        int(user),
        int(group),
    )
    assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in spec["volumes"]}


def test_the_service_is_probed_and_scaled() -> None:
    kinds = {(one["kind"], one["metadata"]["name"]): one for one in documents() if "metadata" in one}
    [container] = pods()["findling-serve"]["spec"]["containers"]
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    target = kinds["HorizontalPodAutoscaler", "findling-serve"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in kinds
    assert "replicas" not in kinds["Deployment", "findling-serve"]["spec"], "or each apply undoes the scaling"
    labels = pods()["findling-serve"]["metadata"]["labels"]
    assert kinds["Service", "findling"]["spec"]["selector"] == labels
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        spec = kinds[kind, "findling-serve"]["spec"]
        assert spec.get("selector", spec.get("podSelector"))["matchLabels"] == labels


def test_kustomizations_name_files_that_are_there_and_render() -> None:
    for path in MANIFESTS:
        if path.name == "kustomization.yaml":
            told = yaml.safe_load(path.read_text())
            assert all((path.parent / resource).exists() for resource in told["resources"])
            config.load(DEPLOY / "kubernetes" / "base" / "findling.toml", environ={})
            if shutil.which("kubectl"):
                command = ["kubectl", "kustomize", str(path.parent)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                assert done.returncode == 0, done.stderr
                assert {"Deployment", "CronJob"} <= {one["kind"] for one in yaml.safe_load_all(done.stdout)}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze: not installed")
def test_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for path in (DEPLOY / "systemd").iterdir():
        text = path.read_text().replace("/opt/findling/bin/findling", "/bin/true")
        (tmp_path / path.name).write_text(text)
    checked = [str(tmp_path / name) for name in ("findling.service", "findling-build.timer")]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *checked],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_locked_in(unit: Path) -> None:
    told = unit.read_text()
    for line in (
        *("User=findling", "NoNewPrivileges=true", "ProtectSystem=strict", "ProtectHome=true"),
        *("PrivateTmp=true", "CapabilityBoundingSet=", "RestrictNamespaces=true"),
    ):
        assert f"\n{line}\n" in told
