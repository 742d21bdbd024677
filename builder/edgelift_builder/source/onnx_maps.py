"""Takes maps out of an ONNX classifier: converters of scikit-learn end it in a ZipMap, a list of {class: probability}.

A device is answered in tensors. What the ZipMap was given is one: the probabilities, in the order of its classes.
"""

from __future__ import annotations

from typing import Any


def has_maps(model: Any) -> bool:
    """Is any output no tensor."""
    return any(not value.type.HasField("tensor_type") for value in model.graph.output)


def without_maps(model: Any) -> tuple[Any, list[str]]:
    """`model` with tensors in place of the maps that its ZipMaps make; and what was done, for people.

    What makes another sequence or map stays as it is.
    """
    import onnx

    graph, said = model.graph, []
    makers = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    for place, value in enumerate(list(graph.output)):
        zipmap = makers.get(value.name)
        if zipmap is None or any(value.name in node.input for node in graph.node):
            continue
        classes = next((a for a in zipmap.attribute if a.name.startswith("classlabels_")), None)
        names = [*classes.ints] or [text.decode() for text in classes.strings] if classes is not None else []
        made = onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [None, len(names) or None])
        graph.output[place].CopyFrom(made)
        # Under the map's own name, so that clients go on asking for it; the tensor may be an input, or be read elsewhere.
        at = list(graph.node).index(zipmap)
        graph.node[at].CopyFrom(onnx.helper.make_node("Identity", [zipmap.input[0]], [value.name]))
        listed = ", ".join(map(str, names[:20])) + (" …" if len(names) > 20 else "")
        said.append(
            f"The map {value.name} was taken out: it is a tensor of probabilities, in the order of {listed}."
        )
    return model, said
