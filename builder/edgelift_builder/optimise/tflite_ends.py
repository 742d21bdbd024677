"""Keeps the outputs of a TFLite graph apart from what reads them inside it, while ai-edge-quantizer is at work.

It knows the outside as reader -1 of an output, and there is such an operator: the last one. Where that reads an output in 8
bits, it is given the widened one, and the file does not run; and where any operator reads in 8 bits an output that stays
float, the output itself becomes int8 (its `dequant_insert.py` and `quant_insert.py`, 0.10). With a copy that only the
outside reads, by an operator that no recipe touches, neither happens; it is cut off afterwards.
"""

from __future__ import annotations

from typing import Any


class EndsApart:
    """A file in which every float output that an operator reads, too, is a copy.

    Attributes:
        content: that file, for the quantiser.
    """

    def __init__(self, given: bytes) -> None:
        self._was = _read(given)
        self._signed = _signed(given)
        self._places = [_ends(graph) for graph in self._was.subgraphs]
        self.content = _packed(_copied(_read(given), self._places)) if any(self._places) else given

    def together(self, made: bytes) -> bytes:
        """What the quantiser made of `content`, without the copies; its signature is on the inputs and outputs of its graph
        in the given file's places, which the quantiser, too, moves and may forget to tell.
        """
        if not any(self._places) and _signed(made) == self._signed:
            return made  # reading all of it takes longer than quantising
        now, changed = _read(made), False
        for names, after in zip(self._places, now.subgraphs, strict=True):
            after.outputs = list(after.outputs)
            for place, name in names.items():
                (copy,) = (operator for operator in after.operators if _named(after, operator.outputs, name))
                after.operators.remove(copy)
                after.outputs[place], changed = copy.inputs[0], True
        return _packed(now) if _sign(self._was, now) or changed else made


def _copied(model: Any, ends: list[dict[int, bytes]]) -> Any:
    """The model with its outputs at these places made copies, by these names."""
    code, moved = _copying(model), {}
    for number, (graph, names) in enumerate(zip(model.subgraphs, ends, strict=True)):
        graph.outputs = list(graph.outputs)
        for place, name in names.items():
            index, last = graph.outputs[place], len(graph.tensors)
            graph.operators.append(_copy(code, index, last))
            graph.tensors.append(_like(graph.tensors[index], name))
            graph.outputs[place] = moved[number, index] = last
    for signature in model.signatureDefs:
        for pair in signature.outputs:
            pair.tensorIndex = moved.get((signature.subgraphIndex, pair.tensorIndex), pair.tensorIndex)
    return model


def _ends(graph: Any) -> dict[int, bytes]:
    """Places among the outputs that need a copy, and what it is called."""
    from ai_edge_litert import schema_py_generated as schema

    read = {index for operator in graph.operators if operator.inputs is not None for index in operator.inputs}
    known = {tensor.name for tensor in graph.tensors}
    made = {}
    for place, index in enumerate(graph.outputs):
        if index in read and graph.tensors[index].type == schema.TensorType.FLOAT32:
            made[place] = graph.tensors[index].name + b"/output_%d" % place
            while made[place] in known:
                made[place] += b"_"
    return made


def _signed(content: bytes) -> list[list[tuple[bytes, int]]]:
    """Of each signature's inputs and outputs their names, and places among those of the graph."""
    from ai_edge_litert import schema_py_generated as schema

    model, found = schema.Model.GetRootAs(content, 0), []
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        graph = model.Subgraphs(signature.SubgraphIndex())
        for pair, count, end, ends in (
            (signature.Inputs, signature.InputsLength(), graph.Inputs, graph.InputsLength()),
            (signature.Outputs, signature.OutputsLength(), graph.Outputs, graph.OutputsLength()),
        ):
            places = {end(k): k for k in range(ends)}
            found.append([(pair(k).Name(), places.get(pair(k).TensorIndex(), -1)) for k in range(count)])
    return found


def _sign(was: Any, now: Any) -> bool:
    changed = False
    for old, new in zip(was.signatureDefs, now.signatureDefs, strict=True):
        before, after = was.subgraphs[old.subgraphIndex], now.subgraphs[new.subgraphIndex]
        for ends, olds, news in (("inputs", old.inputs, new.inputs), ("outputs", old.outputs, new.outputs)):
            places = {pair.name: list(getattr(before, ends)).index(pair.tensorIndex) for pair in olds}
            for pair in news:
                index = list(getattr(after, ends))[places[pair.name]]
                changed, pair.tensorIndex = changed or pair.tensorIndex != index, index
    return changed


def _copying(model: Any) -> int:
    """The code of an operator that copies, and that the quantiser does not know: CAST."""
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = schema.BuiltinOperator.CAST
    made.version = 1
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1


def _copy(code: int, index: int, to: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, [index], [to]
    return made


def _like(was: Any, name: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    made = schema.TensorT()
    made.name, made.type, made.buffer = name, was.type, 0
    made.shape, made.shapeSignature, made.hasRank = was.shape, was.shapeSignature, was.hasRank
    return made


def _named(graph: Any, outputs: Any, name: bytes) -> bool:
    return any(graph.tensors[index].name == name for index in outputs)


def _read(content: bytes) -> Any:
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(content)


def _packed(model: Any) -> bytes:
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
