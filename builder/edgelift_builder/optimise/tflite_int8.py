"""Static int8 of a TFLite model, by ai-edge-quantizer: per-channel weights, calibrated activations.

Its recipe `static_wi8_ai8` also makes the inputs and outputs int8; ours keeps them float, so that a device can
change between variants without its clients noticing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.convert.onnx_export import explain
from edgelift_builder.convert.tflite import MODEL, check_flatbuffer
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import (
    StepContext,
    StepOutput,
    check_options,
    demand,
    demand_data,
    failed,
    on_step_failure,
)
from edgelift_builder.source.finite import check_numbers
from edgelift_builder.targets import Target


class TfliteStaticInt8:
    """float TFLite → int8 TFLite with float inputs and outputs."""

    name = "tflite-static-int8"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options: XNNPACK wants the same scheme on every processor."""
        return check_options(self.name, options, {})

    def requires(self, piece: Piece) -> None:
        """Only a float TFLite file."""
        demand(self.name, piece, "tflite")

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Calibrate and quantise in the child.

        Raises:
            ContractError: `no-data`, `conversion-failed`, `unsupported-operator`, or what `calibration` raises.
        """
        demand_data(self.name, context.facts)
        context.child.call(
            quantise, str(piece.model_path), str(context.folder / CALIBRATION), context.facts.axes, str(folder / MODEL),
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        return StepOutput(Piece("tflite", "", folder, ((MODEL, "model"),), precision="int8"), changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """A TFLite file, smaller than before."""
        path = result.piece.model_path
        check_flatbuffer(self.name, path)
        if path.stat().st_size >= before.model_path.stat().st_size:
            raise failed(self.name, "the int8 file is not smaller than the float file")


def quantise(model: str, calibration_file: str, axes: calls.Axes, path: str) -> None:
    """In the child: write the quantised model."""
    samples = data.load(Path(calibration_file))
    check_numbers(samples, "Calibration sample")
    from ai_edge_quantizer import quantizer, recipe

    try:
        made = quantizer.Quantizer(model)
        made.load_quantization_recipe(recipe.static_wi8_ai8())
        for end in ("INPUT", "OUTPUT"):
            made.update_quantization_recipe(
                regex=".*", operation_name=_operation(end), algorithm_key="no_quantize"
            )
        ranges = _ranges(model, made.get_quantization_recipe(), samples, axes)
        made.quantize(ranges).export_model(path)
    except Exception as error:
        raise explain(error, "int8 TFLite") from error


def _ranges(model: str, steps: Any, samples: data.DataSet, axes: calls.Axes) -> Any:
    """True least and largest value of every tensor over all samples. The quantiser's own way is a moving average of each
    sample's, which cuts off whatever is rare: of one two-class model it left 51 % of 92 % right.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import calibrator, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(steps)
    content = Path(model).read_bytes()
    found = calibrator.Calibrator(content, num_threads=1, qsv_update_func=_wider)
    interpreter = Interpreter(model_content=content)
    key = next(iter(interpreter.get_signature_list()))
    taken = {n: d["dtype"] for n, d in interpreter.get_signature_runner(key).get_input_details().items()}
    given = [{n: a.astype(taken[n], copy=False) for n, a in call.items()} for call in calls.each(samples, axes)]
    found.calibrate({key: given}, manager)
    return found.get_model_qsvs()


def _wider(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return other | {"min": np.minimum(one["min"], other["min"]), "max": np.maximum(one["max"], other["max"])}


def _operation(name: str) -> Any:
    from ai_edge_quantizer import qtyping

    return qtyping.TFLOperationName[name]
