"""What small ONNX files of tests are made of: nodes, ports, constants, and rows for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
COUNT = 40


@dataclass
class Kind:
    """A model, arrays of `COUNT` samples for its inputs, and what is told of it.

    Attributes:
        axes: the sample axis of each input in a call.
        batch_free: does it take several samples at once.
        undrawn: does the file not say enough for inputs to be drawn.
        runs: does onnxruntime run the file as it is.
    """

    model: Any
    inputs: dict[str, np.ndarray]
    axes: dict[str, int | None]
    batch_free: bool = True
    undrawn: bool = False
    runs: bool = True


Made = TypeVar("Made")


def listed(kinds: dict[str, Callable[[], Made]]) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """A decorator: what is so made goes into `kinds` by its name."""

    def decorated(make: Callable[[], Made]) -> Callable[[], Made]:
        kinds[make.__name__] = make
        return make

    return decorated


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return rng().normal(size=shape).astype(np.float32)


def weights(*shape: int) -> np.ndarray:
    return floats(*shape) / 4


def port(name: str, shape: Sequence[int | str | None] | None, dtype: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], constants: dict[str, Any], *,
    opset: int = 17, ir: int = 8, domains: Sequence[tuple[str, int]] = (), functions: Sequence[Any] = (),
) -> Any:  # fmt: skip
    held = [numpy_helper.from_array(v, k) if isinstance(v, np.ndarray) else v for k, v in constants.items()]
    imports = [helper.make_opsetid(*pair) for pair in [("", opset), *domains]]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), held)
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=ir)


def dense(x: str = "x", y: str = "y", width: int = 8) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Two layers, `[n, width] → [n, 3]`."""
    constants = {"w1": weights(width, 16), "b1": weights(16), "w2": weights(16, 3)}
    nodes = [node("Gemm", [x, "w1", "b1"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "w2"], [y])]
    return nodes, constants


ROWS, SCORES = port("x", ["N", 8]), port("y", ["N", 3])
X = {"x": floats(COUNT, 8)}
FIRST: dict[str, int | None] = {"x": 0}
