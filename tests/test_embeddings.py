from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling import storage
from findling.embeddings import Embeddings, hash_halves

# Hashes of which many share their first half, their second, or both.
HALVES = st.sampled_from([bytes(8), b"\x01" * 8, b"\xff" * 8])
HASHES = st.builds(lambda one, other: one + other, HALVES, HALVES)


def write(cache: Embeddings, name: str, hashes: list[bytes], vectors: np.ndarray) -> None:
    ends = pa.array(np.arange(len(hashes) + 1, dtype=np.int32) * vectors.shape[1])
    lists = pa.ListArray.from_arrays(ends, pa.array(vectors.astype(np.float16).ravel()))
    with storage.stage_file(storage.join(cache.path, name)) as file:
        pq.write_table(
            pa.table({"hash": pa.array(hashes, pa.binary()), "vector": lists}), file, row_group_size=2
        )


def vector_of(each: bytes) -> list[float]:
    return [float(each[0]), float(each[8]), 1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(HASHES, max_size=6, unique=True), max_size=3), st.lists(HASHES, max_size=12))
def test_every_wanted_hash_gets_its_vector(parts: list[list[bytes]], wanted: list[bytes]) -> None:
    cache = Embeddings.of(f"memory://{uuid.uuid4().hex}", "text", "toy-1")
    for place, hashes in enumerate(parts):
        vectors = np.array([vector_of(each) for each in hashes], np.float32).reshape(-1, 3)
        write(cache, f"part-{place}.parquet", hashes, vectors)
    there = {each for hashes in parts for each in hashes}
    out = np.full((len(wanted), 3), -1, np.float16)
    found = cache.gather(hash_halves(wanted), out)
    assert found.tolist() == [each in there for each in wanted]
    assert out.tolist() == [vector_of(each) if each in there else [-1, -1, -1] for each in wanted]
    assert cache.held(hash_halves(wanted)).tolist() == found.tolist()


def test_a_cache_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    cache = Embeddings.of(str(tmp_path), "text", "toy-1")
    wanted = hash_halves([b"a" * 16, b"b" * 16])
    assert not cache.gather(wanted, np.zeros((2, 3), np.float16)).any()
    assert not cache.held(wanted).any()
    assert cache.parts() == []


@pytest.mark.parametrize("home", ["", "file://", "local://"])
def test_its_version_tells_when_parts_come_or_go(home: str, tmp_path: Path) -> None:
    cache = Embeddings.of(f"{home}{tmp_path}", "text", "toy-1")
    versions = [cache.version()]
    write(cache, "a.parquet", [b"a" * 16], np.ones((1, 3)))
    versions.append(cache.version())
    storage.write_bytes(storage.join(cache.path, ".b.parquet.12345678.tmp"), b"half")
    storage.make_directory(storage.join(cache.path, "_done"))
    assert cache.version() == versions[1]
    assert cache.version() != versions[0]
    assert cache.version() != Embeddings.of(f"{home}{tmp_path}", "text", "toy-2").version()


def test_halves_keep_every_byte() -> None:
    one, other = bytes(range(16)), bytes(range(240, 256))
    assert hash_halves(pa.array([one, other], pa.binary())).tobytes() == one + other
    assert hash_halves(pa.chunked_array([[one], [other]], pa.binary())).tobytes() == one + other
    assert hash_halves([]).shape == (0, 2)
