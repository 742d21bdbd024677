"""Weight-only int8 and int4: activations stay float, weights are stored in 8 or 4 bits.

A product's weight is quantised in groups along the axis that is summed over, by the plain `definition`; onnxruntime's
MatMulNBits multiplies with it as it is. Embedding tables get int8 rows. Convolutions and recurrent layers have no such
kernel: theirs are stored in 8 bits with a scale per channel and widened while the model loads, so that they compute as
fast as float, in float's memory, from a quarter of the file. Everything else stays as it was.

Works for models of any size: the graph is read without its weights, and tensors are taken from their file one by
one, block by block, and appended to the new file. Nothing is ever held whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder.convert import float_kind, strip
from edgelift_builder.optimise import opset, prepare, unquantisable, widen
from edgelift_builder.optimise.narrow_nodes import NodeRewriter
from edgelift_builder.optimise.tensor_file import TensorFile, Weights
from edgelift_builder.piece import Piece, graph_files
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, failed, on_step_failure
from edgelift_builder.recipe import FLOAT
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: First onnxruntime with MatMulNBits, by bits (release notes 1.17 and 1.22).
_SINCE = {4: ">=1.17", 8: ">=1.22"}

#: Lets onnxruntime fold what widens weights, once at load. It keeps that otherwise for kernels of quantised pairs, which
#: there are none of here, and would widen anew in every run.
FOLDED = {"session.disable_quant_qdq": "1"}


class WeightOnly:
    """float ONNX → ONNX with weights in 8 or 4 bits and float activations."""

    name = "weight-only"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """`bits`: 8 or 4; `group`: weights that share a scale: 16, 32, 64, 128 or 256; `stored`: products too are only
        stored in 8 bits, with a scale per channel, and widened at load.
        """
        known = {"bits": 8, "group": 32, "stored": False}
        return check_options(self.name, options, known, {"bits": [*_SINCE], "group": (16, 32, 64, 128, 256)})

    def requires(self, piece: Piece) -> None:
        """Only a float ONNX graph."""
        demand(self.name, piece, "onnx")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Quantise in the child.

        Raises:
            ContractError: `conversion-failed`, also when there is no weight to quantise.
        """
        files, left, kinds = context.child.call(
            quantise, str(piece.model_path), settings, str(folder), on_failure=on_step_failure(self.name)
        )
        roles = graph_files(files)
        made = Piece(
            "onnx", "", folder, roles, precision=f"int{settings['bits']}", left_float=tuple(left),
            runtime_range=_SINCE[settings["bits"]] if "MatMulNBits" in kinds else "",
            widened="DequantizeLinear" in kinds,
        )  # fmt: skip
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """Smaller than before."""
        sizes = [sum((p.folder / path).stat().st_size for path, _ in p.files) for p in (before, result.piece)]
        if sizes[1] >= sizes[0]:
            raise failed(self.name, "the quantised graph is not smaller than the float graph")


def quantise(model: str, settings: dict[str, Any], folder: str) -> tuple[list[str], list[str], set[str]]:
    """In the child: write the quantised graph; return its files, the heavy operators whose weights stayed float, and the
    kinds of its nodes.

    Raises:
        ContractError: `conversion-failed` when no weight could be narrowed.
    """
    import onnx

    path, folded = Path(model), None
    other = float_kind.of_file(path) != FLOAT
    if other and prepare.over_limit(path) and not settings.get("stored", False):
        path = folded = widen.by_tensor(path, Path(folder))
    elif other or settings.get("stored", False) or _is_old(path):
        # Weights that come out of other nodes, as an exported LSTM's, are constants once those are folded.
        path = folded = prepare.prepare(path, Path(folder))
    proto = onnx.load(path, load_external_data=False)
    done = False
    with TensorFile(Path(folder) / strip.WEIGHTS) as store:
        rewriter = NodeRewriter(
            proto,
            Weights(path, proto),
            store,
            settings["bits"],
            settings["group"],
            stored=settings.get("stored", False),
        )
        for node in list(proto.graph.node):
            done |= rewriter.node(node)
        rewriter.finish()
    if folded is not None:
        folded.unlink()
        (Path(folder) / widen.WEIGHTS).unlink(missing_ok=True)
    if not done:
        raise unquantisable.classical(proto.graph) or ContractError(
            "conversion-failed",
            "The graph has no layer with constant weights that are worth narrowing, so there is nothing to do.",
            hint="Leave it in float: what 8 bits would save is less than what stands around them.",
        )
    strip.scrub(proto)
    proto.ir_version, proto.producer_name, proto.producer_version = (
        min(proto.ir_version, strip.IR_VERSION),
        "edgelift",
        "",
    )
    (Path(folder) / strip.MODEL).write_bytes(proto.SerializeToString(deterministic=True))
    floats = {t.name for t in proto.graph.initializer if len(t.dims) > 1}
    left = [f"{n.name or n.output[0]} ({n.op_type})" for n in proto.graph.node if prepare.has_weights(n, floats)]
    return [strip.MODEL, strip.WEIGHTS], left, {node.op_type for node in proto.graph.node}


def _is_old(model: Path) -> bool:
    """Is it of an opset without scales per channel; old files are small."""
    import onnx

    return 0 < opset.version(onnx.load(model, load_external_data=False)) < opset.LEAST
