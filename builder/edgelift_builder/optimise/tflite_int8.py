"""Static int8 of a TFLite model, by ai-edge-quantizer, weights per channel.

Its static recipe also makes the inputs and outputs int8; ours keeps them float, so that a device can change between
variants without its clients noticing. Which calibration is used and what stays float is `tflite_choice`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgelift_builder import calls, data
from edgelift_builder.convert.export_refusal import explain
from edgelift_builder.convert.tflite import MODEL, check_flatbuffer
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import (
    tflite_bias,
    tflite_choice,
    tflite_ends,
    tflite_plan,
    tflite_prepare,
    tflite_ranges,
    verdict,
)
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
    keeps_budget = True

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
        about = verdict.about(context.facts, context.allowed)
        made = context.child.call(
            judge_and_quantise, str(piece.model_path), str(context.folder), settings | about, str(folder),
            on_failure=on_step_failure(self.name),
        )  # fmt: skip
        return StepOutput(made, changed=True)

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """A TFLite file, smaller than before."""
        check(self.name, before, result)


def check(step: str, before: Piece, result: StepOutput) -> None:
    """A TFLite file, smaller than before.

    Raises:
        ContractError: `conversion-failed`.
    """
    path = result.piece.model_path
    check_flatbuffer(step, path)
    if path.stat().st_size >= before.model_path.stat().st_size:
        raise failed(step, "the int8 file is not smaller than the float file")


def judge_and_quantise(model: str, data_folder: str, settings: dict[str, Any], folder: str) -> Piece:
    """In the child: `quantise` with the build's data, and its judge."""
    holds = _Holds(Path(data_folder), settings, Path(folder))
    return quantise(Path(model), data.load(Path(data_folder) / CALIBRATION), settings, holds, Path(folder))


def quantise(
    model: Path, samples: data.DataSet, settings: dict[str, Any], holds: tflite_choice.Holds, out: Path
) -> Piece:
    """Calibrate, choose, write the quantised model.

    Args:
        model: a float file.
        samples: to calibrate with, and to compare ways on.
        settings: the step's, and the source's `axes`.
        holds: see `tflite_choice.choose`.
        out: the folder to write into.
    """
    check_numbers(samples, "Calibration sample")
    try:
        with warnings.catch_warnings():  # that all tensors are kept and take memory, which is what is asked for
            warnings.simplefilter("ignore", UserWarning)
            chosen, ranges, layers = _chosen(model, samples, settings, holds, out)
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


class _Holds:
    """Would the judge be content with a file."""

    def __init__(self, data_folder: Path, settings: dict[str, Any], folder: Path) -> None:
        self._data_folder, self._settings, self._folder = data_folder, settings, folder

    def __call__(self, model: bytes) -> bool:
        judge, axes = verdict.BudgetJudge(self._data_folder, self._settings), self._settings["axes"]
        answers = tflite_choice.answers(model, calls.each(judge.inputs, axes), self._folder)
        return judge.holds(calls.together(answers, axes))


def _chosen(
    model: Path, samples: data.DataSet, settings: dict[str, Any], holds: tflite_choice.Holds, folder: Path
) -> tuple[tflite_choice.Chosen, Ranges, list[tuple[str, str]]]:
    """What came out best, the ranges it is one of, and the layers."""
    axes = settings["axes"]
    ready = tflite_prepare.prepare(model, calls.one(samples, 0, axes))
    layers, content = tflite_prepare.layers(ready), tflite_prepare.packed(ready)
    taken = as_taken(content, samples, axes)
    plan = tflite_plan.static()
    ranges = Ranges(content, plan, taken)
    if not ranges.seen:
        heavy = ", ".join(dict.fromkeys(kind for _, kind in layers)) or "none"
        raise ContractError(
            "conversion-failed",
            f"Nothing in the graph has a form with 8-bit activations; its heavy operators: {heavy}.",
        )
    never = tflite_prepare.touching(ready, [*ranges.boundless, *tflite_prepare.beyond(ready, BOUND)])
    trial, ends = tflite_choice.Comparison(content, samples, axes, folder), tflite_ends.EndsApart(content)
    wide = tflite_plan.Model(ends.content)
    chosen = tflite_choice.choose(
        lambda method, kept: ends.together(wide.quantised(plan.leaving(kept), ranges.by(method))),
        trial,
        METHODS if settings["calibration"] == BEST else (settings["calibration"],),
        [[*never, *kept] for kept in _spared(ready, layers)],
        layers,
        settings["revert"],
        holds,
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


def as_taken(model: bytes, samples: data.DataSet, axes: calls.Axes) -> list[data.DataSet]:
    """Every sample as a call, whole numbers in the width that the file has for them."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=model).get_signature_runner().get_input_details()
    kinds = {name: detail["dtype"] for name, detail in details.items()}
    return [{n: a.astype(kinds[n], copy=False) for n, a in call.items()} for call in calls.each(samples, axes)]
