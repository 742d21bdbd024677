"""Accuracy control: finds which layers cost most in 8 bits, and puts them back to float until the budget holds.

Each layer is quantised *alone*, and the noise it adds to the model's outputs is measured on calibration samples.
If the whole model in 8 bits does not hold its budget on the evaluation data, the noisiest layer goes back to
float, then the next, one after another (the manner of NNCF's `quantize_with_accuracy_control`, which ranks by the metric and
therefore needs labels for it).

When to stop is not asked of the samples that judge, for that would make their verdict better than it should be: calibration
samples tell, by how well the model agrees with float on them. Only where a source has none of its own that judge nothing
(see `source.held_out`) the evaluation data are looked at again and again, and the report says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from edgelift_builder import calls, data, ragged
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.judge import advice, panel, telling
from edgelift_builder.judge.case import Case
from edgelift_builder.measure.runtimes import session_options
from edgelift_builder.optimise import prepare, verdict
from edgelift_builder.piece import LayerLoss
from edgelift_contract.manifest import SessionOptions

#: Samples that noise is measured on.
SAMPLES = 32

#: Most calibration samples that choose.
CHOOSERS = 500

#: Models of up to this many bytes have their layers measured even if the budget holds: for the report.
ALWAYS_BELOW_BYTES = 4 << 20


class Quantiser(Protocol):
    """Quantises a graph, see `static_int8.GraphQuantiser`."""

    ready: Path

    def make(self, only: list[str] | None = None, leaving: list[str] | None = None) -> Any:
        """The quantised ModelProto."""


def settle(quantiser: Quantiser, data_folder: Path, settings: dict[str, Any]) -> tuple[Any, list[LayerLoss], str]:
    """The quantised model that keeps the budget, or the last one tried; what each layer costs; and with what budgets nothing
    would have had to go back, see `advice.more_room`.

    Args:
        quantiser: of the prepared graph.
        data_folder: where the data sets lie.
        settings: `revert`, `allowed`, `session`, and the source's `axes`, `task`, `told` and `held_out`.
    """
    import onnx

    whole = quantiser.make()
    small = quantiser.ready.stat().st_size < ALWAYS_BELOW_BYTES
    judge = _Judge(data_folder, settings) if settings["revert"] else None
    # Whether it holds is the judge's to say once, as of any candidate. Where float itself can't be told to hold (few
    # samples, or a model that was pruned), reverting won't help.
    keeps = judge is None or judge.holds(whole)
    wider = advice.more_room(judge.judgements) if judge is not None and not keeps else ""
    lost = judge is not None and not keeps and judge.holds(onnx.load(quantiser.ready))
    if not (small or lost):
        return whole, [], ""
    graph = onnx.load(quantiser.ready, load_external_data=False).graph
    losses = sensitivity(quantiser, prepare.layers(graph), data_folder, settings)
    back: list[str] = []
    most = min(settings["revert"], len(losses) - 1)  # with all of them back, nothing would be quantised
    if lost and judge is not None:
        enough = (
            ByCalibration(quantiser.ready, data_folder, settings).keeps if settings["held_out"] else judge.holds
        )
        while len(back) < most and (not back or not enough(whole)):
            back.append(losses[len(back)].layer)
            whole = quantiser.make(leaving=[_node(layer) for layer in back])
        if not enough(whole):  # then what went back only made it larger
            whole, back = quantiser.make(), []
    return whole, [_marked(loss, back) for loss in losses], wider


def _marked(loss: LayerLoss, back: list[str]) -> LayerLoss:
    return LayerLoss(loss.layer, loss.noise, loss.layer in back)


def _node(layer: str) -> str:
    return layer.rpartition(" (")[0]


def sensitivity(
    quantiser: Quantiser, layers: list[tuple[str, str]], data_folder: Path, settings: dict[str, Any]
) -> list[LayerLoss]:
    """What each layer costs when it alone is quantised, the costliest first."""
    samples = next(data.stream(data_folder / CALIBRATION, SAMPLES))
    wanted = outputs(quantiser.ready.read_bytes(), samples, settings)
    losses = []
    for name, kind in layers:
        found = outputs(quantiser.make(only=[name]).SerializeToString(), samples, settings)
        losses.append(LayerLoss(f"{name} ({kind})", noise(found, wanted)))
    return sorted(losses, key=lambda loss: -loss.noise)


def noise(found: data.DataSet, wanted: data.DataSet) -> float:
    """Mean squared difference ÷ mean square, over all outputs; 0 is none."""
    pairs = [pair for n in wanted for pair in _pairs(found[n], wanted[n])]
    gaps = sum(float(np.sum((one.astype(np.float64) - other) ** 2)) for one, other in pairs)
    power = sum(float(np.sum(other.astype(np.float64) ** 2)) for _, other in pairs)
    return gaps / power if power else gaps


def _pairs(found: data.Array, wanted: data.Array) -> list[tuple[data.Array, data.Array]]:
    """What can be compared: all of it, or of rows that a graph chose those samples that have as many."""
    if not ragged.is_ragged(found) and not ragged.is_ragged(wanted):
        return [(found, wanted)] if found.shape == wanted.shape else []
    return [pair for pair in zip(found, wanted, strict=True) if pair[0].shape == pair[1].shape]


def outputs(model: bytes, inputs: data.DataSet, settings: dict[str, Any]) -> data.DataSet:
    """A model's outputs by name, set up as on the target and asked as there: one sample at a time."""
    import onnxruntime as ort

    options = session_options(msgspec.convert(settings["session"], SessionOptions))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    answers = [session.run(names, call) for call in calls.each(inputs, settings["axes"])]
    return calls.together(
        [dict(zip(names, map(data.plain, answer), strict=True)) for answer in answers], settings["axes"]
    )


class ByCalibration:
    """Tells when enough layers are back: by calibration samples, on which float's answers are what is right."""

    def __init__(self, ready: Path, folder: Path, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._inputs = next(data.stream(folder / CALIBRATION, CHOOSERS))
        reference = outputs(ready.read_bytes(), self._inputs, settings)
        judging = telling.judging(Case(self._inputs, reference), settings["told"])
        self._panel = panel.Panel(judging, reference, settings["allowed"].choosing)

    def keeps(self, model: Any) -> bool:
        """Does it agree with float as well as its budget asks."""
        return self._panel.keeps(outputs(model.SerializeToString(), self._inputs, self._settings))


class _Judge:
    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._verdict, self._settings = verdict.BudgetJudge(folder, settings), settings
        #: What was said of the model that was asked of last.
        self.judgements: panel.Judgements = ()

    def holds(self, model: Any) -> bool:
        answers = outputs(model.SerializeToString(), self._verdict.inputs, self._settings)
        self.judgements = self._verdict.judgements(answers)
        return self._verdict.holds(answers)
