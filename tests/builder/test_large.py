"""A model that must not be in memory whole: converted and quantised tensor by tensor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.builder.conftest import ROOT

pytestmark = pytest.mark.builder

WIDTH = 2048


def big_model(folder: Path, megabytes: int) -> Path:
    """A chain of WIDTH × WIDTH products, weights in one file beside the graph, written without holding it."""
    layers = megabytes * (1 << 20) // (WIDTH * WIDTH * 4)
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    with (folder / "big.data").open("wb") as file:
        for i in range(layers):
            tensor = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "big.data"), ("offset", file.tell()), ("length", WIDTH * WIDTH * 4)):
                tensor.external_data.add(key=key, value=str(value))
            file.write((rng.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(WIDTH**0.5)).data)
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [f"h{i}" if i else "x", f"w{i}"], [f"h{i + 1}"], f"n{i}"))
    nodes.append(helper.make_node("Identity", [f"h{layers}"], ["y"], "end"))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", WIDTH]) for n in "xy"]
    graph = helper.make_graph(nodes, "big", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "big.onnx").write_bytes(model.SerializeToString())
    return folder / "big.onnx"


MEASURE = """
import sys
sys.path[:0] = sys.argv[4:]
from pathlib import Path
import onnx, onnx_ir, numpy, onnx.numpy_helper
from edgelift_builder.convert import strip
from edgelift_builder.optimise import weight_only
strip.store(Path(sys.argv[1]), Path(sys.argv[2]))
weight_only.quantise(str(Path(sys.argv[2]) / "model.onnx"), {"bits": int(sys.argv[3]), "group": 32}, sys.argv[2] + "/q")
print(next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) * 1024)
"""


def peak_bytes(model: Path, folder: Path, bits: int) -> int:
    (folder / "q").mkdir(parents=True)
    paths = [str(ROOT / "builder"), str(ROOT / "agent")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(model), str(folder), str(bits), *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("bits", [8, 4])
def test_300_mb_in_less_than_twice_that(tmp_path: Path, bits: int) -> None:
    model = big_model(tmp_path, 300)
    shard = (tmp_path / "big.data").stat().st_size
    assert peak_bytes(model, tmp_path / "out", bits) < 2 * shard
    _is_right(model, tmp_path / "out" / "q" / "model.onnx", bits)


@pytest.mark.slow
def test_3_gb_in_less_than_twice_its_largest_file(tmp_path: Path) -> None:
    model = big_model(tmp_path, 3072)
    shard = (tmp_path / "big.data").stat().st_size
    assert shard > 3_000_000_000 and peak_bytes(model, tmp_path / "out", 4) < 2 * shard


def _is_right(model: Path, narrow: Path, bits: int) -> None:
    import onnxruntime as ort

    x = np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float32)
    (wanted,), (found,) = (
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for path in (model, narrow)
    )
    # Each layer adds its rounding: 300 MB are 18 layers of 2 to 4 bits' noise or none to speak of.
    agreement = np.corrcoef(wanted.ravel(), found.ravel())[0, 1]
    assert agreement > {8: 0.999, 4: 0.85}[bits], agreement
    kinds = {n.op_type for n in onnx.load(narrow, load_external_data=False).graph.node}
    assert "MatMulNBits" in kinds and "MatMul" not in kinds
