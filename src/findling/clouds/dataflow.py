"""Dataflow: what Beam's options say of a project, an image for its workers, and how many of which size."""

from __future__ import annotations

import re
from typing import Any

from findling import storage
from findling.errors import ConfigError
from findling.plan import SHAPES, Plan

# The machine types behind the planner's shapes, smallest first.
_MACHINES = ("n1-standard-4", "n1-highmem-4", "n1-highmem-8", "n1-highmem-16")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]{4,61}[a-z0-9]")


def options(project: str, region: str, image: str, to: str, plan: Plan | None) -> dict[str, Any]:
    """Options of the engine `beam` for Dataflow; `to` is a gs:// address for what it leaves on its way.

    Workers run `image`, which has findling in it, so nothing is installed when one starts. Source: "Dataflow
    pipeline options" in Google's guide. Raises ConfigError.
    """
    if not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"--project is {project!r}", todo="name a project by its id, such as my-project-1234"
        )
    if not to.startswith("gs://"):
        raise ConfigError(f"--to is {to!r}", todo="name an address in the cloud: --to gs://BUCKET")
    asked: dict[str, Any] = {
        "runner": "DataflowRunner",
        "project": project,
        "region": region,
        "temp_location": storage.join(to, "temp"),
        "staging_location": storage.join(to, "staging"),
        "sdk_container_image": image,
        "sdk_location": "container",
    }
    return asked if plan is None else {**asked, **workers(plan)}


def workers(plan: Plan) -> dict[str, Any]:
    """The machine type that has what a plan's workers need, and how many of them at the most."""
    sizes = [(cores, int(gigabytes * 1e9)) for cores, gigabytes in SHAPES["dataflow"]]
    machine = _MACHINES[sizes.index((plan.cores, plan.memory))]
    return {"machine_type": machine, "num_workers": plan.workers, "max_num_workers": plan.workers}
