"""Types of a graph's inner tensors as onnxruntime tells them, where onnx's own inference does not know an operator."""

from __future__ import annotations

from typing import Any

_KINDS = {"tensor(float)": "FLOAT", "tensor(int64)": "INT64", "tensor(int32)": "INT32", "tensor(bool)": "BOOL"}


def typed(model: Any) -> Any:
    """`model`, changed in place: every tensor behind an operator of another domain has its type and its number of axes.

    Quantisers look types up, and leave the whole graph be where one is missing.
    """
    import onnx
    import onnxruntime as ort

    graph = model.graph
    if all(node.domain in ("", "ai.onnx") for node in graph.node):
        return model
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {v.name for v in (*inferred.value_info, *graph.input, *graph.output)} | {
        t.name for t in graph.initializer
    }
    missing = [name for node in graph.node for name in node.output if name and name not in known]
    asked = type(model)()
    asked.CopyFrom(model)
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for told in session.get_outputs():
        kind = _KINDS.get(told.type)
        if told.name in missing and kind:
            shape = [n if isinstance(n, int | str) else None for n in told.shape] or None
            made = onnx.helper.make_tensor_value_info(told.name, getattr(onnx.TensorProto, kind), shape)
            graph.value_info.append(made)
    return model
