"""Dynamic int8 of an ONNX graph: weights in 8 bits, activations quantised anew in every run.

Needs no calibration and loses little on transformers, whose activations vary too much for fixed ranges. Only
matrix products, attention and LSTM have such kernels; embeddings get 8 bits beside them, see `embedding_rows`. A scale
per channel costs half a per cent of size and no time, and a trained sentence encoder keeps a cosine of 0.99 instead of
0.88. Convolutions would become `ConvInteger`, which
onnxruntime does not load on the processor (onnxruntime#15888), and GRU has no integer form: both stay float and
the piece says so. At load the runtime fuses each product into DynamicQuantizeMatMul or MatMulIntegerToFloat.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from edgelift_builder.convert import strip
from edgelift_builder.optimise import embedding_rows, prepare, saturation, unquantisable
from edgelift_builder.optimise.untie import remark, untie
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: Operators with a dynamic integer kernel, as onnxruntime.quantization names them; Gemm becomes MatMul and Add.
DYNAMIC = ("MatMul", "Attention", "LSTM", "EmbedLayerNormalization")

#: Smaller weights are left alone, elements: quantising what meets them costs the time that the product would save, and a
#: net's last layer, which is often so small, makes most of the noise.
LEAST_ELEMENTS = 4096

_INTEGER = ("MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention")


class DynamicInt8Onnx:
    """float ONNX → ONNX with int8 weights in matrix products, embeddings and LSTM."""

    name = "dynamic-int8-onnx"

    def settings(self, options: dict[str, Any], target: Target) -> dict[str, Any]:
        """`per_channel`: one scale for each output channel of a weight; whether pairs may saturate is the target's."""
        chosen = check_options(self.name, options, {"per_channel": True})
        scheme = target.int8.get("onnxruntime")
        if scheme is None:
            raise ContractError(
                "step-failed", f"The target {target.name} names no int8 scheme for onnxruntime, so it stays float."
            )
        return chosen | {"reduce_range": scheme.reduce_range}

    def requires(self, piece: Piece) -> None:
        """Only a float ONNX graph."""
        demand(self.name, piece, "onnx")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Quantise in the child.

        Raises:
            ContractError: `conversion-failed`, also when nothing in the graph can be quantised dynamically.
        """
        files, left, tied = context.child.call(
            quantise, str(piece.model_path), settings, str(folder), on_failure=on_step_failure(self.name)
        )
        roles = graph_files(files)
        made = Piece("onnx", "", folder, roles, precision="int8", left_float=tuple(left), remarks=remark(tied))
        return StepOutput(made, changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """Nothing in it that onnxruntime cannot load."""
        if "ConvInteger" in {kind for kind, _ in strip.operators(result.piece.model_path)}:
            raise failed(self.name, "the graph has ConvInteger, for which onnxruntime has no kernel")


def quantise(model: str, settings: dict[str, Any], folder: str) -> tuple[list[str], list[str], list[str]]:
    """In the child: write the quantised graph; return its files, what was left float, and the tensors that were tied.

    Raises:
        ContractError: `conversion-failed` when nothing was quantised: what is too small, or would need static int8.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.onnx_model import ONNXModel

    out = Path(folder)
    ready, raw = prepare.prepare(Path(model), out), out / "raw.onnx"
    plain = ONNXModel(onnx.load(ready))
    tied = untie(plain.model)
    plain.replace_gemm_with_matmul()
    embedding_rows.narrow(plain.model)
    per_channel, saturates = settings["per_channel"], settings["reduce_range"]
    quantize_dynamic(
        plain.model,
        str(raw),
        op_types_to_quantize=list(DYNAMIC),
        per_channel=per_channel,
        reduce_range=False,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=left_alone(plain.model.graph),
        extra_options={
            # A product of two activations gains nothing: both would be quantised in every run.
            "MatMulConstBOnly": True,
            "TensorQuantOverrides": _within_pairs(plain.model.graph, per_channel=per_channel) if saturates else {},
        },
    )
    graph = onnx.load(raw).graph
    if not any(node.op_type in _INTEGER for node in graph.node):
        raise _nothing(graph)
    # with weights: products of activations stay
    left = [f"{name} ({kind})" for name, kind in prepare.layers(graph)]
    files = strip.store(raw, out)
    for path in (ready, raw):
        path.unlink()
    return files, left, tied


def _nothing(graph: Any) -> ContractError:
    """The refusal for a graph in which nothing was quantised."""
    small = small_products(graph)
    others = [f"{name} ({kind})" for name, kind in prepare.layers(graph) if name not in small]
    said, hints = [], []
    if small:
        which = f"{len(small)} matrix products are" if len(small) > 1 else "matrix product is"
        said.append(
            f"its {which} too small to gain, of {max(small.values())} weights at most, where about {LEAST_ELEMENTS} pay"
        )
        hints.append("static-int8, which quantises small ones too")
    if others:
        said.append(f"there is no dynamic form of {unquantisable.shortened(others)}")
        hints.append("static-int8, which quantises convolutions too")
    return unquantisable.classical(graph) or ContractError(
        "conversion-failed",
        f"Nothing in the graph can be quantised dynamically: {', and '.join(said) or 'it has no layer with weights'}.",
        hint=f"Use {hints[0]}, or leave it in float." if hints else "Leave it in float.",
    )


def small_products(graph: Any) -> dict[str, int]:
    """Matrix products whose constant weights are too few to gain: the node's name → how many."""
    sizes = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    return {
        node.name: sizes[node.input[1]]
        for node in graph.node
        if node.op_type == "MatMul" and sizes.get(node.input[1], LEAST_ELEMENTS) < LEAST_ELEMENTS
    }


def left_alone(graph: Any) -> list[str]:
    """Nodes that stay float: small products, and LSTMs of another layout than the quantiser's, which would forget it."""
    turned = [
        node.name
        for node in graph.node
        if node.op_type == "LSTM" and any(a.name == "layout" and a.i for a in node.attribute)
    ]
    return [*small_products(graph), *turned]


def _within_pairs(graph: Any, *, per_channel: bool) -> dict[str, list[dict[str, Any]]]:
    """Each product's weights with the range of every channel, or of all, see `saturation`, in the quantiser's words."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in graph.node:
        for name in node.input[1 : {"MatMul": 2, "LSTM": 3, "Attention": 2}.get(node.op_type, 1)]:
            if name not in weights:
                continue
            if node.op_type == "LSTM":  # whose ranges the quantiser does not take one by one: seven bits
                found[name] = [{"axis": 0, "reduce_range": True}]
                continue
            array = numpy_helper.to_array(weights[name])
            reach = saturation.ranges(array, -2).reshape(-1, array.shape[-1]).max(axis=0)
            if per_channel:
                found[name] = [{"axis": array.ndim - 1, "rmin": -r, "rmax": r} for r in reach]
            else:
                found[name] = [{"rmin": -reach.max(), "rmax": reach.max()}]
    return found
