"""The ONNX writer: what it writes runs, large weights lie beside the model, and the onnx package agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from findling.encoders.clip_files import session
from findling.encoders.onnx_file import ALIGNMENT, Graph
from findling.errors import EncoderError

MATRIX = np.random.default_rng(1).normal(size=(6, 300)).astype(np.float32)


def write(path: Path) -> Path:
    with Graph(path) as graph:
        value = graph.input("x", "float32", ("n", 6))
        product = graph.node("MatMul", [value, graph.weight(MATRIX)])
        scaled = graph.node("Mul", [product, graph.weight(np.array(2, np.float32))])
        norm = [graph.weight(np.full(300, number, np.float32)) for number in (1, 0)]
        normal = graph.node("LayerNormalization", [scaled, *norm], axis=-1, epsilon=0.5)
        turned = graph.node("Transpose", [normal], perm=(1, 0))
        graph.output("y", turned, "float32", (300, "n"))
    return path


def test_a_written_network_computes_what_it_says(tmp_path: Path) -> None:
    run = session(write(tmp_path / "net.onnx"), "CPUExecutionProvider")
    given = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    value = 2 * given @ MATRIX
    centred = value - value.mean(1, keepdims=True)
    wanted = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 0.5)
    assert run.run(None, {"x": given})[0] == pytest.approx(wanted.T, abs=1e-5)


def test_large_weights_lie_beside_the_model(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx")
    data = (tmp_path / "net.bin").read_bytes()
    assert path.stat().st_size < 3000
    assert data[: MATRIX.nbytes] == MATRIX.tobytes()
    assert data[2 * ALIGNMENT : 2 * ALIGNMENT + 4] == np.float32(1).tobytes()


def test_a_damaged_network_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EncoderError, match=r"cannot open .*net\.onnx"):
        session(path, "CPUExecutionProvider")


@pytest.mark.needs("onnx")
def test_the_onnx_package_finds_no_fault(tmp_path: Path) -> None:
    import onnx

    path = write(tmp_path / "net.onnx")
    onnx.checker.check_model(str(path), full_check=True)
    assert [node.op_type for node in onnx.load(str(path)).graph.node][:2] == ["MatMul", "Mul"]
