"""Static int8 of an ONNX graph: weights and activations in 8 bits, ranges from calibration data.

A real value r is stored as q = round(r / scale) + zero_point; onnxruntime's quantiser places
QuantizeLinear/DequantizeLinear pairs (QDQ form), which the runtime fuses into integer kernels. The scheme is the
target's, because the kernels are: see `targets`. What the ranges are is `calibration`'s business, which layers go
back to float `accuracy_control`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgelift_builder.convert import strip
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import (
    accuracy_control,
    balance,
    calibration,
    embedding_rows,
    kept_float,
    prepare,
    unquantisable,
    verdict,
)
from edgelift_builder.optimise.untie import remark, untie
from edgelift_builder.piece import LayerLoss, Piece, Range, graph_files
from edgelift_builder.pipeline import (
    StepContext,
    StepOutput,
    check_options,
    demand,
    demand_data,
    failed,
    on_step_failure,
)
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

_CHOICES = {"calibration": calibration.METHODS, "granularity": ("target", "tensor", "channel")}


class StaticInt8:
    """float ONNX → int8 ONNX in QDQ form."""

    name = "static-int8"
    keeps_budget = True

    def settings(self, options: dict[str, Any], target: Target) -> dict[str, Any]:
        """The recipe's options; the rest is the target's scheme.

        `calibration`: `minmax`, `percentile` or `entropy`; `percentile`: of values kept in range; `granularity`:
        one scale a `tensor` or a `channel` of weights, or the `target`'s choice; `revert`: most layers that may
        go back to float to keep the accuracy budget.
        """
        known = {"calibration": "minmax", "percentile": 99.99, "granularity": "target", "revert": 0}
        chosen = check_options(self.name, options, known, _CHOICES)
        scheme = target.int8.get("onnxruntime")
        if scheme is None:
            raise ContractError(
                "step-failed", f"The target {target.name} names no int8 scheme for onnxruntime, so it stays float."
            )
        granularity = chosen.pop("granularity")
        return chosen | {
            "activation": scheme.activation,
            "weight": scheme.weight,
            "reduce_range": scheme.reduce_range,
            "per_channel": scheme.per_channel if granularity == "target" else granularity == "channel",
            "symmetric": scheme.symmetric,
            "session": msgspec.to_builtins(target.session("onnxruntime")),
        }

    def requires(self, piece: Piece) -> None:
        """Only a float ONNX graph."""
        demand(self.name, piece, "onnx")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Calibrate and quantise in the child.

        Raises:
            ContractError: `no-data`; `step-failed` for a model of text; `conversion-failed`, also where nothing was
                quantised; or what `calibration` raises.
        """
        demand_data(self.name, context.facts)
        text = [s.name for s in (*context.facts.inputs, *context.facts.outputs) if s.dtype == "BYTES"]
        if text:
            raise ContractError(
                "step-failed", f"The step {self.name} works on numbers; {', '.join(text)} of the model is text."
            )
        made = context.child.call(
            quantise,
            str(piece.model_path),
            str(context.folder),
            settings | verdict.about(context.facts, context.allowed),
            str(folder),
            on_failure=on_step_failure(self.name),
        )
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """Nothing in it that onnxruntime cannot load; and where layers went back to float, still smaller than that."""
        if "ConvInteger" in {kind for kind, _ in strip.operators(result.piece.model_path)}:
            raise failed(self.name, "the graph has ConvInteger, for which onnxruntime has no kernel")
        back = [loss.layer for loss in result.piece.sensitivity if loss.reverted]
        wide, narrow = (
            sum((piece.folder / path).stat().st_size for path, _ in piece.files)
            for piece in (before, result.piece)
        )
        if back and narrow >= wide:
            way = f"{result.piece.wider}, take fp16" if result.piece.wider else "take fp16"
            raise ContractError(
                "no-gain",
                f"To keep the accuracy budget {', '.join(back)} would have to stay float, and then 8 bits save nothing: "
                f"{narrow} against float's {wide} bytes.",
                hint=f"{way[0].upper()}{way[1:]} or weight-only, which lose less, or have a module trained for 8 bits by "
                "the recipe qat-int8.",
            )


