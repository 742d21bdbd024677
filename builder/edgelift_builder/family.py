"""What a model is made of, told from its graph: the default recipe is chosen by it.

A *convolutional* net wants static int8, whose kernels are integer from layer to layer; a *transformer* or a *recurrent*
net dynamic int8, whose activations vary too much for fixed ranges. What stands in the graph decides, never a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

Family = Literal["cnn", "transformer", "recurrent", "mlp"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_CONVOLUTIONS = ("Conv", "ConvTranspose", "FusedConv", "QLinearConv", "ConvInteger", "DeformConv")
_PRODUCTS = (
    "MatMul",
    "Gemm",
    "FusedMatMul",
    "FusedGemm",
    "MatMulInteger",
    "MatMulNBits",
    "QLinearMatMul",
    "QGemm",
)
_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
_ATTENTION = ("Attention", "MultiHeadAttention", "QAttention", "GroupQueryAttention", "PackedAttention")


@dataclass(frozen=True)
class Makeup:
    """What a graph holds.

    Attributes:
        convolutions, products, recurrent: weights of such operators, elements.
        attention: are products of two activations taken, and soft-maxed.
    """

    convolutions: int = 0
    products: int = 0
    recurrent: int = 0
    attention: bool = False

    @property
    def family(self) -> Family:
        """Recurrent layers decide, unless attention outweighs them; attention, unless convolutions do."""
        if self.recurrent and not (self.attention and self.products > self.recurrent):
            return "recurrent"
        if self.attention and self.products >= self.convolutions:
            return "transformer"
        return "cnn" if self.convolutions else "mlp"

    @property
    def words(self) -> str:
        """For people: `products 97 %, convolutions 3 % of the weights, attention`."""
        held = {"convolutions": self.convolutions, "products": self.products, "recurrent layers": self.recurrent}
        whole = sum(held.values())
        if not whole:
            return "no layer with weights"
        shares = [f"{name} {100 * n / whole:.0f} %" for name, n in sorted(held.items(), key=lambda x: -x[1]) if n]
        return f"{', '.join(shares)} of the weights{', attention' if self.attention else ''}"


def of_onnx(path: Path) -> Makeup:
    """What an ONNX file is made of; its weights are not read.

    Subgraphs and local functions count; a weight that is cast, transposed or dequantised first is still a weight.
    """
    import onnx
    from onnx import inliner

    model = onnx.load(path, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    found = Makeup()
    softmax = activations = 0
    for nodes, constants in _graphs(model):
        for node in nodes:
            held = [constants[name] for name in node.input if name in constants]
            if len(held) == len(node.input):
                constants |= dict.fromkeys(node.output, sum(held) + sum(prod(a.t.dims) for a in node.attribute))
                continue
            found = _with(found, node.op_type, sum(held))
            softmax += node.op_type == "Softmax"
            activations += node.op_type in ("MatMul", "FusedMatMul", "Einsum") and not held
    attention = found.attention or (softmax > 0 and activations > 1)
    return Makeup(found.convolutions, found.products, found.recurrent, attention)


#: TFLite's built-in operators, by what they are to an ONNX graph.
_TFLITE = {
    "CONV_2D": "Conv", "CONV_3D": "Conv", "DEPTHWISE_CONV_2D": "Conv", "TRANSPOSE_CONV": "Conv",
    "CONV_3D_TRANSPOSE": "Conv", "FULLY_CONNECTED": "MatMul", "BATCH_MATMUL": "MatMul", "LSTM": "LSTM", "RNN": "RNN",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN": "RNN", "SOFTMAX": "Softmax",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "LSTM", "BIDIRECTIONAL_SEQUENCE_RNN": "RNN",
}  # fmt: skip


def of_tflite(path: Path) -> Makeup:
    """What a TFLite file is made of."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name in _TFLITE}
    kinds = [names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "") for code in model.operatorCodes]
    found = Makeup()
    softmax = activations = 0
    for graph in model.subgraphs:
        filled = {
            k: prod(t.shape) for k, t in enumerate(graph.tensors) if model.buffers[t.buffer].data is not None
        }
        for operator in graph.operators:
            kind = _TFLITE.get(kinds[operator.opcodeIndex], "")
            weights = sum(filled.get(int(k), 0) for k in operator.inputs)
            found = _with(found, kind, weights)
            softmax += kind == "Softmax"
            activations += kind == "MatMul" and not weights
    return Makeup(found.convolutions, found.products, found.recurrent, softmax > 0 and activations > 1)


def _with(found: Makeup, kind: str, weights: int) -> Makeup:
    return Makeup(
        found.convolutions + weights * (kind in _CONVOLUTIONS),
        found.products + weights * (kind in (*_PRODUCTS, *_ATTENTION)),
        found.recurrent + weights * (kind in _RECURRENT),
        found.attention or kind in _ATTENTION,
    )


def _graphs(model: Any) -> Iterator[tuple[Any, dict[str, int]]]:
    """Nodes of every graph in a model, and the sizes of its constants by name."""
    outer = {t.name: prod(t.dims) for t in model.graph.initializer}
    yield model.graph.node, outer
    for graph in _inner(model.graph.node):
        yield graph.node, outer | {t.name: prod(t.dims) for t in graph.initializer}


def _inner(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield graph
                yield from _inner(graph.node)
