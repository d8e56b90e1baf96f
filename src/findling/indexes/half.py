"""16-bit vectors in a file that faiss maps, written block by block so that they are never in memory at once.

The file is what faiss itself writes of an IndexScalarQuantizer with QT_fp16 (faiss/impl/index_write.cpp): a
header, then how many bytes of codes there are, then the codes. faiss can only write an index that it holds,
so it writes an empty one here, and the two counts in it are set to what follows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from findling.errors import SnapshotError

_COUNT = slice(8, 16)  # behind the kind (4 bytes) and the dimension (4 bytes)
_INT = struct.Struct("<q")


def write(path: Path, dim: int, count: int, blocks: Iterable[NDArray[np.float16]]) -> None:
    """Write `count` vectors of `dim` numbers, which come in blocks (b, dim) float16."""
    empty = bytearray(faiss.serialize_index(_empty(dim)).tobytes())
    if _INT.unpack(empty[_COUNT]) != (0,) or _INT.unpack(empty[-8:]) != (0,):
        raise SnapshotError("this faiss writes 16-bit vectors in a form that is not known")
    empty[_COUNT] = _INT.pack(count)
    empty[-8:] = _INT.pack(count * dim * 2)
    with path.open("wb") as file:
        file.write(empty)
        for block in blocks:
            file.write(np.ascontiguousarray(block).view(np.uint8).data)


def read(path: Path) -> Any:
    """The faiss index in the file, mapped; raises RuntimeError where it is none."""
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(index, faiss.IndexScalarQuantizer):
        raise RuntimeError(f"{path} holds no 16-bit vectors")
    return index


def stored(index: Any) -> NDArray[np.float16]:
    """The vectors of an index as (n, dim) float16, without copying; the index must stay alive."""
    if not index.ntotal:
        return np.empty((0, index.d), np.float16)
    codes = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.code_size)
    found: NDArray[np.float16] = codes.view(np.float16).reshape(index.ntotal, index.d)
    return found


def _empty(dim: int) -> Any:
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    return index
