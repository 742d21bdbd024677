"""TFLite files of every kind, written tensor by tensor through LiteRT's own schema: no converter, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

Array = Any
_TYPES = {
    "float32": schema.TensorType.FLOAT32, "float16": schema.TensorType.FLOAT16, "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8, "int32": schema.TensorType.INT32, "int64": schema.TensorType.INT64,
    "resource": schema.TensorType.RESOURCE, "bool": schema.TensorType.BOOL,
}  # fmt: skip


class Net:
    """A model of one subgraph, built from the front to the back; tensors are known by their names."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers, self.model.operatorCodes, self.model.signatureDefs = [schema.BufferT()], [], []
        self.model.metadata = []
        self.model.subgraphs = []
        self.graph = self.subgraph("main")

    def subgraph(self, name: str) -> Any:
        graph = schema.SubGraphT()
        graph.name = name.encode()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)
        self.graph = graph
        return graph

    def tensor(
        self, name: str, shape: Sequence[int], kind: str = "float32", *, content: Array | None = None,
        scale: Sequence[float] = (), zero: Sequence[int] = (), axis: int = 0, variable: bool = False,
    ) -> str:  # fmt: skip
        made = schema.TensorT()
        made.name, made.type, made.buffer, made.isVariable = name.encode(), _TYPES[kind], 0, variable
        made.shape = [max(n, 1) for n in shape]
        made.hasRank = True
        if any(n < 0 for n in shape):
            made.shapeSignature = list(shape)
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        made.quantization = schema.QuantizationParametersT()
        if scale:
            made.quantization.scale = list(scale)
            made.quantization.zeroPoint = list(zero or [0] * len(scale))
            made.quantization.quantizedDimension = axis
        self.graph.tensors.append(made)
        return name

    def constant(self, name: str, content: Array, **more: Any) -> str:
        return self.tensor(name, content.shape, content.dtype.name, content=content, **more)

    def index(self, name: str) -> int:
        return next(i for i, t in enumerate(self.graph.tensors) if t.name == name.encode())

    def op(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], options: Any = None) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        known = [i for i, c in enumerate(self.model.operatorCodes) if c.builtinCode == code.builtinCode]
        if not known:
            self.model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex = known[0] if known else len(self.model.operatorCodes) - 1
        made.inputs = [-1 if n == "" else self.index(n) for n in inputs]
        made.outputs = [self.index(n) for n in outputs]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(made)

    def version(self, kind: str, number: int) -> None:
        for code in self.model.operatorCodes:
            if code.builtinCode == getattr(schema.BuiltinOperator, kind):
                code.version = number

    def ends(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.graph.inputs = [self.index(n) for n in inputs]
        self.graph.outputs = [self.index(n) for n in outputs]

    def sign(self, key: str, inputs: dict[str, str], outputs: dict[str, str], subgraph: int = 0) -> None:
        made = schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key.encode(), subgraph
        made.inputs, made.outputs = self._map(inputs), self._map(outputs)
        self.model.signatureDefs.append(made)

    def _map(self, names: dict[str, str]) -> list[Any]:
        made = []
        for name, tensor in names.items():
            pair = schema.TensorMapT()
            pair.name, pair.tensorIndex = name.encode(), self.index(tensor)
            made.append(pair)
        return made

    def write(self, path: Path) -> Path:
        flatbuffer_utils.write_model(self.model, str(path))
        return path


def dense(net: Net, x: str, name: str, weights: Array, bias: Array, *, relu: bool = False, **shape: Any) -> str:
    """`y = x · Wᵀ + b`, weights float32[out, in]."""
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = int(relu)
    options.keepNumDims = bool(shape.get("keep", False))
    out = net.tensor(name, shape.get("of", (1, len(weights))))
    w = net.constant(f"{name}/w", weights)
    net.op("FULLY_CONNECTED", [x, w, net.constant(f"{name}/b", bias)], [out], options)
    return out


def weights(seed: int = 0, inputs: int = 8, hidden: int = 16, classes: int = 3) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(hidden, inputs)).astype(np.float32), rng.normal(size=hidden).astype(np.float32),
        rng.normal(size=(classes, hidden)).astype(np.float32), np.zeros(classes, np.float32),
    ]  # fmt: skip


def answer(x: Array, ws: list[Array]) -> Array:
    """What `plain` says, by numpy: float32[n, 8] → float32[n, 3]."""
    return np.maximum(x @ ws[0].T + ws[1], 0) @ ws[2].T + ws[3]


def plain(rows: int = 1, x: str = "serving_default_x:0", y: str = "StatefulPartitionedCall:0") -> Net:
    """`x: float32[rows, 8]` → `y: float32[rows, 3]`, two dense layers, as older converters name things; no signature."""
    net, ws = Net(), weights()
    net.tensor(x, (rows, 8))
    hidden = dense(net, x, "hidden", ws[0], ws[1], relu=True, of=(rows, 16))
    dense(net, hidden, y, ws[2], ws[3], of=(rows, 3))
    net.ends([x], [y])
    return net
