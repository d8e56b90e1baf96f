"""Embeddings travel as TFRecord and Parquet, and come back as they were."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small
from findling import build, config, exchange, tfrecord
from findling.errors import ConfigError, SourceError

pytestmark = pytest.mark.needs("google_crc32c")
KINDS: list[exchange.Kind] = ["tfrecord", "parquet"]


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_records_come_back(contents: list[bytes]) -> None:
    file = io.BytesIO()
    for content in contents:
        tfrecord.write_record(file, content)
    assert list(tfrecord.read_records(io.BytesIO(file.getvalue()), "it")) == contents


@given(st.data())
def test_a_flipped_or_lost_byte_is_told(data: st.DataObject) -> None:
    file = io.BytesIO()
    for content in (b"one", b"a second record"):
        tfrecord.write_record(file, content)
    whole = file.getvalue()
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with pytest.raises(SourceError, match="it: "):
        list(tfrecord.read_records(io.BytesIO(broken), "it"))
    cut = data.draw(st.integers(1, len(whole) - 1))
    found = tfrecord.read_records(io.BytesIO(whole[:cut]), "it")
    if cut == len(whole) - 31:  # between the two
        assert list(found) == [b"one"]
    else:
        with pytest.raises(SourceError, match="it: "):
            list(found)


def test_a_checksum_is_the_published_one() -> None:
    # CRC-32C of "123456789" is e3069283 (RFC 3720, appendix B.4 gives the polynomial).
    assert tfrecord.masked(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_exported_spares_embedding_it(tmp_path: Path, kind: exchange.Kind) -> None:
    (tmp_path / "one").mkdir()
    settings = config.load(small.write(tmp_path / "one"))
    build.build(settings)
    many = exchange.export(settings, "text", str(tmp_path / "out"), kind)
    assert many == len(small.BOOKS) - 1  # one has nothing to embed
    (tmp_path / "two").mkdir()
    other = config.load(small.write(tmp_path / "two"))
    told = exchange.bring(other, "text", str(tmp_path / "out" / f"*{exchange.SUFFIXES[kind]}"))
    assert told == {"read": many, "brought": many, "unknown": 0}
    report = build.build(other)
    assert report.embedded["text"]["new"] == 0
    again = exchange.bring(other, "text", str(tmp_path / "out" / f"*{exchange.SUFFIXES[kind]}"))
    assert again == told
    exchange.export(other, "text", str(tmp_path / "back"), kind)
    (first,), (second,) = list((tmp_path / "out").iterdir()), list((tmp_path / "back").iterdir())
    assert first.name == second.name == f"text-00000-of-00001{exchange.SUFFIXES[kind]}"
    if kind == "tfrecord":
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("identity", "vector", "said"),
    [("moby", [1.0, 2.0], "has 2 numbers"), ("moby", [float("nan")] * 64, "no number")],
)
def test_a_wrong_vector_is_told_and_nothing_is_taken(
    tmp_path: Path, identity: str, vector: list[float], said: str
) -> None:
    settings = config.load(small.write(tmp_path))
    with (tmp_path / "bad.tfrecord").open("wb") as file:
        tfrecord.write_record(file, tfrecord.encode(identity, np.array(vector, np.float32)))
    with pytest.raises(SourceError, match=said):
        exchange.bring(settings, "text", "bad.tfrecord")
    assert build.build(settings).embedded["text"]["reused"] == 0


def test_an_unknown_id_is_counted_and_an_unknown_field_told(tmp_path: Path) -> None:
    settings = config.load(small.write(tmp_path))
    with (tmp_path / "more.tfrecord").open("wb") as file:
        tfrecord.write_record(file, tfrecord.encode("nobody", np.ones(3, np.float32)))
    assert exchange.bring(settings, "text", "more.tfrecord") == {"read": 1, "brought": 0, "unknown": 1}
    with pytest.raises(ConfigError, match="no vector field 'cover'"):
        exchange.bring(settings, "cover", "more.tfrecord")
    (tmp_path / "no.parquet").write_bytes(b"no parquet")
    with pytest.raises(SourceError, match="holds no embeddings"):
        exchange.bring(settings, "text", "no.parquet")


@pytest.mark.slow
@pytest.mark.needs("tensorflow")
def test_tensorflow_reads_what_we_write_and_we_read_what_it_writes(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.tfrecord", tmp_path / "theirs.tfrecord"
    with ours.open("wb") as file:
        for name in ("a", "naïve 🐉"):
            tfrecord.write_record(file, tfrecord.encode(name, np.array([0.5, -1.25], np.float32)))
    script = f"""
import tensorflow as tf
writer = tf.io.TFRecordWriter({str(theirs)!r})
for record in tf.data.TFRecordDataset({str(ours)!r}):
    found = tf.train.Example.FromString(record.numpy())
    assert list(found.features.feature["embedding"].float_list.value) == [0.5, -1.25]
    writer.write(found.SerializeToString())
writer.close()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True)
    with theirs.open("rb") as file:
        found = [tfrecord.decode(content, "it") for content in tfrecord.read_records(file, "it")]
    assert [name for name, _ in found] == ["a", "naïve 🐉"]
    assert np.array_equal(found[1][1], np.array([0.5, -1.25], np.float32))


@pytest.mark.needs("annoy")
@pytest.mark.parametrize("kind", ["list", "map", "parquet"])
def test_an_annoy_index_that_somebody_has_is_read(tmp_path: Path, kind: str) -> None:
    from annoy import AnnoyIndex

    ids = ["dune", "moby", "nobody"]
    index = AnnoyIndex(64, "angular")
    for row in range(3):
        index.add_item(row, [1.0 if at == row else 0.0 for at in range(64)])
    index.build(2)
    index.save(str(tmp_path / "have.ann"))
    names = tmp_path / ("ids.parquet" if kind == "parquet" else "ids.json")
    if kind == "parquet":
        pq.write_table(pa.table({"id": ids}), names)
    else:
        names.write_text(json.dumps(ids if kind == "list" else dict(enumerate(ids))))
    settings = config.load(small.write(tmp_path))
    told = exchange.bring(settings, "text", "have.ann", names.name)
    assert told == {"read": 3, "brought": 2, "unknown": 1}
    assert build.build(settings).embedded["text"]["reused"] == 2
    with pytest.raises(ConfigError, match="--ids"):
        exchange.bring(settings, "text", "have.ann")
    names.write_bytes(b"[1]" if kind != "parquet" else b"no")
    with pytest.raises(SourceError, match=r"3 items.* 1 ids|holds no ids"):
        exchange.bring(settings, "text", "have.ann", names.name)
