"""A TFLite model with weights in 8 bits, by ai-edge-quantizer, per channel; activations float or quantised while running."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

from edgelift_builder import calls, data
from edgelift_builder.convert.export_refusal import explain
from edgelift_builder.convert.tflite import MODEL
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import (
    tflite_bias,
    tflite_choice,
    tflite_ends,
    tflite_plan,
    tflite_prepare,
    tflite_ranges,
)
from edgelift_builder.optimise.tflite_int8 import as_taken, check
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, on_step_failure
from edgelift_builder.targets import Target


class TfliteWeights:
    """float TFLite → TFLite with weights in 8 bits, which needs no calibration: activations stay float, or are quantised
    while running.
    """

    def __init__(self, name: str, kind: Literal["dynamic_wi8_afp32", "weight_only_wi8_afp32"]) -> None:
        """`kind`: a recipe of ai-edge-quantizer's."""
        self.name, self._kind = name, kind

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """No options."""
        return check_options(self.name, options, {})

    def requires(self, piece: Piece) -> None:
        """Only a float TFLite file."""
        demand(self.name, piece, "tflite")

    def run(self, piece: Piece, _settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Quantise in the child.

        Raises:
            ContractError: `conversion-failed` or `unsupported-operator`.
        """
        samples = "" if context.facts.guessed else str(context.folder / CALIBRATION)
        context.child.call(
            quantise_weights, str(piece.model_path), self._kind, samples, context.facts.axes, str(folder / MODEL),
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        widened = self._kind == "weight_only_wi8_afp32"  # LiteRT widens them itself
        made = Piece("tflite", "", folder, ((MODEL, "model"),), precision="int8", widened=widened)
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """A TFLite file, smaller than before."""
        check(self.name, before, result)


def quantise_weights(model: str, kind: str, calibration_file: str, axes: calls.Axes, path: str) -> None:
    """In the child: write the model with narrow weights, and biases moved by what they change where there are samples."""
    from ai_edge_quantizer import recipe

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            samples = data.load(Path(calibration_file)) if calibration_file else None
            example = calls.one(samples, 0, axes) if samples is not None else None
            ready = tflite_prepare.prepare(Path(model), example)
            content = tflite_prepare.packed(ready)
            ends, plan = tflite_ends.EndsApart(content), tflite_plan.OperatorRecipe(getattr(recipe, kind)())
            made = ends.together(tflite_plan.Model(ends.content).quantised(plan))
            if samples is not None:
                trial = tflite_choice.Comparison(content, samples, axes, Path(path).parent)
                means = tflite_ranges.means(content, as_taken(content, samples, axes))
                made = tflite_choice.nearer(trial, made, tflite_bias.corrected(made, ready, means))
        Path(path).write_bytes(made)
    except Exception as error:
        raise explain(error, "int8 TFLite") from error


#: Weights in 8 bits, activations quantised while running; and weights in 8 bits, everything computed in float.
DYNAMIC = TfliteWeights("tflite-dynamic-int8", "dynamic_wi8_afp32")
WEIGHT_ONLY = TfliteWeights("tflite-weight-only", "weight_only_wi8_afp32")
