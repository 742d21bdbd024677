"""Makes a float ONNX graph ready for quantisation, and tells its layers apart.

onnxruntime's own basic optimisations fold constants and batch norms into the layers before them; what is left
are the operators that kernels exist for. Needs the model in memory once: for graphs over 2 GB use `weight-only`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgelift_builder.convert import float_kind
from edgelift_builder.optimise import opset
from edgelift_builder.optimise.onnx_types import typed
from edgelift_builder.optimise.widen import widened
from edgelift_contract.errors import ContractError

#: Operators whose narrow form saves time; anything else in float is not worth a remark.
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Attention", "LSTM", "GRU", "RNN")

#: Protobuf's own limit for one message, bytes, less some room for the graph.
LIMIT_BYTES = (2 << 30) - (16 << 20)


def prepare(model: Path, folder: Path) -> Path:
    """Write the folded graph to `folder/ready.onnx`, weights inside, in float32.

    Raises:
        ContractError: `too-large` for models over 2 GB in float32; what `opset.raised` raises.
    """
    import onnx
    import onnxruntime as ort

    over = over_limit(model)
    if over:
        raise ContractError(
            "too-large",
            f"The model is {over}, which this step would need in one piece.",
            hint="Use the step weight-only, which goes tensor by tensor.",
        )
    ready, whole = folder / "ready.onnx", folder / "whole.onnx"
    # Weights inside the file: onnxruntime leaves those it did not change where they were, beside the old graph.
    onnx.save(opset.raised(widened(onnx.load(model))), whole)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(ready)
    options.log_severity_level = 3
    ort.InferenceSession(str(whole), options, providers=["CPUExecutionProvider"])
    whole.unlink()
    _name_nodes(ready)
    return ready


def over_limit(model: Path) -> str:
    """`over 2 GB`, and whether that is so once it is float32; empty where it is smaller."""
    size = sum(p.stat().st_size for p in model.parent.iterdir())
    if size > LIMIT_BYTES:
        return "over 2 GB"
    half = 2 * size > LIMIT_BYTES and float_kind.of_file(model) == "float16"
    return "over 2 GB once it is float32" if half else ""


def _name_nodes(path: Path) -> None:
    # Layers are chosen and reported by their nodes' names, which ONNX does not demand.
    import onnx

    proto = typed(onnx.load(path))
    seen: set[str] = set()
    for number, node in enumerate(proto.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
    onnx.save(proto, path)


def layers(graph: Any) -> list[tuple[str, str]]:
    """`(name, type)` of each heavy node whose weights are constants, in order."""
    constants = {t.name for t in graph.initializer}
    return [(node.name, node.op_type) for node in graph.node if has_weights(node, constants)]


def has_weights(node: Any, constants: Collection[str]) -> bool:
    """Is it a heavy node with weights among `constants`; a bias alone is none."""
    return node.op_type in HEAVY and any(name in constants for name in node.input[1:3])


def left_float(graph: Any) -> list[str]:
    """Heavy operators that compute in float, as `name (type)`."""
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    return [
        f"{node.name} ({node.op_type})"
        for node in graph.node
        if node.op_type in HEAVY and made_by.get(node.input[0]) != "DequantizeLinear"
    ]
