"""Two families on a CUDA device, through torch: vectors are mapped from a file and kept there in 16 bits.

`gpu` compares everything, exactly. `gpu-lists` looks into inverted lists: those whose centres, found by
k-means, are nearest to the query.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from findling.errors import FindlingError, SnapshotError
from findling.indexes import device
from findling.indexes.alike import Alike, Repeated
from findling.indexes.base import Mask, Params, Rows, Vectors
from findling.indexes.scan import block_rows, check_search, check_vectors

VECTORS, ABOUT = "vectors.npy", "gpu.json"
CENTRES, STARTS, ORDER = "centres.npy", "starts.npy", "order.npy"
DEVICES = ("auto", "cuda", "cpu")


class Gpu:
    """Every vector compared with every query. `device` to search on: "auto" takes CUDA where it is there.

    Each process that opens the index keeps all vectors on the device. Search takes no parameters.
    """

    name: ClassVar[str] = "gpu"
    sweep: ClassVar[Sequence[Params]] = ({},)
    build_defaults: ClassVar[Mapping[str, Any]] = {"device": "auto"}
    search_defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, stored: NDArray[np.float16], held: device.Device, alike: Alike | None, order: Rows | None
    ) -> None:
        self._held, self._alike, self._dim = held, alike, stored.shape[1]
        self._count = len(stored) if alike is None else len(alike.group_of)
        self.vectors = stored if order is None and alike is None else _as_rows(stored, alike, order)

    @classmethod
    def build(cls, vectors: NDArray[np.floating[Any]], path: Path, params: Params) -> None:
        """Index (n, dim) vectors with the parameters of `build_defaults`, reading them block by block.

        Raises FindlingError naming the row that is not finite.
        """
        chosen = _chosen(cls.name, params, cls.build_defaults)
        check_vectors(vectors)
        where = device.opened(chosen["device"])
        alike = Alike.find(vectors)
        rows = np.arange(len(vectors)) if alike is None else np.asarray(alike.firsts, np.int64)
        path.mkdir(parents=True, exist_ok=True)
        if alike is not None:
            alike.write(path)
        rows = cls._arranged(vectors, rows, path, chosen, where)
        with (path / VECTORS).open("wb") as file:
            shape = (len(rows), vectors.shape[1])
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f2", "fortran_order": False, "shape": shape}
            )
            for _, block in _blocks(vectors, rows):
                file.write(block.data)
        about = {"count": len(rows), "dim": vectors.shape[1], "device": chosen["device"]}
        (path / ABOUT).write_text(json.dumps(about) + "\n", "utf-8")

    @classmethod
    def open(cls, path: Path) -> Self:
        """The index in `path`, its vectors on the device; raises SnapshotError, MissingExtra without CUDA."""
        try:
            about = json.loads((path / ABOUT).read_text("utf-8"))
            shape, wanted = (int(about["count"]), int(about["dim"])), str(about["device"])
            stored = np.load(path / VECTORS, mmap_mode="r" if shape[0] else None, allow_pickle=False)
            if stored.shape != shape or stored.dtype != np.float16:
                raise ValueError(f"{VECTORS} holds {stored.dtype} {stored.shape}, not {shape} float16")
            alike, arranged = Alike.open(path), cls._arrangement(path)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise SnapshotError(f"the {cls.name} index in {path} cannot be opened: {error}") from error
        where = device.opened(wanted)
        stored = stored.view(np.ndarray)
        lists = device.Lists(*(device.uploaded(array, where) for array in arranged)) if arranged else None
        held = device.Device(device.uploaded(stored, where), lists)
        return cls(stored, held, alike, arranged[2] if arranged else None)

    def __len__(self) -> int:
        return self._count

    def search(
        self, vectors: Vectors, k: int, params: Params, mask: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The best k rows for each query: rows (q, k) and scores (q, k), best first, ties by row."""
        queries = check_search(vectors, self._dim, self._count, k, mask)
        probes = int(_chosen(self.name, params, self.search_defaults).get("probes", 0))
        if self._alike is None:
            return self._held.search(queries, k, probes, mask)
        groups = None if mask is None else self._alike.of_rows(mask)
        return self._alike.rows(*self._held.search(queries, k, probes, groups), k, mask)

    @classmethod
    def _arranged(
        cls, vectors: NDArray[np.floating[Any]], rows: Rows, path: Path, chosen: Mapping[str, Any], where: Any
    ) -> Rows:
        """The rows in the order in which their vectors are kept."""
        del vectors, path, chosen, where
        return rows

    @classmethod
    def _arrangement(cls, path: Path) -> tuple[NDArray[Any], ...]:
        """What lists are made of: centres, starts and order; nothing where there are none."""
        del path
        return ()


