"""Weights for processors without VNNI: no two products leave 16 bits, and no more range is given up than that takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelift_builder.optimise import saturation

pytestmark = pytest.mark.builder

QEMU = shutil.which("qemu-x86_64-static")


def quantised(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """As the runtime's quantiser does it with a range of its own for each channel; with the scale."""
    scale = np.expand_dims(saturation.ranges(weights, axis), axis) / 127
    return np.rint(weights / scale).astype(np.int8), scale


def in_16_bits(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """vpmaddubsw: neighbours' products added with saturation, uint8 [m, k] by int8 [k, n]; then all of them."""
    products = activations[:, :, None].astype(np.int64) * weights[None].astype(np.int64)
    return np.clip(products[:, 0::2] + products[:, 1::2], -32768, 32767).sum(axis=1)


@pytest.mark.parametrize("shape", [(2, 3), (64, 48), (770, 5), (32, 1)])
@pytest.mark.parametrize("shift", [0, 1])
def test_no_pair_overflows_whatever_the_activations(shape: tuple[int, int], shift: int) -> None:
    rng = np.random.default_rng(0)
    for weights in (rng.standard_normal(shape), rng.uniform(0.9, 1.0, shape)):
        weights = weights.astype(np.float32)
        weights[:, 0] = np.abs(weights).max()  # a channel whose every pair is the heaviest
        q, _ = quantised(weights, 0)
        q = np.pad(q, ((shift, shape[0] % 2 + shift), (0, 0)))  # wherever a kernel begins to pair
        for column in range(shape[1]):
            worst = np.where(q[:, column] > 0, 255, 0)[None].astype(np.uint8)
            for given in (worst, 255 - worst):
                assert (in_16_bits(given, q) == given.astype(np.int64) @ q.astype(np.int64)).all()


def test_seven_bits_would_give_up_more() -> None:
    weights = np.random.default_rng(0).standard_normal((768, 200)).astype(np.float32)
    _, scale = quantised(weights, 0)
    eight, seven = np.abs(weights).max(axis=0) / 127, np.abs(weights).max(axis=0) / 63
    assert (scale[0] >= eight).all() and (scale[0] <= seven * 1.01).all()
    assert np.median(scale[0] / eight) < 1.5


PROGRAM = """
import sys, numpy as np, onnxruntime as ort
model, given, out = sys.argv[1:]
session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
np.save(out, session.run(None, {"x": np.load(given)})[0])
"""


@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64-static is not installed")
@pytest.mark.parametrize("full", [False, True])
def test_a_haswell_computes_it_exactly(tmp_path: Path, full: bool) -> None:
    """The real kernels: with full range they are wrong, so that this would notice."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((770, 66)).astype(np.float32)
    q, _ = quantised(weights, 0)
    if full:
        q = np.rint(weights / np.abs(weights).max(axis=0) * 127).astype(np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    ends = [
        helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 770]),
        helper.make_tensor_value_info("y", TensorProto.INT32, ["n", 66]),
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(q, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    given = np.where(q.T > 0, 255, 0).astype(np.uint8)
    np.save(tmp_path / "x.npy", given)
    subprocess.run(
        [str(QEMU), "-cpu", "Haswell", str(Path(sys.executable).resolve()), "-c", PROGRAM, "m.onnx", "x.npy", "y.npy"],
        cwd=tmp_path, check=True, capture_output=True, timeout=300,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p.endswith("site-packages"))},
    )  # fmt: skip
    exact = (np.load(tmp_path / "y.npy") == given.astype(np.int64) @ q.astype(np.int64)).all()
    assert exact != full
