"""Makes an ONNX graph in float16 or float64 float32 inside, which the quantisers know; widening changes no weight, and what
narrowing takes is far below what 8 bits do.

Its inputs and outputs keep their type: what is made of it is called as the source is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.convert import float_kind
from edgelift_builder.data import Array
from edgelift_builder.optimise.tensor_file import TensorFile, Weights
from edgelift_builder.source.onnx_floats import Keep, as_float32
from edgelift_builder.source.onnx_walk import messages, nodes

#: What `by_tensor` writes.
MODEL, WEIGHTS = "wide.onnx", "wide.weights"


def widened(model: Any, home: str = "", keep: Keep | None = None) -> Any:
    """`model`, changed in place where anything in it is float16, or most of it float64; see `as_float32` for the rest."""
    from onnx import TensorProto

    kinds = (TensorProto.FLOAT16, *((TensorProto.DOUBLE,) if float_kind.float_kind(model) == "float64" else ()))
    for kind in kinds:
        _widen(model, kind, home, keep)
    return model


def by_tensor(path: Path, folder: Path) -> Path:
    """`widened` of a file of any size: written to `folder`, tensor by tensor, its weights in a file of their own."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    weights = Weights(path, proto)
    with TensorFile(folder / WEIGHTS) as store:

        def keep(tensor: Any, values: Array) -> None:
            entry = store.begin(tensor.name, "float32", values.shape)
            entry.write(values)
            tensor.CopyFrom(entry.tensor)

        widened(proto, str(path.parent), keep)
        for message in messages(proto):
            is_tensor = message.DESCRIPTOR.name == "TensorProto"
            if is_tensor and _location(message) not in ("", WEIGHTS):
                store.carry(message, weights)
    (folder / MODEL).write_bytes(proto.SerializeToString())
    return folder / MODEL


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _widen(model: Any, kind: int, home: str, keep: Keep | None) -> None:
    graph = model.graph
    made = {name for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    given = [v for v in graph.input if v.type.tensor_type.elem_type == kind and v.name not in constants]
    answered = [v for v in graph.output if v.type.tensor_type.elem_type == kind and v.name in made]
    from onnx import TensorProto

    if not as_float32(model, kind, home, keep):
        return
    for value in given:
        value.type.tensor_type.elem_type = kind
        graph.node.insert(0, _cast(value.name, _renamed(graph, value.name), TensorProto.FLOAT))
    for value in answered:
        value.type.tensor_type.elem_type = kind
        graph.node.append(_cast(_renamed(graph, value.name), value.name, kind))


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
