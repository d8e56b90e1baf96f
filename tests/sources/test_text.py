from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from findling.errors import SourceError
from findling.sources import text
from findling.sources.base import Split
from sources.pipeline import write


def lines_of(split):
    return [line for batch in text.read_lines(split) for line in batch.column("line").to_pylist()]


contents = st.lists(
    st.sampled_from([b"\n", b"a", b"bcd", b"\r\n", b"\t", b"\xc3\xa9", b"longer than most"])
).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(contents, st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_every_line_is_read_once_whatever_the_cuts(tmp_path_factory, content, cut, chunk, packed):
    path = tmp_path_factory.mktemp("text") / ("a.txt.gz" if packed else "a.txt")
    write(path, content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "SPLIT_BYTES", cut)
        patch.setattr(text, "CHUNK_BYTES", chunk)
        patch.setattr(text, "_BLOCK", 4)
        splits = text.line_splits("t", [str(path)])
        found = [line for split in splits for line in lines_of(split)]
    assert found == [line + b"\n" for line in content.split(b"\n")][:-1] + [
        line for line in [content.rpartition(b"\n")[2]] if line
    ]
    assert len({split.name for split in splits}) == len(splits)
    assert packed is (len(splits) == 1 and splits[0].length == -1)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    for name in ("a.txt", "a.txt.gz"):
        path = write(tmp_path / name, b"\xef\xbb\xbfone\ntwo")
        assert lines_of(Split("t", str(path), "t-0")) == [b"one\n", b"two"]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_an_empty_file_gives_one_empty_batch(tmp_path, name):
    (split,) = text.line_splits("t", [str(write(tmp_path / name, b""))])
    assert [len(batch) for batch in text.read_lines(split)] == [0]


def test_gzip_members_one_after_another_are_one_text(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\ntw") + gzip.compress(b"o\n"))
    assert lines_of(Split("t", str(path), "t-0")) == [b"one\n", b"two\n"]


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.txt"):
        lines_of(Split("t", str(tmp_path / "gone.txt"), "t-0", 0, 4))


def test_globs_are_sorted_and_repeated_files_read_once(tmp_path):
    for name in ("b.txt", "a.txt"):
        write(tmp_path / name, b"x")
    (tmp_path / "d.txt").mkdir()
    found = text.find_files(["*.txt", "a.txt"], str(tmp_path), "path")
    assert found == [f"{tmp_path}/a.txt", f"{tmp_path}/b.txt"]


def test_files_are_read_through_fsspec():
    import fsspec

    with fsspec.open("memory://texts/a.txt", "wb") as file:
        file.write(b"one\ntwo\n")
    assert text.find_files("memory://texts/*.txt", "", "path")
    (split,) = text.line_splits("t", ["memory://texts/a.txt"])
    assert lines_of(split) == [b"one\n", b"two\n"]
