"""Embedding tables in 8 bits with a scale for each row, in an ONNX graph that is held in memory.

    E' = E_q · s_row      looked up by one index: the row, its scale, their product

A row is never summed with another, so each may have its own range; one scale for the whole table, as the runtime's own
quantiser gives it, leaves little of a rare word's short vector. A table that something else reads too stays as it is; see
`untie`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.optimise import definition

#: Smaller tables are left alone, elements: the nodes around them would cost what they save.
LEAST_ELEMENTS = 4096


def narrow(model: Any) -> list[str]:
    """Narrow every table of a model; the names of the nodes that this made, which are not to be quantised again."""
    from onnx import numpy_helper

    graph = model.graph
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    made: list[str] = []
    for tensor in list(graph.initializer):
        by = readers.get(tensor.name, [])
        looked_up = [node for node in by if _looks_up(node, tensor)]
        if looked_up and len(looked_up) == len(by):
            made += _split(graph, tensor, looked_up, numpy_helper.to_array(tensor))
    return made


def _looks_up(node: Any, tensor: Any) -> bool:
    by_row = node.op_type == "Gather" and not any(a.name == "axis" and a.i != 0 for a in node.attribute)
    wide = len(tensor.dims) == 2 and tensor.dims[0] * tensor.dims[1] >= LEAST_ELEMENTS
    return by_row and wide and tensor.data_type == 1 and node.input[0] == tensor.name


def _split(graph: Any, tensor: Any, looked_up: list[Any], table: Any) -> list[str]:
    from onnx import TensorProto, helper, numpy_helper

    made = definition.quantise(table, definition.PerChannel(0))
    rows, scale = f"{tensor.name}_rows", f"{tensor.name}_row_scale"
    graph.initializer.remove(tensor)
    graph.initializer.extend([
        numpy_helper.from_array(made.values, rows), numpy_helper.from_array(made.scale.astype(np.float32), scale),
    ])  # fmt: skip
    names = []
    for node in looked_up:
        index, out, stem = node.input[1], node.output[0], node.name or node.output[0]
        place = list(graph.node).index(node)
        graph.node.remove(node)
        fresh = [
            helper.make_node("Gather", [rows, index], [f"{out}_q"], f"{stem}_q"),
            helper.make_node("Cast", [f"{out}_q"], [f"{out}_wide"], f"{stem}_wide", to=TensorProto.FLOAT),
            helper.make_node("Gather", [scale, index], [f"{out}_s"], f"{stem}_s"),
            helper.make_node("Mul", [f"{out}_wide", f"{out}_s"], [out], stem),
        ]
        for offset, one in enumerate(fresh):
            graph.node.insert(place + offset, one)
        names += [one.name for one in fresh]
    return names
