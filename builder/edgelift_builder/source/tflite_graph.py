"""What a TFLite file says of itself, and a copy of it that says it the way everything else here reads it.

Older converters write no signature (inputs have tensors' names only) and set only `deprecated_builtin_code`, which
ai-edge-quantizer does not read; newer ones may write several signatures, of which a device serves one.
Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from edgelift_contract.errors import ContractError

#: The signature that TensorFlow writes unless told otherwise; taken where a file has several.
USUAL = "serving_default"

#: Element types that 8 bits or fewer are stored in; int16 stands for activations beside int8 weights.
_NARROW = ("INT8", "UINT8", "INT4", "INT2", "INT16")


def read(path: Path) -> Any:
    """The file as LiteRT's own objects (`schema_py_generated.ModelT`)."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model(str(path))


def mend(path: Path, folder: Path, remarks: list[str]) -> tuple[Path, Any]:
    """A file with one signature on its first graph and operators that every reader finds; `path` itself where it is one.

    Args:
        path: a file that LiteRT loads.
        folder: where a copy may be written.
        remarks: for people, to be added to.

    Returns:
        The file, and its content.

    Raises:
        ContractError: `source-invalid` where no signature of several can be chosen, or the model remembers earlier calls.
    """
    model = read(path)
    _check_memory(model, path.name)
    changed = _name_operators(model)
    changed = _choose_signature(model, path.name, remarks) or changed
    if not changed:
        return path, model
    from ai_edge_litert.tools import flatbuffer_utils

    copy = folder / path.name  # messages go on to name it as its owner does
    flatbuffer_utils.write_model(model, str(copy))
    return copy, model


def names(model: Any) -> tuple[list[str], list[str]]:
    """The one signature's names of inputs and outputs, in the order of its graph."""
    graph, (signature,) = model.subgraphs[0], model.signatureDefs
    found = []
    for pairs, ends in zip(_ends(signature), (graph.inputs, graph.outputs), strict=True):
        places = _listed(ends)
        ordered = sorted(pairs, key=lambda pair: places.index(pair.tensorIndex))
        found.append([pair.name.decode() for pair in ordered])
    return found[0], found[1]


def is_quantised(model: Any) -> bool:
    """Is anything but its inputs and outputs in 8 bits: an 8-bit image before a float net is no quantised net."""
    from ai_edge_litert import schema_py_generated as schema

    narrow = {getattr(schema.TensorType, name) for name in _NARROW}
    for graph in model.subgraphs:
        ends = {*_listed(graph.inputs), *_listed(graph.outputs)}
        for index, tensor in enumerate(graph.tensors):
            scaled = tensor.quantization is not None and len(_listed(tensor.quantization.scale)) > 0
            if scaled and tensor.type in narrow and index not in ends:
                return True
    return False


def float_kind(model: Any) -> str:
    """`float16` where more of its constants are stored in that than in float32, by their number of elements; else
    `float32`.
    """
    from ai_edge_litert import schema_py_generated as schema

    held = {schema.TensorType.FLOAT16: 0, schema.TensorType.FLOAT32: 0}
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        content = model.buffers[tensor.buffer].data
        if tensor.type in held and content is not None and len(content):
            held[tensor.type] += prod(_listed(tensor.shape))
    return "float16" if held[schema.TensorType.FLOAT16] > held[schema.TensorType.FLOAT32] else "float32"


def _name_operators(model: Any) -> bool:
    """A reader that knows one of an operator's two codes finds the same in it."""
    wrong = [code for code in model.operatorCodes if code.builtinCode < code.deprecatedBuiltinCode]
    for code in wrong:
        code.builtinCode = code.deprecatedBuiltinCode
    return bool(wrong)


def _choose_signature(model: Any, name: str, remarks: list[str]) -> bool:
    found = [s for s in _listed(model.signatureDefs) if _names_all(s, model.subgraphs[s.subgraphIndex])]
    usual = [s for s in found if s.signatureKey.decode() == USUAL]
    if len(found) > 1 and not usual:
        keys = ", ".join(s.signatureKey.decode() for s in found)
        raise ContractError(
            "source-invalid",
            f"{name} has {len(found)} signatures, and a device serves one: {keys}.",
            hint=f"Convert it again with one of them, or name the one to serve {USUAL}.",
        )
    if not found:
        model.signatureDefs = [_signature(model)]
        given = [", ".join(e.name.decode() for e in ends) for ends in _ends(model.signatureDefs[0])]
        remarks.append(
            f"{name} has no signature that fits its graph: its tensors' names stand in, {given[0]} → {given[1]}."
        )
        return True
    chosen = (usual or found)[0]
    if len(found) > 1:
        others = ", ".join(s.signatureKey.decode() for s in found if s is not chosen)
        remarks.append(f"Of the signatures of {name}, {USUAL} is served; left out: {others}.")
    changed = chosen.subgraphIndex != 0 or len(_listed(model.signatureDefs)) > 1
    model.signatureDefs = [chosen]
    if changed:
        _bring_forward(model, chosen)
    return changed


