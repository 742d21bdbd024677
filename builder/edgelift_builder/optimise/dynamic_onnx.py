"""Dynamic int8 of an ONNX graph: weights in 8 bits, activations quantised anew in every run.

Needs no calibration and loses little on transformers, whose activations vary too much for fixed ranges. Only
matrix products, embeddings, attention and LSTM have such kernels. Convolutions would become `ConvInteger`, which
onnxruntime does not load on the processor (onnxruntime#15888), and GRU has no integer form: both stay float and
the piece says so. At load the runtime fuses each product into DynamicQuantizeMatMul or MatMulIntegerToFloat.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.convert import strip
from edgelift_builder.optimise import prepare
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: Operators with a dynamic integer kernel, as onnxruntime.quantization names them; Gemm becomes MatMul and Add.
DYNAMIC = ("MatMul", "Gather", "Attention", "LSTM", "EmbedLayerNormalization")

_INTEGER = ("MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention")


class DynamicInt8Onnx:
    """float ONNX → ONNX with int8 weights in matrix products, embeddings and LSTM."""

    name = "dynamic-int8-onnx"

    def settings(self, options: dict[str, Any], target: Target) -> dict[str, Any]:
        """`per_channel`: one scale for each output channel of a weight; the range is the target's."""
        chosen = check_options(self.name, options, {"per_channel": False})
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
        files, left = context.child.call(
            quantise, str(piece.model_path), settings, str(folder), on_failure=on_step_failure(self.name)
        )
        roles = graph_files(files)
        made = Piece("onnx", "", folder, roles, precision="int8", left_float=tuple(left))
        return StepOutput(made, changed=True)

    def ensures(self, _before: Piece, result: StepOutput) -> None:
        """Nothing in it that onnxruntime cannot load."""
        if "ConvInteger" in {kind for kind, _ in strip.operators(result.piece.model_path)}:
            raise failed(self.name, "the graph has ConvInteger, for which onnxruntime has no kernel")


def quantise(model: str, settings: dict[str, Any], folder: str) -> tuple[list[str], list[str]]:
    """In the child: write the quantised graph; return its files, and the heavy operators left float.

    Raises:
        ContractError: `conversion-failed` when nothing was quantised, naming what would need static int8.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out = Path(folder)
    ready, raw = prepare.prepare(Path(model), out), out / "raw.onnx"
    quantize_dynamic(
        str(ready),
        str(raw),
        op_types_to_quantize=list(DYNAMIC),
        per_channel=settings["per_channel"],
        reduce_range=settings["reduce_range"],
        weight_type=QuantType.QInt8,
        # A product of two activations gains nothing: both would be quantised in every run.
        extra_options={"MatMulConstBOnly": True},
    )
    graph = onnx.load(raw).graph
    left = [
        f"{name} ({kind})" for name, kind in prepare.layers(graph)
    ]  # with weights: products of two activations stay
    if not any(node.op_type in _INTEGER for node in graph.node):
        raise ContractError(
            "conversion-failed",
            "Nothing in the graph can be quantised dynamically; its heavy operators are "
            f"{', '.join(left[:4]) or 'none'}{' …' if len(left) > 4 else ''}.",
            hint="Use static-int8, which quantises convolutions too.",
        )
    files = strip.store(raw, out)
    for path in (ready, raw):
        path.unlink()
    return files, left
