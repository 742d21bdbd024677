"""Takes apart what onnxruntime has fused, into the standard operators that quantisers know.

A file that onnxruntime optimised holds its own operators (`com.microsoft`): a convolution with its activation, a product
with a transposition. No quantiser has a form for them, and shape inference stops there. What each computes is in
onnxruntime's docs/ContribOperators.md; the ones that are not here stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

DOMAIN = "com.microsoft"


class _Writer:
    """Nodes and constants that stand for one fused node; names begin with the name of what it makes."""

    def __init__(self, fused: Any, model: Any) -> None:
        import onnx

        self._onnx, self._model, self.fused = onnx, model, fused
        self.options = {a.name: onnx.helper.get_attribute_value(a) for a in fused.attribute}
        self.given = [*fused.input, *[""] * 6]
        self.made = fused.output[0]
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, to: str = "", **options: Any) -> str:
        """A node; returns the name of what it makes, `to` where that is given."""
        out = to or f"{self.made}/{operator}_{len(self.nodes)}"
        name = f"{self.fused.name or self.made}/{operator}_{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operator, list(inputs), [out], name=name, **options))
        return out

    def number(self, value: float) -> str:
        """A constant of the graph's own float type."""
        name = f"{self.made}/number_{len(self.constants)}"
        array = np.array(value, dtype=np.float32)
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def option(self, name: str, usual: Any) -> Any:
        """An attribute of the fused node."""
        return self.options.get(name, usual)

    def opset(self) -> int:
        """Of the standard operators."""
        return max((o.version for o in self._model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def unfused(model: Any) -> Any:
    """`model` with standard operators in place of the fused ones; as it is where there are none, or it is not float32."""
    import onnx

    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    while not half and _fused(model):
        made = _taken_apart(model)  # shapes behind a fused operator are known once it is apart
        if _fused(made) == _fused(model):
            break
        model = made
    return model


def _fused(model: Any) -> int:
    return sum(node.domain == DOMAIN and node.op_type in _APART for node in model.graph.node)


def _taken_apart(model: Any) -> Any:
    import onnx

    made = type(model)()
    made.CopyFrom(model)
    ranks = _ranks(model)
    kept: list[Any] = []
    for node in model.graph.node:
        writer = _Writer(node, model)
        apart = _APART.get(node.op_type) if node.domain == DOMAIN else None
        if apart is None or not apart(writer, ranks):
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
            continue
        kept += writer.nodes
        made.graph.initializer.extend(writer.constants)
    del made.graph.node[:]
    made.graph.node.extend(kept)
    return made


def _ranks(model: Any) -> dict[str, int]:
    """Number of axes of each tensor, as far as it is known."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    ranks = {t.name: len(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return ranks


def _activation(writer: _Writer, x: str, kind: str, params: list[float], to: str) -> bool:
    names = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}
    if kind in ("Relu", "Tanh", "Sigmoid", *names):
        writer.add(kind, x, to=to, **dict(zip(names.get(kind, ()), params, strict=False)))
    elif kind == "Clip":
        writer.add("Clip", x, writer.number(params[0]), writer.number(params[1]), to=to)
    else:
        return False
    return True


def _conv(writer: _Writer, _ranks: dict[str, int]) -> bool:
    own = ("activation", "activation_params")
    options = {name: value for name, value in writer.options.items() if name not in own}
    x, w, bias, more = writer.given[:4]
    made = writer.add("Conv", *([x, w, bias] if bias else [x, w]), **options)
    made = writer.add("Add", made, more) if more else made
    kind = writer.option("activation", b"").decode()
    return _activation(writer, made, kind, list(writer.option("activation_params", [])), writer.made)


def _gemm(writer: _Writer, _ranks: dict[str, int]) -> bool:
    own = {n: v for n, v in writer.options.items() if not n.startswith("activation")}
    made = writer.add("Gemm", *[name for name in writer.given[:3] if name], **own)
    params = [writer.option(f"activation_{n}", 0.0) for n in ("alpha", "beta")]
    return _activation(writer, made, writer.option("activation", b"").decode(), params, writer.made)


def _matmul(writer: _Writer, ranks: dict[str, int]) -> bool:
    if writer.option("transBatchA", 0) or writer.option("transBatchB", 0):
        return False
    sides = []
    for name, option in zip(writer.given, ("transA", "transB"), strict=False):
        if writer.option(option, 0):
            if ranks.get(name, 0) < 2:
                return False
            axes = list(range(ranks[name]))
            name = writer.add("Transpose", name, perm=[*axes[:-2], axes[-1], axes[-2]])
        sides.append(name)
    alpha = writer.option("alpha", 1.0)
    if alpha == 1.0:
        writer.add("MatMul", *sides, to=writer.made)
    else:
        writer.add("Mul", writer.add("MatMul", *sides), writer.number(alpha), to=writer.made)
    return True


def _gelu(writer: _Writer, _ranks: dict[str, int]) -> bool:
    """X · (1 + erf(x / √2)) / 2."""
    x = writer.add("Add", *writer.given[:2]) if writer.given[1] else writer.given[0]
    bell = writer.add("Erf", writer.add("Mul", x, writer.number(0.5**0.5)))
    half = writer.add("Mul", x, writer.number(0.5))
    writer.add("Mul", half, writer.add("Add", bell, writer.number(1.0)), to=writer.made)
    return True


def _fast_gelu(writer: _Writer, _ranks: dict[str, int]) -> bool:
    """X · (1 + tanh(x · (0.79788456 + 0.03567741 x²))) / 2, as its kernel has it."""
    x = writer.add("Add", *writer.given[:2]) if writer.given[1] else writer.given[0]
    bent = writer.add("Mul", writer.add("Mul", x, x), writer.number(0.035677408136300125))
    inner = writer.add("Mul", x, writer.add("Add", bent, writer.number(0.7978845608028654)))
    half = writer.add("Mul", x, writer.number(0.5))
    writer.add("Mul", half, writer.add("Add", writer.add("Tanh", inner), writer.number(1.0)), to=writer.made)
    return True


def _quick_gelu(writer: _Writer, _ranks: dict[str, int]) -> bool:
    """X · sigmoid(alpha · x)."""
    x, alpha = writer.given[0], writer.option("alpha", 1.702)
    inner = x if alpha == 1.0 else writer.add("Mul", x, writer.number(alpha))
    writer.add("Mul", x, writer.add("Sigmoid", inner), to=writer.made)
    return True


def _skip_norm(writer: _Writer, _ranks: dict[str, int]) -> bool:
    """LayerNormalization(x + skip + bias); the fourth output is that sum."""
    outputs = [*writer.fused.output, *[""] * 4]
    if outputs[1] or outputs[2] or writer.opset() < 17:  # before 17 there is no such standard operator
        return False
    x, skip, gamma, beta, bias = writer.given[:5]
    if bias:
        skip = writer.add("Add", skip, bias)
    total = writer.add("Add", x, skip, to=outputs[3])
    norm = [total, gamma, *([beta] if beta else [])]
    writer.add("LayerNormalization", *norm, to=writer.made, axis=-1, epsilon=writer.option("epsilon", 1e-12))
    return True


_APART: dict[str, Callable[[_Writer, dict[str, int]], bool]] = {
    "FusedConv": _conv, "FusedGemm": _gemm, "FusedMatMul": _matmul, "TransposeMatMul": _matmul, "Gelu": _gelu,
    "BiasGelu": _gelu, "FastGelu": _fast_gelu, "QuickGelu": _quick_gelu, "SkipLayerNormalization": _skip_norm,
}  # fmt: skip