def quantise(model: str, data_folder: str, settings: dict[str, Any], folder: str) -> Piece:
    """In the child: calibrate, quantise, put sensitive layers back; write what comes of it.

    Raises:
        ContractError: `conversion-failed` where nothing was quantised.
    """
    import onnx

    out = Path(folder)
    ready = prepare.prepare(Path(model), out)
    proto = onnx.load(ready)
    tied = untie(proto)
    rows = embedding_rows.narrow(proto)
    onnx.save(proto, ready)
    wanted = activations(proto)
    ranges = calibration.calibrate(
        ready,
        wanted,
        Path(data_folder) / CALIBRATION,
        settings["axes"],
        settings["calibration"],
        settings["percentile"],
    )
    boundless = [name for name in wanted if name not in ranges]
    kept = [*rows, *kept_float.tail(proto.graph), *kept_float.touching(proto.graph, boundless)]
    graph_quantiser = GraphQuantiser(ready, ranges, settings, kept)
    raw, losses, wider = accuracy_control.settle(graph_quantiser, Path(data_folder), settings)
    onnx.save(raw, out / "raw.onnx")
    files = strip.store(out / "raw.onnx", out)
    for path in (ready, out / "raw.onnx"):
        path.unlink()
    graph = onnx.load(out / files[0], load_external_data=False).graph
    if not any(node.op_type == "QuantizeLinear" for node in graph.node):
        raise unquantisable.statically(graph)
    roles = graph_files(files)
    return Piece(
        "onnx", "", out, roles, precision="int8", left_float=tuple(prepare.left_float(graph)),
        sensitivity=tuple(losses), ranges=tuple(ranges.values()), wider=wider,
        remarks=(*remark(tied), *_remarks(losses, held_out=settings["held_out"])),
    )  # fmt: skip


def _remarks(losses: list[LayerLoss], *, held_out: bool) -> tuple[str, ...]:
    back = [loss.layer for loss in losses if loss.reverted]
    if not back:
        return ()
    by = (
        "chosen by calibration samples"
        if held_out
        else "chosen by the samples that judge it, so its figures are a little better than they should be"
    )
    return (f"Back in float to keep the accuracy budget, {by}: {', '.join(back)}",)


def activations(proto: Any) -> list[str]:
    """Float tensors that enter or leave an operator the quantiser knows, in order."""
    import onnx

    known = onnx.shape_inference.infer_shapes(proto).graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*known.value_info, *known.input, *known.output)}
    constants = {t.name for t in proto.graph.initializer}
    named: dict[str, None] = {}
    for node in proto.graph.node:
        if node.op_type in operators():
            named.update(dict.fromkeys((*node.input, *node.output)))
    return [n for n in named if values.get(n) == onnx.TensorProto.FLOAT and n not in constants]


def operators() -> list[str]:
    """Operators that the quantiser has a QDQ form for."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QDQRegistry, *QLinearOpsRegistry})


class GraphQuantiser:
    """Quantises one prepared graph again and again: all of it, one layer alone, or all but some."""

    def __init__(
        self, ready: Path, ranges: dict[str, Range], settings: dict[str, Any], kept_float: list[str]
    ) -> None:
        self.ready, self._settings = ready, settings
        self._ranges, self._kept_float = ranges, kept_float

    def make(self, only: list[str] | None = None, leaving: list[str] | None = None) -> Any:
        """The quantised ModelProto. `only`: nodes to quantise; `leaving`: nodes to leave in float."""
        import numpy as np
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        kinds = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
        # The quantiser changes what it is given, and its own pass over shapes only knows files.
        proto = onnx.shape_inference.infer_shapes(onnx.load(self.ready))
        pairs = {n: (np.float32(r.low), np.float32(r.high)) for n, r in self._ranges.items()}
        quantiser = QDQQuantizer(
            proto,
            self._settings["per_channel"],
            self._settings["reduce_range"],
            kinds[self._settings["weight"]],
            kinds[self._settings["activation"]],
            TensorsData(CalibrationMethod.MinMax, pairs),
            only or [],
            [*self._kept_float, *(leaving or [])],
            operators(),
            # Where they may, activations keep their zero point: after a ReLU the whole range counts, and the ReLU is not
            # needed any more.
            {"WeightSymmetric": True, "ActivationSymmetric": self._settings.get("symmetric", False)},
        )
        quantiser.quantize_model()
        made = quantiser.model.model
        wide = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(self.ready).graph.initializer}
        balance.rebalance(made, wide, 64 if self._settings["reduce_range"] else 127)
        # Shapes served the quantiser. onnxruntime finds its own, and where onnx's are wrong (a one-sided STFT) refuses them.
        del made.graph.value_info[:]
        return made
