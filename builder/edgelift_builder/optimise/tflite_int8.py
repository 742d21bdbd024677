"""int8 of a TFLite model, by ai-edge-quantizer: static, dynamic, or of the weights alone; weights always per channel.

Its static recipe also makes the inputs and outputs int8; ours keeps them float, so that a device can change between
variants without its clients noticing. Which calibration is used and what stays float is `tflite_choice`'s.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from edgelift_builder import calls, data
from edgelift_builder.convert.export_refusal import explain
from edgelift_builder.convert.tflite import MODEL, check_flatbuffer
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import tflite_bias, tflite_choice, tflite_ends, tflite_prepare, tflite_ranges
from edgelift_builder.optimise.tflite_ranges import BOUND, METHODS, Ranges
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
from edgelift_contract.errors import ContractError

#: Values of the option `calibration`: `best` tries them all.
BEST = "best"


class TfliteStaticInt8:
    """float TFLite → int8 TFLite with float inputs and outputs."""

    name = "tflite-static-int8"

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """`calibration`: `best` or one of `tflite_ranges.METHODS`; `revert`: most layers that may go back to float where
        the answers would be off. XNNPACK wants the same scheme on every processor.
        """
        known = {"calibration": BEST, "revert": 4}
        return check_options(self.name, options, known, {"calibration": (BEST, *METHODS)})

    def requires(self, piece: Piece) -> None:
        """Only a float TFLite file."""
        demand(self.name, piece, "tflite")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Calibrate and quantise in the child.

        Raises:
            ContractError: `no-data`, `conversion-failed`, `unsupported-operator`, or `source-invalid` for NaN in a sample.
        """
        demand_data(self.name, context.facts)
        made = context.child.call(
            quantise, str(piece.model_path), str(context.folder / CALIBRATION), context.facts.axes, settings, str(folder),
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """A TFLite file, smaller than before."""
        _check(self.name, before, result)


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
        _check(self.name, before, result)


#: Weights in 8 bits, activations quantised while running; and weights in 8 bits, everything computed in float.
DYNAMIC = TfliteWeights("tflite-dynamic-int8", "dynamic_wi8_afp32")
WEIGHT_ONLY = TfliteWeights("tflite-weight-only", "weight_only_wi8_afp32")


def _check(step: str, before: Piece, result: StepOutput) -> None:
    path = result.piece.model_path
    check_flatbuffer(step, path)
    if path.stat().st_size >= before.model_path.stat().st_size:
        raise failed(step, "the int8 file is not smaller than the float file")


def quantise(model: str, calibration_file: str, axes: calls.Axes, settings: dict[str, Any], folder: str) -> Piece:
    """In the child: calibrate, choose, write the quantised model."""
    samples = data.load(Path(calibration_file))
    check_numbers(samples, "Calibration sample")
    out = Path(folder)
    try:
        with warnings.catch_warnings():  # that all tensors are kept and take memory, which is what is asked for
            warnings.simplefilter("ignore", UserWarning)
            chosen, ranges, layers = _chosen(Path(model), samples, axes, settings, out)
        (out / MODEL).write_bytes(chosen.model)
    except ContractError:
        raise
    except Exception as error:
        raise explain(error, "int8 TFLite") from error
    kinds = dict(layers)
    left = tuple(f"{scope.rstrip(';')} ({kinds[scope]})" for scope in chosen.kept if scope in kinds)
    return Piece(
        "tflite", "", out, ((MODEL, "model"),), precision="int8", left_float=left, sensitivity=chosen.losses,
        ranges=ranges.report(chosen.method), remarks=_remarks(chosen, left),
    )  # fmt: skip


def _chosen(
    model: Path, samples: data.DataSet, axes: calls.Axes, settings: dict[str, Any], folder: Path
) -> tuple[tflite_choice.Chosen, Ranges, list[tuple[str, str]]]:
    """What came out best, the ranges it is one of, and the layers."""
    ready = tflite_prepare.prepare(model, calls.one(samples, 0, axes))
    layers, content = tflite_prepare.layers(ready), tflite_prepare.packed(ready)
    taken = _as_taken(content, samples, axes)
    ranges = Ranges(content, _recipe(()), taken)
    if not ranges.seen:
        heavy = ", ".join(dict.fromkeys(kind for _, kind in layers)) or "none"
        raise ContractError(
            "conversion-failed",
            f"Nothing in the graph has a form with 8-bit activations; its heavy operators: {heavy}.",
        )
    never = tflite_prepare.touching(ready, [*ranges.boundless, *tflite_prepare.beyond(ready, BOUND)])
    trial = tflite_choice.Comparison(content, samples, axes, folder)
    chosen = tflite_choice.choose(
        lambda method, kept: _make(content, _recipe(kept), ranges.by(method)),
        trial,
        METHODS if settings["calibration"] == BEST else (settings["calibration"],),
        [[*never, *kept] for kept in _spared(ready, layers)],
        layers,
        settings["revert"],
    )
    moved = tflite_bias.corrected(chosen.model, ready, tflite_ranges.means(content, taken))
    return replace(chosen, model=tflite_choice.nearer(trial, chosen.model, moved)), ranges, layers


def _spared(ready: Any, layers: Sequence[tuple[str, str]]) -> list[list[str]]:
    """What may stay in float, the cheapest first: nothing, the tail, the last layers with it, all but the layers."""
    tail, last = tflite_prepare.tail(ready), tflite_prepare.last(ready)
    ends = [[*tail, *last]] if len(last) < len(layers) else []  # else nothing would be quantised
    return [[], tail, *ends, tflite_prepare.light(ready)]


def _remarks(chosen: tflite_choice.Chosen, left: Sequence[str]) -> tuple[str, ...]:
    said = [
        f"Calibrated by {chosen.method}: least error of its answers to calibration samples, {chosen.error:.1%}"
    ]
    if len(chosen.kept) > len(left):
        said.append(
            f"Left in float, for their answers in 8 bits: {len(chosen.kept) - len(left)} operators beside the layers"
        )
    if left:
        said.append(f"Back in float, judged on calibration samples: {', '.join(left)}")
    return tuple(said)


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
            made = _make(content, getattr(recipe, kind)(), None)
            if samples is not None:
                trial = tflite_choice.Comparison(content, samples, axes, Path(path).parent)
                means = tflite_ranges.means(content, _as_taken(content, samples, axes))
                made = tflite_choice.nearer(trial, made, tflite_bias.corrected(made, ready, means))
        Path(path).write_bytes(made)
    except Exception as error:
        raise explain(error, "int8 TFLite") from error


def _make(model: bytes, steps: Any, ranges: Any) -> bytes:
    from ai_edge_quantizer import quantizer

    made = quantizer.Quantizer(tflite_ends.apart(model))
    made.load_quantization_recipe(steps)
    return tflite_ends.together(bytes(made.quantize(ranges).quantized_model), model)


def _recipe(kept_float: Sequence[str]) -> Any:
    """The quantiser's static recipe, with float ends and some operators left alone, by their scopes."""
    from ai_edge_quantizer import qtyping, recipe, recipe_manager

    manager = recipe_manager.RecipeManager()
    manager.load_quantization_recipe(recipe.static_wi8_ai8())
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    for end in ("INPUT", "OUTPUT"):
        manager.add_quantization_config(".*", qtyping.TFLOperationName[end], algorithm_key="no_quantize")
    for scope in kept_float:
        manager.add_quantization_config(f"^{re.escape(scope)}$", everything, algorithm_key="no_quantize")
    return manager.get_quantization_recipe()


def _as_taken(model: bytes, samples: data.DataSet, axes: calls.Axes) -> list[data.DataSet]:
    """Every sample as a call, whole numbers in the width that the file has for them."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=model).get_signature_runner().get_input_details()
    kinds = {name: detail["dtype"] for name, detail in details.items()}
    return [{n: a.astype(kinds[n], copy=False) for n, a in call.items()} for call in calls.each(samples, axes)]
