"""Makes a float16 ONNX graph float32 inside, which the quantisers know; widening changes no weight.

Its inputs and outputs keep their type: what is made of it is called as the source is.
"""

from __future__ import annotations

from typing import Any

from edgelift_builder.source.onnx_floats import as_float32
from edgelift_builder.source.onnx_walk import nodes


def widened(model: Any) -> Any:
    """`model`, changed in place where anything in it is float16."""
    from onnx import TensorProto

    half, graph = TensorProto.FLOAT16, model.graph
    made = {name for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    given = [v for v in graph.input if v.type.tensor_type.elem_type == half and v.name not in constants]
    answered = [v for v in graph.output if v.type.tensor_type.elem_type == half and v.name in made]
    if not as_float32(model, half, ""):
        return model
    for value in given:
        value.type.tensor_type.elem_type = half
        graph.node.insert(0, _cast(value.name, _renamed(graph, value.name), TensorProto.FLOAT))
    for value in answered:
        value.type.tensor_type.elem_type = half
        graph.node.append(_cast(_renamed(graph, value.name), value.name, half))
    return model


def _cast(before: str, after: str, kind: int) -> Any:
    from onnx import helper

    return helper.make_node("Cast", [before], [after], f"{after}_cast", to=kind)


def _renamed(graph: Any, name: str) -> str:
    """Give what the nodes call `name` another name: that of the wide tensor."""
    wide = f"{name}_as_float32"
    for node in nodes(graph):
        for names in (node.input, node.output):
            for place, old in enumerate(names):
                if old == name:
                    names[place] = wide
    return wide
