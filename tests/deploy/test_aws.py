"""For AWS: what the linter of CloudFormation says, what a build may do there, and what workers run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from findling.pack import docker

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = REPOSITORY / "deploy" / "aws" / "findling.yaml"
DOCKERFILE = TEMPLATE.parent / "emr-7.Dockerfile"
pytestmark = pytest.mark.needs("cfnlint")


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    from cfnlint.decode import cfn_yaml

    found: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE))))
    return found


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"]
    return found


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    command = [str(linter), "--include-checks", "I", "--", str(TEMPLATE)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_a_build_may_use_the_bucket_and_nothing_else(resources: dict[str, Any]) -> None:
    (policy,) = resources["ExecutionRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = {
        a for s in statements for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }
    assert actions == {
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    }
    bucket = [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}]
    assert all(statement["Resource"] in bucket for statement in statements)
    assert "ManagedPolicyArns" not in resources["ExecutionRole"]["Properties"]


def test_only_fetching_pictures_opens_the_network(resources: dict[str, Any]) -> None:
    outward = {"AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::EIP", "AWS::EC2::Route"}
    found = {name: r for name, r in resources.items() if r["Type"] in outward}
    assert len(found) == 5
    assert all(resource["Condition"] == "Fetching" for resource in found.values())


def test_the_application_stops_by_itself_and_is_bounded(resources: dict[str, Any]) -> None:
    application = resources["Application"]["Properties"]
    assert application["AutoStopConfiguration"]["Enabled"] is True
    assert {"Cpu", "Memory", "Disk"} == set(application["MaximumCapacity"])


def test_the_guide_names_every_parameter_and_output_as_it_is(template: dict[str, Any]) -> None:
    page = (REPOSITORY / "docs" / "aws.md").read_text()
    rows = re.findall(r"^\| (`[A-Z]\w+`.*?) \| .* \| (.*) \|$", page, re.MULTILINE)
    told = {}
    for names, usual in rows:
        values = [] if usual.startswith("none") else re.findall(r"[^`\", ][^`\",]*", usual)
        told |= dict(zip(re.findall(r"`(\w+)`", names), values or [""], strict=True))
    assert told == {name: str(one["Default"]) for name, one in template["Parameters"].items()}
    assert all(f"`{name}`" in page for name in template["Outputs"])


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """The stages of EMR's Dockerfile by name: what each starts from, and its instructions, lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = (base, [])
        elif found:
            found[name][1].append((word, rest))
    return found


def test_what_workers_run_is_made_on_their_system_by_the_python_that_packs() -> None:
    base, steps = stages()["made"]
    assert base == "public.ecr.aws/amazonlinux/amazonlinux:2023", "what EMR 7 runs on"
    assert ("ARG", "PYTHON") in steps, "no version but the one that is asked for"
    assert any(word == "RUN" and "uv venv" in rest and "--python ${PYTHON}" in rest for word, rest in steps)
    assert ("COPY", "site /opt/findling/lib/python${PYTHON}/site-packages") in steps
    installs = [rest for word, rest in steps if word == "RUN" and "pip install --python" in rest]
    assert all("--no-deps --requirement requirements.txt" in rest for rest in installs)
    assert installs


def test_a_custom_image_is_amazons_with_our_python_and_its_own_user() -> None:
    base, steps = stages()["image"]
    assert base == "public.ecr.aws/emr-serverless/spark/${RELEASE}:latest"
    assert [rest for word, rest in steps if word == "USER"][-1] == "hadoop:hadoop", "as Amazon asks"
    assert not {"ENTRYPOINT", "CMD"} & {word for word, _ in steps}, "Amazon's own starts the workers"
    (copied,) = [rest for word, rest in steps if word == "COPY"]
    (told,) = [rest for word, rest in steps if word == "ENV"]
    python = f"{copied.split()[-1]}/bin/python"
    assert set(told.split()) == {f"PYSPARK_PYTHON={python}", f"PYSPARK_DRIVER_PYTHON={python}"}


def test_an_image_is_made_for_the_release_that_the_application_runs(template: dict[str, Any]) -> None:
    release = template["Parameters"]["ReleaseLabel"]["Default"]
    assert f"ARG RELEASE={release}\n" in DOCKERFILE.read_text()
    assert release == docker.RELEASE
