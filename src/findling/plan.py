"""From what a trial cost to what the whole will: partitions, workers, memory, hours, bytes and money.

Pure arithmetic, so that every rule can be tried without a file. Extracting and embedding spread over cores;
sorting, indexing and writing the snapshot are one machine's work, the driver's.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from findling.errors import ConfigError
from findling.trial import Trial

Platform = Literal["local", "emr-serverless", "dataflow"]
PLATFORMS: tuple[Platform, ...] = ("local", "emr-serverless", "dataflow")
TASK_SECONDS = 60.0  # a task is lost work when its worker dies, and overhead when it is short
TASKS_PER_CORE = 3  # so that none waits long for the slowest
START_SECONDS = {"local": 2.0, "emr-serverless": 120.0, "dataflow": 180.0}  # until the first worker works
MARGIN = 1.3  # of memory, over what the trial's largest process held
_GB = 1e9


@dataclass(frozen=True)
class Price:
    """Dollars an hour for a virtual core and for a gigabyte of memory, where and when that was published."""

    core: float
    gigabyte: float
    source: str
    date: str


PRICES: dict[Platform, Price] = {
    "local": Price(0.0, 0.0, "your own machine", ""),
    "emr-serverless": Price(
        0.052624, 0.0057785, "aws.amazon.com/emr/pricing, EMR Serverless, x86, us-east-1", "2025-06"
    ),
    "dataflow": Price(
        0.056, 0.003557, "cloud.google.com/dataflow/pricing, batch workers, us-central1", "2025-06"
    ),
}

# Cores and gigabytes of one worker, smallest first. EMR Serverless: its documented worker configurations;
# Dataflow: the machine types n1-standard-N and n1-highmem-N.
SHAPES: dict[Platform, tuple[tuple[int, float], ...]] = {
    "emr-serverless": ((4, 8), (4, 16), (4, 30), (8, 32), (8, 60), (16, 120)),
    "dataflow": ((4, 15), (4, 26), (8, 52), (16, 104)),
}


@dataclass(frozen=True)
class Plan:
    """What to ask for, and what it will come to.

    `seconds` by stage, `bytes` by what is left behind; `memory` is bytes a worker, of which it has `cores`.
    `driver` is the one that writes the snapshot. `notes` say what to heed.
    """

    platform: Platform
    records: int
    documents: int
    partitions: int
    workers: int
    cores: int
    memory: int
    driver: dict[str, float]
    seconds: dict[str, float]
    hours: float
    bytes: dict[str, int]
    dollars: float
    price: dict[str, Any]
    notes: list[str]


def plan(trial: Trial, platform: Platform, *, hours: float = 1.0, pace: float = 1.0) -> Plan:
    """A plan for the whole input on a platform, with as many workers as end within `hours` (local: one).

    `pace` is how fast a core there is beside one here. Raises ConfigError for an unknown platform.
    """
    if platform not in PLATFORMS:
        raise ConfigError(f"unknown platform {platform!r}", todo=f"known are {', '.join(PLATFORMS)}")
    documents = round(trial.records * trial.kept / trial.sampled)
    index = _index_seconds(trial, documents)
    core_seconds = {stage: trial.costs[stage].of(trial.records) for stage in ("extract", "embed")}
    memory = math.ceil(trial.memory * MARGIN)
    left = {
        "documents": round(documents * trial.documents),
        "embeddings": round(documents * trial.vectors),
        "index": round(documents * trial.index),
    }
    if platform == "local":
        cores, workers, driver = trial.cores, 1, {"cores": float(trial.cores), "memory": 0.0}
        reading = cores if trial.cuttable else min(cores, trial.files or cores)
        extract, embed = core_seconds["extract"] / reading, core_seconds["embed"] / cores
        start = START_SECONDS[platform] if cores > 1 else 0.0  # one process needs no other
        seconds = {"start": start, "extract": extract, "embed": embed, "index": index}
        total_memory = memory * cores
    else:
        cores, gigabytes = _shape(platform, memory)
        parallel = sum(core_seconds.values()) / pace
        # Indexing and starting take their time whatever the workers do; the rest of the hours is theirs.
        room = max(hours * 3600 - index / pace - START_SECONDS[platform], 600.0)
        workers = max(1, math.ceil(parallel / room / cores))
        seconds = {stage: spent / pace / (workers * cores) for stage, spent in core_seconds.items()}
        seconds = {"start": START_SECONDS[platform], **seconds, "index": index / pace}
        driver_shape = _shape(platform, max(2 * left["index"], memory))
        driver = {"cores": float(driver_shape[0]), "memory": driver_shape[1] * _GB}
        total_memory = int(gigabytes * _GB)
    all_cores = workers * cores
    partitions = max(TASKS_PER_CORE * all_cores, math.ceil(sum(core_seconds.values()) / pace / TASK_SECONDS))
    whole = sum(seconds.values()) / 3600
    price = PRICES[platform]
    return Plan(
        platform=platform,
        records=trial.records,
        documents=documents,
        partitions=min(partitions, max(trial.records, 1)),
        workers=workers,
        cores=cores,
        memory=total_memory,
        driver=driver,
        seconds={stage: round(spent, 1) for stage, spent in seconds.items()},
        hours=round(whole, 3),
        bytes=left,
        dollars=round(_dollars(price, workers, cores, total_memory, driver, seconds), 2),
        price=asdict(price),
        notes=_notes(trial, platform, all_cores, pace),
    )


def _index_seconds(trial: Trial, documents: int) -> float:
    """What grows with the records, instant queries on all cores, and each field's index by its own cost."""
    written = trial.costs["index"].of(trial.records)
    instant = trial.costs["instant"].of(trial.records) / trial.cores if "instant" in trial.costs else 0.0
    return written + instant + sum(cost.of(documents) for cost in trial.indexes.values())


def _shape(platform: Platform, memory: int) -> tuple[int, float]:
    """The smallest worker whose every core can hold a process of `memory` bytes."""
    for cores, gigabytes in SHAPES[platform]:
        if gigabytes * _GB >= cores * memory:
            return cores, gigabytes
    return SHAPES[platform][-1]


def _dollars(
    price: Price,
    workers: int,
    cores: int,
    memory: int,
    driver: dict[str, float],
    seconds: dict[str, float],
) -> float:
    """Workers are paid for while they work, the driver until the end."""
    working = sum(seconds[stage] for stage in ("extract", "embed")) / 3600
    whole = sum(seconds.values()) / 3600
    return working * workers * (cores * price.core + memory / _GB * price.gigabyte) + whole * (
        driver["cores"] * price.core + driver["memory"] / _GB * price.gigabyte
    )


def _notes(trial: Trial, platform: Platform, cores: int, pace: float) -> list[str]:
    notes = [f"writing to {service} is not in the time: a plan writes nowhere" for service in trial.untried]
    if not trial.cuttable and 0 < trial.files < cores:
        notes.append(
            f"{trial.files} file(s) that cannot be read in parts: extracting starts on as many cores only"
        )
    if platform != "local":
        notes.append(f"a core there is taken to be {pace:g} of one here; time a small run and set --pace")
        notes.append("storage, network and shuffle are not in the price")
    return notes
