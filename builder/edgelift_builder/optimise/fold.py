"""Constant folding: what does not depend on the model's inputs is computed once, here, by the real runtime.

Left alone: anything random, control flow, quantise/dequantise pairs (folding them would undo a quantisation),
results over `MOST_BYTES` (a folded Expand can be larger than the model), and tensors that lie beside the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.data import Array

#: Largest result that is kept, bytes.
MOST_BYTES = 1 << 20

_LEFT = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "If", "Loop", "Scan", "SequenceMap",
)  # fmt: skip


def fold_constants(model: Any) -> Any:
    """The model with every node of constant inputs replaced by its result."""
    import onnx

    made = type(model)()
    made.CopyFrom(model)
    graph = made.graph
    given = {v.name for v in graph.input}
    known = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in graph.initializer
        if t.name not in given and not t.external_data and t.data_type != onnx.TensorProto.STRING
    }
    ends, kept, fresh = {v.name for v in graph.output}, [], []
    for node in graph.node:
        results = None if any(name in ends for name in node.output) else _fold(node, known, made)
        if results is None:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        for name, array in results.items():
            known[name] = array
            fresh.append(onnx.numpy_helper.from_array(array, name))
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(fresh)
    return made


def _fold(node: Any, known: dict[str, Array], model: Any) -> dict[str, Array] | None:
    """A node's results by name, or None where it cannot or should not be folded."""
    constant = all(name == "" or name in known for name in node.input)
    inner = any(a.HasField("g") or a.graphs for a in node.attribute)
    if not constant or inner or node.op_type in _LEFT or node.domain not in ("", "ai.onnx"):
        return None
    names = [name for name in node.output if name]
    try:
        found = _run(node, {name: known[name] for name in node.input if name}, names, model)
    except Exception:  # noqa: BLE001 - no kernel for it, or no tensor comes of it: then it stays a node
        return None
    plain = all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" and a.nbytes <= MOST_BYTES for a in found)
    return dict(zip(names, found, strict=True)) if plain else None


def _run(node: Any, inputs: dict[str, Array], outputs: list[str], model: Any) -> list[Any]:
    import onnx
    import onnxruntime as ort
    from onnx import helper

    graph = helper.make_graph(
        [node], "fold", [], [onnx.ValueInfoProto(name=name) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in inputs.items()],
    )  # fmt: skip
    alone = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(outputs, {})
    return found