def _names_all(signature: Any, graph: Any) -> bool:
    """Does it name every input of its graph and, as outputs, only the graph's: quantisers have left other tensors there."""
    inputs, outputs = ({pair.tensorIndex for pair in _listed(ends)} for ends in _ends(signature))
    return inputs >= {*_listed(graph.inputs)} and bool(outputs) and outputs <= {*_listed(graph.outputs)}


def _ends(signature: Any) -> tuple[list[Any], list[Any]]:
    return signature.inputs, signature.outputs


def _signature(model: Any) -> Any:
    """A signature of the first graph, named by its tensors, or by their places where those have no names of their own."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = USUAL.encode(), 0
    made.inputs = _pairs(schema, graph, graph.inputs, "input")
    made.outputs = _pairs(schema, graph, graph.outputs, "output")
    return made


def _pairs(schema: Any, graph: Any, indexes: Any, kind: str) -> list[Any]:
    names = [_plain_name(graph.tensors[i].name) for i in indexes]
    if not all(names) or len(set(names)) < len(names):
        names = [f"{kind}_{place}" for place in range(len(names))]
    pairs = []
    for index, name in zip(indexes, names, strict=True):
        pair = schema.TensorMapT()
        pair.name, pair.tensorIndex = name.encode(), index
        pairs.append(pair)
    return pairs


def _plain_name(tensor: bytes | None) -> str:
    """`x` of TensorFlow's `serving_default_x:0`; nothing of `StatefulPartitionedCall:1`, which says nothing."""
    name = (tensor or b"").decode(errors="replace").removeprefix(f"{USUAL}_")
    stem, colon, number = name.rpartition(":")
    name = stem if colon and number.isdigit() else name
    return "" if name.startswith(("StatefulPartitionedCall", "PartitionedCall")) else name


def _bring_forward(model: Any, chosen: Any) -> None:
    """Make the chosen signature's graph the first, which runs where no signature is named, and leave out what it never uses:
    other signatures' graphs, for which there is nothing to calibrate by.
    """
    order, ahead = dict[int, None](), [chosen.subgraphIndex]
    while ahead:
        place = ahead.pop(0)
        if place not in order:
            order[place] = None
            ahead += [
                index for options, field in _pointers(model.subgraphs[place]) for index in _aims(options, field)
            ]
    moved = {old: new for new, old in enumerate(order)}
    model.subgraphs = [model.subgraphs[place] for place in order]
    for options, field in [pointer for graph in model.subgraphs for pointer in _pointers(graph)]:
        aims = [moved.get(index, index) for index in _aims(options, field)]
        setattr(options, field, aims if field.endswith("Indices") else aims[0])
    chosen.subgraphIndex = 0


def _pointers(graph: Any) -> list[tuple[Any, str]]:
    """Operators' options and their fields that point to other graphs: branches, loops' bodies, what is called."""
    return [
        (options, field)
        for operator in _listed(graph.operators)
        for options in (operator.builtinOptions, operator.builtinOptions2)
        for field in (vars(options) if options is not None else ())
        if field == "subgraph" or field.endswith(("SubgraphIndex", "SubgraphIndices"))
    ]


def _aims(options: Any, field: str) -> list[int]:
    value = getattr(options, field)
    return _listed(value) if field.endswith("Indices") else [value]


def _check_memory(model: Any, name: str) -> None:
    """Refuse a graph that writes a variable which the next call reads: its answers would depend on who asked before."""
    from ai_edge_litert import schema_py_generated as schema

    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    once = {
        operator.builtinOptions.initSubgraphIndex
        for graph in model.subgraphs
        for operator in _listed(graph.operators)
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.CALL_ONCE
    }
    for place, graph in enumerate(model.subgraphs):
        written = [
            o for o in _listed(graph.operators) if codes[o.opcodeIndex] == schema.BuiltinOperator.ASSIGN_VARIABLE
        ]
        if written and place not in once:
            raise ContractError(
                "source-invalid",
                f"{name} keeps a variable from one call to the next, and a device answers each request for itself.",
                hint="Convert it again with its state as an input and an output.",
            )


def _listed(values: Any) -> list[Any]:
    return [] if values is None else list(values)
