"""Takes maps and sequences out of an ONNX model's outputs: a device is answered in tensors.

Converters of scikit-learn end a classifier in a ZipMap, a list of {class: probability}, and several classifiers in a list of
tensors. What these were made of is tensors: the probabilities, in the order of their classes; each tensor of the list.
"""

from __future__ import annotations

from typing import Any

from edgelift_builder.source.onnx_walk import nodes, reads


def without_maps(model: Any) -> tuple[Any, list[str]]:
    """`model` with tensors in place of the maps and sequences that it answers; and what was done, for people.

    What is made otherwise, or read by other nodes, stays as it is.
    """
    graph, said, outputs = model.graph, list[str](), list[Any]()
    makers = {name: node for node in graph.node for name in node.output}
    read = {name for node in graph.node for name in reads(node)}
    for value in graph.output:
        maker = makers.get(value.name)
        take = None if value.type.HasField("tensor_type") or maker is None else _TAKEN.get(maker.op_type)
        if maker is None or take is None or value.name in read:
            outputs.append(value)
            continue
        made, words = take(graph, value, maker)
        outputs += made
        said.append(words)
    if said:
        kept = [type(v).FromString(v.SerializeToString()) for v in outputs]
        del graph.output[:]
        graph.output.extend(kept)
    return model, said


def _map(graph: Any, value: Any, zipmap: Any) -> tuple[list[Any], str]:
    import onnx

    classes = next((a for a in zipmap.attribute if a.name.startswith("classlabels_")), None)
    names = [*classes.ints] or [text.decode() for text in classes.strings] if classes is not None else []
    mapped = value.type.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type
    kind = mapped or onnx.TensorProto.FLOAT
    made = onnx.helper.make_tensor_value_info(value.name, kind, [None, len(names) or None])
    # Under the map's own name, so that clients go on asking for it; the tensor may be an input, or be read elsewhere.
    _put(graph, zipmap, [onnx.helper.make_node("Identity", [zipmap.input[0]], [value.name])])
    listed = ", ".join(map(str, names[:20])) + (" …" if len(names) > 20 else "")
    order = f", in the order of {listed}" if names else ""
    return [made], f"The map {value.name} was taken out: it is a tensor of probabilities{order}."


def _list(graph: Any, value: Any, construct: Any) -> tuple[list[Any], str]:
    import onnx

    taken = {name for node in nodes(graph) for name in node.output} | {v.name for v in graph.input}
    names = [_free(f"{value.name}_{k}", taken) for k in range(len(construct.input))]
    pairs = list(zip(construct.input, names, strict=True))
    _put(graph, construct, [onnx.helper.make_node("Identity", [tensor], [name]) for tensor, name in pairs])
    kind = value.type.sequence_type.elem_type.tensor_type.elem_type
    made = [_without_shape(name, kind) for name in names]
    return made, f"The sequence {value.name} was taken out: its tensors are the outputs {', '.join(names)}."


def _pieces(graph: Any, value: Any, split: Any) -> tuple[list[Any], str]:
    import onnx

    _put(graph, split, [onnx.helper.make_node("Identity", [split.input[0]], [value.name])])
    kind = value.type.sequence_type.elem_type.tensor_type.elem_type
    axis = next((a.i for a in split.attribute if a.name == "axis"), 0)
    words = f"The sequence {value.name} was taken out: it is one tensor, whose pieces lay along axis {axis}."
    return [_without_shape(value.name, kind)], words


_TAKEN = {"ZipMap": _map, "SequenceConstruct": _list, "SplitToSequence": _pieces}


def _put(graph: Any, node: Any, instead: list[Any]) -> None:
    # Found by what it makes: no two nodes make the same.
    kept = [new for old in graph.node for new in (instead if old.output == node.output else [_copied(old)])]
    del graph.node[:]
    graph.node.extend(kept)


def _copied(node: Any) -> Any:
    return type(node).FromString(node.SerializeToString())


def _without_shape(name: str, kind: int) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, kind, None)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
