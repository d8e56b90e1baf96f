"""The portable recipe: each step says what happens to a batch; an engine decides where.

A step is a frozen, picklable dataclass. Its `open` is called once per worker process and gives a function
from batch to batch, so that a model is loaded once per process and never once per batch. Steps never know
their engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from findling import schema
from findling.filters import EVERYTHING, Where
from findling.schema import READ, Drop
from findling.sources.base import BatchFunction, Source


class Step(Protocol):
    """A frozen, picklable recipe on Arrow batches."""

    def open(self) -> BatchFunction:
        """The step, ready to work in this process."""
        ...


def chain(steps: Sequence[Step]) -> BatchFunction:
    """The steps opened, as one function; what an earlier step dropped passes by the later ones."""
    opened = [step.open() for step in steps]

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        told: list[Drop] = []
        for step in opened:
            batch, drops = schema.without_drops(step(batch))
            told += drops
        return schema.with_drops(batch, told)

    return run


@dataclass(frozen=True)
class ParseStep:
    """Raw records of one table to columns."""

    source: Source
    table: str
    where: Where = EVERYTHING
    count: bool = False

    def open(self) -> BatchFunction:
        """The source's parser; with `count`, the rows that come in are tallied as read."""
        parse = self.source.parser(self.table, self.where)

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            parsed, drops = schema.without_drops(parse(batch))
            return schema.with_drops(parsed, [Drop(READ, batch.num_rows), *drops] if self.count else drops)

        return run


@dataclass(frozen=True)
class FilterStep:
    """Only the rows that pass `where`; the others are counted by the part they fail."""

    where: Where

    def open(self) -> BatchFunction:
        """The filter, evaluated on whole batches."""

        def run(batch: pa.RecordBatch) -> pa.RecordBatch:
            return schema.with_drops(*self.where.apply(batch))

        return run
