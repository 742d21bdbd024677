"""Advisories: a hit is an error that names its issue; what is beside the point is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgelift_builder import known_bad
from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_contract import ContractError
from edgelift_contract.hardware import HardwareClass

pytestmark = pytest.mark.builder


def qdq(path: Path, *, lowest: int, unsigned: bool) -> Path:
    """A Gemm-like product in QDQ form whose int8 weights go down to `lowest` and up to 127."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-60, 60, size=(16, 4)).astype(np.int8)
    weights[0] = lowest
    zero = np.uint8(128) if unsigned else np.int8(0)
    constants = {
        "w": weights,
        "ws": np.float32(0.02),
        "wz": np.int8(0),
        "s": np.float32(0.05),
        "z": np.array(zero),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dq"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "dqw"),
        helper.make_node("MatMul", ["xd", "wd"], ["y"], "product"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 16), ("y", 4))]
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def one_node(path: Path, kind: str, inputs: int, **attributes: object) -> Path:
    domain = "com.microsoft" if kind == "MatMulNBits" else ""
    node = helper.make_node(kind, [f"i{n}" for n in range(inputs)], ["y"], "it", domain=domain, **attributes)
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [])), path)
    return path


def verdict(path: Path, hardware_class: HardwareClass, versions: str = ">=1.17") -> str:
    try:
        known_bad.check(path, "onnxruntime", hardware_class, versions, "it")
    except ContractError as error:
        assert error.code == "known-bad" and error.hint
        return str(error)
    return ""


def test_minus_128_without_a_dot_product(tmp_path: Path) -> None:
    bad, good = (
        qdq(tmp_path / "a.onnx", lowest=-128, unsigned=False),
        qdq(tmp_path / "b.onnx", lowest=-127, unsigned=False),
    )
    assert "product (MatMul)" in verdict(bad, "arm64-neon") and "onnxruntime#31573" in verdict(bad, "arm64-neon")
    assert verdict(good, "arm64-neon") == "" and verdict(bad, "arm64-dotprod") == ""
    assert verdict(bad, "arm64-neon", ">=1.33") == ""  # mended there
    assert verdict(bad, "arm64-neon", ">=1.32")


def test_full_range_weights_saturate_without_vnni(tmp_path: Path) -> None:
    full = qdq(tmp_path / "a.onnx", lowest=-127, unsigned=True)
    assert "saturates" in verdict(full, "x86-64-avx2") and verdict(full, "x86-64-vnni") == ""
    assert verdict(qdq(tmp_path / "b.onnx", lowest=-64, unsigned=True), "x86-64-avx2") == ""
    assert verdict(qdq(tmp_path / "c.onnx", lowest=-127, unsigned=False), "x86-64-avx2") == ""


def test_asymmetric_int4_and_conv_integer(tmp_path: Path) -> None:
    asymmetric = one_node(tmp_path / "a.onnx", "MatMulNBits", 4, bits=4, K=32, N=4, block_size=32)
    symmetric = one_node(tmp_path / "b.onnx", "MatMulNBits", 3, bits=4, K=32, N=4, block_size=32)
    assert "onnxruntime#29853" in verdict(asymmetric, "x86-64-avx2") and verdict(asymmetric, "arm64-neon") == ""
    assert verdict(symmetric, "x86-64-avx2") == ""
    conv = one_node(tmp_path / "c.onnx", "ConvInteger", 2)
    assert all("#15888" in verdict(conv, c) for c in ("x86-64-vnni", "arm64-neon", "jetson-ampere"))


def test_every_entry_has_its_check_its_issue_and_its_way_round() -> None:
    assert {e.check for e in known_bad.entries()} == set(known_bad.CHECKS)
    for entry in known_bad.entries():
        assert "#" in entry.issue and entry.way_round and entry.what


def test_a_model_file_with_such_weights_is_refused_for_that_board_only(tmp_path: Path) -> None:
    path = qdq(tmp_path / "net.onnx", lowest=-128, unsigned=False)
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "r"\n[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
    )
    with pytest.raises(ContractError) as caught:
        build(Request(str(path), ["rpi4"], recipe=str(recipe), out=tmp_path / "out" / "r"), Quiet())
    assert caught.value.code == "known-bad" and "#31573" in str(caught.value)
    assert not (tmp_path / "out").exists()
    built = build(Request(str(path), ["rpi5"], recipe=str(recipe), out=tmp_path / "out" / "r"), Quiet())
    assert built.report.candidates[0].shipped
