"""The arithmetic of CLIP's towers: 32-bit floats, or 8-bit integers with scales fixed beforehand.

In integers, activations are scaled by what calibration saw, once and for all, never by what is in the batch:
so a vector does not depend on its batch-mates. Before that, large channels of an activation are made smaller
and the rows of the matrix that reads them larger by as much (SmoothQuant, Xiao et al., arXiv:2211.10438).
Weights take eight bits by column. Processors without dot products of bytes add pairs of products in 16 bits,
which can overflow where one factor is signed; there the weights are written unsigned, which is slower and
gives the same integers. So all processors compute the same products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from findling.encoders.clip_graph import SITES, Array, Block
from findling.encoders.onnx_file import Graph

Ranges = Mapping[str, tuple[Array, Array]]
"""By site ("3.network": block 3's), the least and the greatest activation of each channel."""

LARGEST_WEIGHT = 127
MARGIN = 1.5
"""How far beyond what calibration saw an activation may go before it is cut off."""

_MIDDLE = 128  # of a byte's range


class Float:
    """Matrix products in 32-bit floats."""

    def linear(self, graph: Graph, value: str, site: str, matrix: Array, bias: Array | None) -> str:  # noqa: ARG002
        """See Arithmetic."""
        product = graph.node("MatMul", [value, graph.weight(matrix)])
        return product if bias is None else graph.node("Add", [product, graph.weight(bias)])

    def pixels(self, graph: Graph, value: str, matrix: Array, bias: Array) -> str:
        """See Arithmetic."""
        return self.linear(graph, graph.node("Cast", [value], to=1), "pixels", matrix, bias)


class Watched(Float):
    """Floats, with the least and the greatest value of each channel of what matrices read as more outputs."""

    def __init__(self) -> None:
        self.sites: dict[str, str] = {}
        self._seen: set[str] = set()

    def linear(self, graph: Graph, value: str, site: str, matrix: Array, bias: Array | None) -> str:
        """See Arithmetic."""
        if site != "pixels" and value not in self._seen:
            self._seen.add(value)
            name = f"site{len(self.sites)}"
            self.sites[name] = site
            for end, operator in (("low", "ReduceMin"), ("high", "ReduceMax")):
                extreme = graph.node(operator, [value], axes=(0, 1), keepdims=0)
                graph.output(f"{name}_{end}", extreme, "float32", (len(matrix),))
        return super().linear(graph, value, site, matrix, bias)

    def outputs(self) -> list[str]:
        """The names of the additional outputs: of each site the least, then the greatest."""
        return [f"{name}_{end}" for name in self.sites for end in ("low", "high")]

    def merge(self, found: list[Array], into: dict[str, tuple[Array, Array]]) -> None:
        """Widens the ranges `into` by what `outputs` gave for one batch."""
        for place, site in enumerate(self.sites.values()):
            low, high = found[2 * place : 2 * place + 2]
            known = into.get(site, (low, high))
            into[site] = np.minimum(known[0], low), np.maximum(known[1], high)


class Integers:
    """Matrix products of bytes: activations unsigned by tensor, weights by column, `signed` or not."""

    def __init__(self, ranges: Ranges, *, signed: bool) -> None:
        self._ranges = ranges
        self._signed = signed
        self._made: dict[str, tuple[str, str, str]] = {}

    def linear(self, graph: Graph, value: str, site: str, matrix: Array, bias: Array | None) -> str:
        """See Arithmetic."""
        if value not in self._made:
            low, high = (
                float(end(each)) for end, each in zip((np.min, np.max), self._ranges[site], strict=True)
            )
            low, high = min(0.0, low * MARGIN), max(1e-6, high * MARGIN)
            step = (high - low) / 255
            scale = graph.weight(np.array(step, np.float32))
            zero = graph.weight(np.array(min(255, round(-low / step)), np.uint8))
            self._made[value] = graph.node("QuantizeLinear", [value, scale, zero]), scale, zero
        bytes_, scale, zero = self._made[value]
        return self._product(graph, bytes_, scale, zero, matrix, bias)

    def pixels(self, graph: Graph, value: str, matrix: Array, bias: Array) -> str:
        """See Arithmetic. Pixels are bytes already; counted from the middle, rounding weights costs less."""
        scale = graph.weight(np.array(1, np.float32))
        zero = graph.weight(np.array(_MIDDLE, np.uint8))
        shifted = bias + _MIDDLE * matrix.sum(axis=0, dtype=np.float64).astype(np.float32)
        return self._product(graph, value, scale, zero, matrix, shifted)

    def _product(
        self, graph: Graph, value: str, scale: str, zero: str, matrix: Array, bias: Array | None
    ) -> str:
        steps = (np.maximum(np.abs(matrix).max(axis=0), np.float32(1e-9)) / LARGEST_WEIGHT).astype(np.float32)
        rounded: NDArray[Any] = np.rint(matrix / steps).astype(np.int16)
        middle = ""
        if self._signed:
            rounded = rounded.astype(np.int8)
        else:
            rounded = (rounded + _MIDDLE).astype(np.uint8)
            middle = graph.weight(np.full(len(steps), _MIDDLE, np.uint8))
        inputs = [value, graph.weight(rounded), scale, graph.weight(steps), zero, middle]
        inputs.append("" if bias is None else graph.weight(bias))
        return graph.node("com.microsoft:MatMulIntegerToFloat", inputs)


def smooth(layers: list[Block], ranges: Ranges) -> dict[str, tuple[Array, Array]]:
    """Rescales blocks in place so that activations are even across channels; returns the new ranges.

    What the network computes stays the same: a channel divided by s is multiplied by a row times s.
    """
    changed: dict[str, tuple[Array, Array]] = {}
    for number, block in enumerate(layers):
        readers = {
            "attention": ("query", "key", "value"),
            "mixed": ("mixed",),
            "network": ("network",),
            "widened": ("widened",),
        }
        for site in SITES:
            low, high = ranges[f"{number}.{site}"]
            largest = np.maximum(np.maximum(-low, high), np.float32(1e-5))
            rows = np.max([np.abs(block.matrices[name]).max(axis=1) for name in readers[site]], axis=0)
            by = np.sqrt(largest / np.maximum(rows, np.float32(1e-5)))
            for name in readers[site]:
                block.matrices[name] = block.matrices[name] * by[:, None]
            if site == "mixed":
                block.matrices["value"] = block.matrices["value"] / by
                block.biases["value"] = block.biases["value"] / by
            elif site == "widened":
                block.widened_scale = 1 / by
            else:
                at = 0 if site == "attention" else 1
                block.norms[at] = block.norms[at][0] / by, block.norms[at][1] / by
            changed[f"{number}.{site}"] = low / by, high / by
    return changed
