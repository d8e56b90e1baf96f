"""What an engine is: where steps run, and where relational work is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from findling.sources.base import Dataset

if TYPE_CHECKING:
    from findling.steps import Step


class Engine(Protocol):
    """Runs the same steps anywhere; the same input gives the same rows on every engine."""

    def run(self, source: Dataset, steps: Sequence[Step], out: str) -> Dataset:
        """Read every split, apply the steps, and leave one shard per split in the directory `out`.

        A shard is complete or absent; one that is there from an earlier run is not made again.
        """
        ...

    def group(self, dataset: Dataset, key: list[str], aggregates: Mapping[str, tuple[str, str]]) -> Dataset:
        """One row per key, as `findling.sources.base.Relations` has it."""
        ...

    def join(self, left: Dataset, right: Dataset, on: tuple[str, str], how: str = "left") -> Dataset:
        """Rows of `left` with the columns of `right` (`left`), or those without a match (`anti`)."""
        ...
