"""Did an ONNX graph come in few bits? Its integer operators say so, and weights that are held as integers."""

from __future__ import annotations

from typing import Any

from edgelift_builder.source.onnx_walk import nodes

#: Operators that compute in integers, or with weights of few bits.
_OPERATORS = {
    "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QGemm", "QAttention", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "QMoE",
}  # fmt: skip


def is_quantised(model: Any) -> bool:
    """Is it to be shipped as it came. A float graph that only takes or answers integers by a scale is not quantised."""
    given = {value.name for value in model.graph.input}
    answered = {value.name for value in model.graph.output}
    for node in nodes(model):
        if node.op_type in _OPERATORS or node.op_type.startswith("QLinear"):
            return True
        if node.op_type == "DequantizeLinear" and node.input[0] not in given:
            return True
        if node.op_type == "QuantizeLinear" and node.output[0] not in answered:
            return True
    return False