class GpuLists(Gpu):
    """Inverted lists. `lists` (0: by the number of vectors), of which `probes` are searched (0: all)."""

    name = "gpu-lists"
    sweep = tuple({"probes": probes} for probes in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 0))
    build_defaults: ClassVar[Mapping[str, Any]] = {"device": "auto", "lists": 0}
    search_defaults: ClassVar[Mapping[str, Any]] = {"probes": 32}

    @classmethod
    def _arranged(
        cls, vectors: NDArray[np.floating[Any]], rows: Rows, path: Path, chosen: Mapping[str, Any], where: Any
    ) -> Rows:
        lists = int(chosen["lists"]) or round(2 * len(rows) ** 0.5)
        lists = max(1, min(lists, len(rows)))
        sample = rows[:: device.taught(len(rows), lists)]
        taught = [block for _, block in _blocks(vectors, sample)]
        dim = vectors.shape[1]
        sampled = np.concatenate([*taught, np.empty((0, dim), np.float16)])
        centres = device.learnt(device.uploaded(sampled, where), lists)
        nearest: Rows = np.empty(len(rows), np.int64)
        for at, block in _blocks(vectors, rows):
            nearest[at : at + len(block)] = device.assigned(device.uploaded(block, where), centres).cpu()
        order = np.argsort(nearest, kind="stable").astype(np.int32 if len(rows) < 2**31 else np.int64)
        starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=lists))])
        for file, array in ((CENTRES, centres.cpu().numpy()), (STARTS, starts), (ORDER, order)):
            np.save(path / file, array, allow_pickle=False)
        arranged: Rows = rows[order]
        return arranged

    @classmethod
    def _arrangement(cls, path: Path) -> tuple[NDArray[Any], ...]:
        return tuple(np.load(path / file, allow_pickle=False) for file in (CENTRES, STARTS, ORDER))


def _as_rows(stored: NDArray[np.float16], alike: Alike | None, order: Rows | None) -> NDArray[np.float16]:
    """The vectors by row, though kept in another order and each once."""
    places = np.arange(len(stored))
    if order is not None:
        places[order] = np.arange(len(stored))
    repeated = Repeated(stored, places if alike is None else places[alike.group_of])
    return cast("NDArray[np.float16]", repeated)


def _blocks(vectors: NDArray[np.floating[Any]], rows: Rows) -> Iterator[tuple[int, NDArray[np.float16]]]:
    """(place, (b, dim) float16) for blocks of some rows, zeros without a sign."""
    step = block_rows(vectors.shape[1])
    for at in range(0, len(rows), step):
        yield at, vectors[rows[at : at + step]].astype(np.float16, copy=False) + np.float16(0)


def _chosen(name: str, params: Params, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter; raises FindlingError for one that is not known, or a value that cannot be used."""
    unknown = [str(given) for given in params if given not in defaults]
    if unknown:
        known = ", ".join(defaults) or "none"
        raise FindlingError(
            f"the {name} index has no parameter {', '.join(unknown)}", todo=f"known are {known}"
        )
    chosen = {**defaults, **params}
    for given, value in chosen.items():
        if given == "device":
            fits, wanted = value in DEVICES, f"one of {', '.join(DEVICES)}"
        else:
            fits, wanted = type(value) is int and 0 <= value < 1e9, "a whole number, 0 or more,"
        if not fits:
            raise FindlingError(f"the {name} index cannot use {given} = {value!r}: {wanted} is wanted")
    return chosen
