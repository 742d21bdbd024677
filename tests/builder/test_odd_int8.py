"""Static int8 of graphs over which it must not stumble: tensors without elements, chosen rows, shapes told wrongly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from tests.builder.onnx_kinds import KINDS
from tests.builder.onnx_parts import COUNT, Kind, floats, model, node, port, weights

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


def spectrum() -> Kind:
    """onnx infers 32 bins of a one-sided STFT over 32 numbers; there are 17."""
    nodes = [
        node("STFT", ["x", "step", "window", "length"], ["pairs"]),
        node("ReduceL2", ["pairs"], ["bins"], axes=[3], keepdims=0),
        node("ReduceMean", ["bins"], ["m"], axes=[1], keepdims=0), node("MatMul", ["m", "w"], ["y"]),
    ]  # fmt: skip
    constants = {"step": np.array(16), "window": np.hanning(32).astype(np.float32), "length": np.array(32)}
    made = model(nodes, [port("x", ["N", 128, 1])], [port("y", ["N", 4])], constants | {"w": weights(17, 4)})
    return Kind(made, {"x": floats(COUNT, 128, 1)}, {"x": 0})


@pytest.mark.parametrize("make", [spectrum, KINDS["rows_found"], KINDS["input_without_elements"]])
def test_int8_is_made_and_runs(make: Callable[[], Kind], onnx_recipe: Path, tmp_path: Path) -> None:
    kind = make()
    onnx.save(kind.model, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", **kind.inputs)
    request = Request(
        str(tmp_path / "net.onnx"), ["x86-64"], data=str(tmp_path / "data.npz"), recipe=str(onnx_recipe),
        out=tmp_path / "out", accept=True,
    )  # fmt: skip
    found = {candidate.variant: candidate for candidate in build(request, Quiet()).report.candidates}
    assert found["int8-static"].shipped, found["int8-static"].reason
