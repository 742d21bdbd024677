"""Nodes with narrow weights in the place of those with wide ones: matrix products, embedding tables, and convolutions and
recurrent layers, whose weights are stored in 8 bits and widened by DequantizeLinear once, when the runtime folds constants.

MatMulNBits' form (onnxruntime docs/ContribOperators.md): B[N][K/group][group · bits / 8] as bytes, the lower half
of a byte first; unsigned with the zero point in the middle of the range, so q + 2^(bits-1) is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgelift_builder.data import Array
from edgelift_builder.optimise import definition, opset
from edgelift_builder.optimise.balance import balanced
from edgelift_builder.optimise.tensor_file import TensorFile, Weights
from edgelift_contract.errors import ContractError

#: Smaller weights are left alone, elements: their scales and the nodes around them would cost what they save.
LEAST_ELEMENTS = 4096

#: The same where weights are only stored narrow: no node computes there.
LEAST_STORED = 1024

#: Rows of a weight taken at once are limited to this many elements.
BLOCK_ELEMENTS = 1 << 20

#: MatMulNBits' attribute: compute with int8 activations, quantised block by block while running.
_ACCURACY_INT8 = 4


#: Operators without a kernel for narrow weights: which inputs are weights, and along which axis each has its channels.
_WIDENED = {
    "Conv": ((1,), 0), "ConvTranspose": ((1,), 1), "LSTM": ((1, 2), 1), "GRU": ((1, 2), 1), "RNN": ((1, 2), 1)
}  # fmt: skip


#: Ends the names of tensors that are widened.
_SUFFIX = "_widened"


class NodeRewriter:
    """Puts narrow weights in the place of wide ones, node by node; then carries over what is left."""

    def __init__(
        self, proto: Any, weights: Weights, store: TensorFile, bits: int, group: int, *, stored: bool = False
    ) -> None:
        self._proto, self._weights, self._store, self._bits, self._group = proto, weights, store, bits, group
        self._made: dict[tuple[str, str], list[Any]] = {}
        self._nodes: list[Any] = []
        self._least = LEAST_ELEMENTS if not stored else LEAST_STORED
        has_channels = opset.version(proto) >= opset.LEAST
        self._widen = (*_WIDENED, *(("MatMul", "Gemm") if stored else ())) if has_channels else ()

    def node(self, node: Any) -> bool:
        """Copy a node into the new graph, rewritten if its weights can be narrow; was it."""
        if node.op_type in self._widen:
            self._nodes += [*self._widened(node), node]
            return any(name.endswith(_SUFFIX) for name in node.input)
        rewrite: Callable[[Any], list[Any] | None] = {
            "MatMul": self._matmul, "Gemm": self._gemm, "Gather": self._gather,
        }.get(node.op_type, lambda _: None)  # fmt: skip
        weight = node.input[0 if node.op_type == "Gather" else 1] if len(node.input) > 1 else ""
        wide = self._weights.get(weight)
        fits = wide is not None and len(wide.dims) == 2 and int(np.prod(wide.dims)) >= LEAST_ELEMENTS
        made = rewrite(node) if fits else None
        self._nodes += made or [node]
        return made is not None

    def finish(self) -> None:
        """Take the nodes over, drop weights that nobody reads, carry the others into the new file."""
        import onnx

        graph = self._proto.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
        kept = [t for t in graph.initializer if t.name in used]
        fresh = [t for made in self._made.values() for t in made]
        del graph.initializer[:]
        graph.initializer.extend([*(self._store.carry(t, self._weights) for t in kept), *fresh])
        if not any(o.domain == "com.microsoft" for o in self._proto.opset_import):
            self._proto.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))

    def _widened(self, node: Any) -> list[Any]:
        """Let a node read weights that are stored in 8 bits; the nodes that widen them."""
        import onnx

        places, axis = _WIDENED.get(node.op_type, ((1,), _columns(node)))
        fresh = []
        for place in places:
            name = node.input[place]
            wide = self._weights.get(name)
            if wide is None or len(wide.dims) <= axis or int(np.prod(wide.dims)) < self._least:
                continue
            key, out = (name, f"axis {axis}"), f"{name}_{axis}{_SUFFIX}"
            if key not in self._made:
                self._made[key] = self._channels(name, axis)
                values, scale = self._made[key]
                fresh.append(
                    onnx.helper.make_node("DequantizeLinear", [values.name, scale.name], [out], out, axis=axis)
                )
            node.input[place] = out
        return fresh

    def _channels(self, name: str, axis: int) -> list[Any]:
        wide = self._weights.array(name)
        made = _quantise(name, wide, definition.PerChannel(axis), 8)
        values = self._store.begin(f"{name}_{axis}_q8", "int8", made.values.shape)
        values.write(balanced(wide, made.scale, axis))
        scale = self._store.begin(f"{name}_{axis}_channel_scale", "float32", (made.scale.size,))
        scale.write(made.scale)
        self._weights.forget(name)
        return [values.tensor, scale.tensor]

    def _matmul(self, node: Any) -> list[Any]:
        return [self._product(node, node.input[0], node.input[1], node.output[0], transposed=False)]

    def _gemm(self, node: Any) -> list[Any] | None:
        import onnx

        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if given.get("transA", 0) or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
            return None
        biased = len(node.input) > 2 and node.input[2]
        out = f"{node.output[0]}_product" if biased else node.output[0]
        product = self._product(node, node.input[0], node.input[1], out, transposed=bool(given.get("transB", 0)))
        if not biased:
            return [product]
        return [
            product,
            onnx.helper.make_node("Add", [out, node.input[2]], list(node.output), f"{node.name}_bias"),
        ]

    def _product(self, node: Any, given: str, weight: str, out: str, *, transposed: bool) -> Any:
        import onnx

        wide = self._weights.array(weight)
        n, k = wide.shape if transposed else wide.shape[::-1]
        key = (weight, "nbits")
        if key not in self._made:
            by_row = wide if transposed else wide.T
            self._made[key] = self._narrow(weight, by_row)
        packed, scales = self._made[key]
        return onnx.helper.make_node(
            "MatMulNBits", [given, packed.name, scales.name], [out], f"{node.name or out}_nbits",
            domain="com.microsoft", K=k, N=n, bits=self._bits, block_size=self._group, accuracy_level=_ACCURACY_INT8,
        )  # fmt: skip

    def _narrow(self, name: str, by_row: Array) -> list[Any]:
        """Pack a weight [N, K] group by group; both tensors as they stand in the new file."""
        n, k = by_row.shape
        groups, scales = -(-k // self._group), []
        packed = self._store.begin(f"{name}_q{self._bits}", "uint8", (n, groups, self._group * self._bits // 8))
        for start in range(0, n, max(1, BLOCK_ELEMENTS // k)):
            rows = np.asarray(by_row[start : start + max(1, BLOCK_ELEMENTS // k)], dtype=np.float32)
            rows = np.pad(rows, ((0, 0), (0, groups * self._group - k)))
            made = _quantise(name, rows, definition.PerGroup(self._group), self._bits)
            packed.write(pack(made.values, self._bits))
            scales.append(made.scale)
        scale = self._store.begin(f"{name}_scale", "float32", (n * groups,))
        for part in scales:
            scale.write(part)
        self._weights.forget(name)
        return [packed.tensor, scale.tensor]

    def _gather(self, node: Any) -> list[Any] | None:
        """An embedding: int8 rows, and each row's scale, looked up by the same index."""
        import onnx
        from onnx import helper

        if any(a.name == "axis" and a.i != 0 for a in node.attribute):
            return None
        table, index, out = node.input[0], node.input[1], node.output[0]
        key = (table, "rows")
        if key not in self._made:
            self._made[key] = self._rows(table)
        values, scale = self._made[key]
        stem = node.name or out
        return [
            helper.make_node("Gather", [values.name, index], [f"{out}_q"], f"{stem}_q"),
            helper.make_node("Cast", [f"{out}_q"], [f"{out}_wide"], f"{stem}_wide", to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [scale.name, index], [f"{out}_s"], f"{stem}_s"),
            helper.make_node("Mul", [f"{out}_wide", f"{out}_s"], [out], stem),
        ]

    def _rows(self, name: str) -> list[Any]:
        table, scales = self._weights.array(name), []
        values = self._store.begin(f"{name}_rows", "int8", table.shape)
        for start in range(0, len(table), max(1, BLOCK_ELEMENTS // table.shape[1])):
            rows = np.asarray(table[start : start + max(1, BLOCK_ELEMENTS // table.shape[1])], dtype=np.float32)
            made = _quantise(name, rows, definition.PerChannel(0), 8)
            values.write(made.values)
            scales.append(made.scale)
        scale = self._store.begin(f"{name}_row_scale", "float32", (len(table), 1))
        for part in scales:
            scale.write(part)
        self._weights.forget(name)
        return [values.tensor, scale.tensor]


def _columns(node: Any) -> int:
    """The axis of a product's weights that makes its outputs."""
    return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1


def pack(values: Array, bits: int) -> Array:
    """Signed values in [-q_max, q_max] as MatMulNBits stores them: uint8, 4-bit pairs with the lower half first."""
    unsigned: Array = (values.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    return unsigned if bits == 8 else np.bitwise_or(unsigned[..., 0::2], unsigned[..., 1::2] << 4)


def _quantise(name: str, rows: Array, granularity: definition.Granularity, bits: int) -> definition.Quantised:
    try:
        return definition.quantise(rows, granularity, bits)
    except ValueError as error:
        raise ContractError("source-invalid", f"The weight {name} holds NaN or infinity.") from error
