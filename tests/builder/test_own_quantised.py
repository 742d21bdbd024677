"""A file that came quantised is shipped as it came, called int8, and answers to the step as it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from tests.builder.onnx_parts import dense, floats, model, node, port

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


def dynamic(path: Path) -> None:
    """As onnxruntime's own tool writes it: uint8 activations, weights in all of int8, which saturates without VNNI."""
    nodes, constants = dense(width=32)
    onnx.save(model(nodes, [port("x", ["N", 32])], [port("y", ["N", 3])], constants), path.with_suffix(".float"))
    quantize_dynamic(path.with_suffix(".float"), path, weight_type=QuantType.QInt8)


def four_bits(path: Path) -> None:
    packed = np.random.default_rng(0).integers(0, 255, (16, 1, 16)).astype(np.uint8)
    nodes = [
        node("MatMulNBits", ["x", "q", "s"], ["h"], domain="com.microsoft", K=32, N=16, bits=4, block_size=32),
        node("Relu", ["h"], ["y"]),
    ]
    constants = {"q": packed, "s": np.abs(floats(16)) / 9}
    made = model(nodes, [port("x", ["N", 32])], [port("y", ["N", 16])], constants, domains=[("com.microsoft", 1)])
    onnx.save(made, path)


@pytest.mark.parametrize(("write", "saturates"), [(dynamic, True), (four_bits, False)])
def test_it_ships_as_it_came(write: Callable[[Path], None], saturates: bool, tmp_path: Path) -> None:
    write(tmp_path / "given.onnx")
    np.savez(tmp_path / "data.npz", x=floats(200, 32))
    request = Request(
        str(tmp_path / "given.onnx"), ["x86-64"], data=str(tmp_path / "data.npz"), out=tmp_path / "release"
    )
    (candidate,) = build(request, Quiet()).report.candidates
    assert candidate.shipped and candidate.variant == "int8-as-it-came"
    assert any("may answer otherwise on x86-64-avx2" in said for said in candidate.remarks) == saturates
    made = _opened(_unpacked(tmp_path / "release", tmp_path / "made"))
    given, fresh = _opened(tmp_path / "given.onnx"), np.random.default_rng(9).normal(size=(20, 32))
    for row in fresh.astype(np.float32):
        one, other = (session.run(None, {"x": row[None]})[0] for session in (made, given))
        np.testing.assert_allclose(one, other, atol=np.ptp(other) / 255)


def _opened(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _unpacked(release: Path, folder: Path) -> Path:
    """The one artifact's files under their own names."""
    folder.mkdir()
    (manifest,) = (release / "manifests").iterdir()
    for file in json.loads(manifest.read_text())["files"]:
        (folder / file["path"]).write_bytes((release / "blobs" / file["sha256"]).read_bytes())
    return folder / "model.onnx"
