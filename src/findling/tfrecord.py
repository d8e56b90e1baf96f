"""TFRecord files of tf.Example: how TensorFlow's pipelines keep ids and embeddings.

A record is its length (8 bytes, little-endian), a checksum of that, the bytes and a checksum of them; each
checksum is a masked CRC-32C (TensorFlow, "TFRecord and tf.train.Example"). The bytes are a tf.Example, a
protocol buffer that maps names to lists of bytes, floats or integers (tensorflow/core/example/feature.proto).
TensorFlow itself is not needed.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from findling.errors import SourceError, extra

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
_MASK = 0xA282EAD8
_LONGEST = 1 << 28  # a record of an embedding is some kilobytes; a length past this is damage
_PACKAGE = "tensorflow"
_LISTS = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}


def write_record(file: BinaryIO, content: bytes) -> None:
    """Append one record."""
    length = _LENGTH.pack(len(content))
    file.write(length + _CHECKSUM.pack(masked(length)) + content + _CHECKSUM.pack(masked(content)))


def read_records(file: BinaryIO, at: str) -> Iterator[bytes]:
    """All records of a file; raises SourceError, naming the file `at`, where one is cut off or damaged."""
    number = 0
    while head := file.read(_LENGTH.size):
        number += 1
        told = file.read(_CHECKSUM.size)
        if len(head) + len(told) < 12 or _CHECKSUM.unpack(told)[0] != masked(head):
            raise SourceError(f"{at}: record {number} has a damaged length", todo="is it a TFRecord file?")
        (size,) = _LENGTH.unpack(head)
        if size > _LONGEST:
            raise SourceError(f"{at}: record {number} claims {size:,} bytes", todo=f"{_LONGEST:,} may be")
        content, told = file.read(size), file.read(_CHECKSUM.size)
        if len(content) < size or len(told) < 4:
            raise SourceError(f"{at}: the file ends within record {number}", todo="fetch or write it again")
        if _CHECKSUM.unpack(told)[0] != masked(content):
            raise SourceError(f"{at}: record {number} is damaged: its checksum differs")
        yield content


def masked(content: bytes) -> int:
    """The masked CRC-32C of some bytes."""
    crc = _crc32c()(content)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def encode(identity: str, vector: NDArray[np.float32]) -> bytes:
    """A tf.Example with the features `id` (bytes) and `embedding` (floats), always in the same bytes."""
    example = _example()()
    features = example.features.feature
    features["id"].bytes_list.value.append(identity.encode())
    features["embedding"].float_list.value.extend(vector.tolist())
    content: bytes = example.SerializeToString(deterministic=True)
    return content


def decode(content: bytes, at: str) -> tuple[str, NDArray[np.float32]]:
    """The id and the embedding (dim,) of a tf.Example; raises SourceError, naming the file `at`."""
    example = _example()()
    try:
        example.ParseFromString(content)
        features = example.features.feature
        (identity,) = features["id"].bytes_list.value
        return identity.decode(), np.array(features["embedding"].float_list.value, np.float32)
    except (ValueError, _decode_error()) as error:
        raise SourceError(
            f"{at}: a record is no tf.Example with `id` and `embedding`: {error}",
            todo="write the features id (bytes_list, one value) and embedding (float_list)",
        ) from None


@functools.cache
def _crc32c() -> Callable[[bytes], int]:
    with extra("gcp", "TFRecord"):
        import google_crc32c
    found: Callable[[bytes], int] = google_crc32c.value
    return found


def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    kind: type[Exception] = DecodeError
    return kind


@functools.cache
def _example() -> Any:
    """The message class of tf.Example, made from its description."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="findling/example.proto", package=_PACKAGE, syntax="proto3"
    )
    kinds = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT, "Int64List": field.TYPE_INT64}
    for name, kind in kinds.items():
        file.message_type.add(name=name).field.add(
            name="value", number=1, label=field.LABEL_REPEATED, type=kind
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind_name) in enumerate(_LISTS.items(), start=1):
        feature.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".{_PACKAGE}.{kind_name}",
            oneof_index=0,
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    entry.field.add(
        name="value",
        number=2,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.Feature",
    )
    features.field.add(
        name="feature",
        number=1,
        label=field.LABEL_REPEATED,
        type=field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.Features.FeatureEntry",
    )
    file.message_type.add(name="Example").field.add(
        name="features",
        number=1,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.Features",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))
