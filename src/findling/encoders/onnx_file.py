"""Writes ONNX models: just enough of the format for the networks built here, so that no library is needed.

The messages and field numbers are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
Weights lie in a file beside the model, since one protocol buffer holds at most 2 GB and a file can be mapped.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 4096
"""Where a weight may begin in its file, so that it can be mapped."""

_IR_VERSION, _OPSET = 8, 17
_MICROSOFT = "com.microsoft"
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10}
_SMALL = 64  # numbers in a weight that is kept in the model itself: shapes must be there, and scales may


class Graph:
    """A network under construction; `save` or leaving the `with` block completes its two files.

    Values are known by name: `node` returns the name of its output, which the next one takes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data_name = f"{path.stem}.bin"
        self._data: BufferedWriter = path.with_name(self._data_name).open("wb")
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.close()
        if kind is None:
            self._path.write_bytes(self._model())

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """An input of the network; a dimension with a name may have any length."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Makes a value an output of the network under another name."""
        self._nodes.append(_node("Identity", [value], [name], f"out_{name}", "", {}))
        self._outputs.append(_value_info(name, dtype, shape))

    def weight(self, array: NDArray[Any]) -> str:
        """A constant; returns its name."""
        name = self._name("weight")
        array = np.asarray(array)
        head = b"".join(_number(1, size) for size in array.shape)
        head += _number(2, _TYPES[str(array.dtype)]) + _text(8, name)
        content = np.ascontiguousarray(array)
        if array.size <= _SMALL:
            self._weights.append(head + _bytes(9, content.tobytes()))
            return name
        start = -(-self._data.tell() // ALIGNMENT) * ALIGNMENT
        self._data.write(b"\0" * (start - self._data.tell()))
        self._data.write(content.data)
        where = {"location": self._data_name, "offset": str(start), "length": str(content.nbytes)}
        entries = b"".join(_bytes(13, _text(1, key) + _text(2, value)) for key, value in where.items())
        self._weights.append(head + entries + _number(14, 1))
        return name

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One operation; returns the name of its output. "" leaves an input out.

        Operators of ONNX Runtime's own are written `com.microsoft:Name`.
        """
        domain, _, kind = operator.rpartition(":")
        name = self._name(kind)
        self._nodes.append(_node(kind, inputs, [name], name, domain, attributes))
        return name

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"

    def _model(self) -> bytes:
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _text(2, self._path.stem)
        graph += b"".join(_bytes(5, weight) for weight in self._weights)
        graph += b"".join(_bytes(11, each) for each in self._inputs)
        graph += b"".join(_bytes(12, each) for each in self._outputs)
        opsets = b"".join(
            _bytes(8, _text(1, domain) + _number(2, version))
            for domain, version in (("", _OPSET), (_MICROSOFT, 1))
        )
        return _number(1, _IR_VERSION) + _text(2, "findling") + _bytes(7, graph) + opsets


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is written as its two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _bytes(field, content.encode())


def _value_info(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    sizes = (_text(2, size) if isinstance(size, str) else _number(1, size) for size in shape)
    tensor = _number(1, _TYPES[dtype]) + _bytes(2, b"".join(_bytes(1, size) for size in sizes))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _node(
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    name: str,
    domain: str,
    attributes: dict[str, Any],
) -> bytes:
    node = b"".join(_text(1, each) for each in inputs) + b"".join(_text(2, each) for each in outputs)
    node += _text(3, name) + _text(4, kind)
    node += b"".join(_bytes(5, _attribute(key, value)) for key, value in attributes.items())
    return node + _text(7, domain)


def _attribute(name: str, value: Any) -> bytes:
    head = _text(1, name)
    if isinstance(value, float):
        return head + _varint(2 << 3 | 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, 2)
    return head + b"".join(_number(8, int(each)) for each in value) + _number(20, 7)
