"""Makes a float TFLite file ready for ai-edge-quantizer, and tells its layers apart.

The quantiser knows tensors by their names, which a file need not have; takes weights in float32, where some files have them
in float16 with an operator that widens them; and gives a bias a scale a channel along its first axis, where converters
that fold a constant vector into a layer leave `[1, channels]`: such a file does not load.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Operators whose narrow form saves time; what stands after the last of them, on the way to an output, is the tail.
HEAVY = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED", "BATCH_MATMUL",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
)  # fmt: skip

#: Operators with a bias, and which of their inputs it is.
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "CONV_3D": 2, "TRANSPOSE_CONV": 3}


def prepare(path: Path, example: Mapping[str, Any] | None = None) -> Any:
    """The file's content (`schema_py_generated.ModelT`) with a name of its own for every tensor, float32 weights, and
    biases of one axis.

    Args:
        path: a file with one signature.
        example: arrays of one call: axes that are free start with their lengths, for the quantiser runs a file once before
            it says how long they are, and 1 may be too short for it.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    _name_tensors(model)
    kinds = operator_kinds(model)
    for graph in model.subgraphs:
        _widen_weights(model, graph)
        _flatten_biases(model, graph, kinds)
    for pair in (pair for signature in model.signatureDefs or [] for pair in signature.inputs):
        tensor = model.subgraphs[0].tensors[pair.tensorIndex]
        if tensor.shapeSignature is not None and example is not None:
            tensor.shape = list(example[pair.name.decode()].shape)
    return model


def packed(model: Any) -> bytes:
    """The same as a file's bytes."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def layers(model: Any) -> list[tuple[str, str]]:
    """`(scope, kind)` of each heavy operator of the first graph with weights, in order; scopes as the quantiser has them."""
    graph, kinds = model.subgraphs[0], operator_kinds(model)
    found = []
    for operator in graph.operators:
        weighted = any(
            i >= 0 and model.buffers[graph.tensors[i].buffer].data is not None for i in operator.inputs[1:]
        )
        if kinds[operator.opcodeIndex] in HEAVY and weighted:
            found.append((_scope(graph, operator), kinds[operator.opcodeIndex]))
    return found


def tail(model: Any) -> list[str]:
    """Scopes of the operators after the last heavy one on every way to an output: see `kept_float`, for ONNX."""
    return [scope for scope, kind in _from_outputs(model) if kind not in HEAVY]


def last(model: Any) -> list[str]:
    """Scopes of the heavy operators before the tail: where channels differ in size, 8 bits spoil the small ones."""
    return [scope for scope, kind in _from_outputs(model) if kind in HEAVY]


def _from_outputs(model: Any) -> list[tuple[str, str]]:
    """`(scope, kind)` of what is met from the outputs backwards, the first heavy operators on each way included."""
    graph, kinds = model.subgraphs[0], operator_kinds(model)
    made_by = {index: operator for operator in graph.operators for index in operator.outputs}
    ahead, found = list(graph.outputs), dict[str, str]()
    while ahead:
        operator = made_by.get(ahead.pop())
        if operator is None or _scope(graph, operator) in found:
            continue
        kind = found[_scope(graph, operator)] = kinds[operator.opcodeIndex]
        if kind not in HEAVY:
            ahead += [index for index in operator.inputs if index >= 0]
    return [*found.items()]


def light(model: Any) -> list[str]:
    """Scopes of everything of the first graph that is not heavy: a norm's squares and roots spoil in 8 bits."""
    graph, kinds = model.subgraphs[0], operator_kinds(model)
    return [_scope(graph, operator) for operator in graph.operators if kinds[operator.opcodeIndex] not in HEAVY]


def touching(model: Any, tensors: Iterable[str]) -> list[str]:
    """Scopes of the operators of the first graph that read or make one of `tensors`."""
    graph, wanted = model.subgraphs[0], {*tensors}
    names = [tensor.name.decode() for tensor in graph.tensors]
    return [
        _scope(graph, operator)
        for operator in graph.operators
        if any(index >= 0 and names[index] in wanted for index in (*operator.inputs, *operator.outputs))
    ]


def beyond(model: Any, bound: float) -> list[str]:
    """Names of the float constants that hold a number as large as `bound`, infinity or NaN."""
    from ai_edge_litert import schema_py_generated as schema

    found = []
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        content = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or content is None:
            continue
        if not (np.abs(np.frombuffer(bytes(content), np.float32)) < bound).all():
            found.append(tensor.name.decode())
    return found


def operator_kinds(model: Any) -> list[str]:
    """Name of each operator code."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    return [names.get(max(c.builtinCode, c.deprecatedBuiltinCode), "") for c in model.operatorCodes]


def _scope(graph: Any, operator: Any) -> str:
    return "".join(f"{graph.tensors[index].name.decode()};" for index in operator.outputs if index >= 0)


def _name_tensors(model: Any) -> None:
    seen: set[bytes] = set()
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        name, number = tensor.name or b"tensor", 0
        while (tensor.name or b"") in seen or not tensor.name:
            tensor.name, number = name + f"_{number}".encode(), number + 1
        seen.add(tensor.name)


def _widen_weights(model: Any, graph: Any) -> None:
    from ai_edge_litert import schema_py_generated as schema

    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    kept = []
    for operator in graph.operators:
        widens = codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE
        source = graph.tensors[operator.inputs[0]] if widens else None
        content = model.buffers[source.buffer].data if source is not None else None
        if source is None or content is None or source.type != schema.TensorType.FLOAT16:
            kept.append(operator)
            continue
        buffer = schema.BufferT()
        wide = np.frombuffer(bytes(content), np.float16).astype(np.float32)
        buffer.data = np.frombuffer(wide.tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
    graph.operators = kept


def _flatten_biases(model: Any, graph: Any, kinds: Sequence[str]) -> None:
    known = {tensor.name for each in model.subgraphs for tensor in each.tensors}
    biased = [(o, _BIAS[kind]) for o in graph.operators if (kind := kinds[o.opcodeIndex]) in _BIAS]
    readers = Counter(i for o in graph.operators if o.inputs is not None for i in o.inputs)
    for operator, place in biased:
        index = operator.inputs[place] if place < len(operator.inputs) else -1
        bias = graph.tensors[index]
        if index < 0 or model.buffers[bias.buffer].data is None or len(bias.shape) == 1:
            continue
        if readers[index] > 1:  # another reads it as it is
            bias = copy.copy(bias)
            while bias.name in known:
                bias.name += b"_flat"
            known.add(bias.name)
            graph.tensors.append(bias)
            operator.inputs[place] = len(graph.tensors) - 1
        bias.shape, bias.shapeSignature = [int(np.prod(bias.shape))], None
