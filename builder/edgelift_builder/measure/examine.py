"""Looks at one artifact through its real runtime: loads it again, runs everything, records its goldens.

In a child process of its own, which holds no user code. Results cross as files and small numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgelift_builder import calls, data
from edgelift_builder.data import DataSet
from edgelift_builder.exceptions import summarise
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.measure import golden
from edgelift_builder.measure.evaluate import largest_difference
from edgelift_builder.measure.golden import Nearness
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session
from edgelift_contract.errors import ContractError, EdgeliftError


@dataclass(frozen=True)
class Examination:
    """What one look found.

    Attributes:
        outputs: file with the outputs on the whole evaluation set.
        goldens: file with the goldens; golden_count: how many.
        float_distance: largest difference to the float model, as a share of the outputs' range.
        near: the goldens' tolerance.
    """

    outputs: Path
    goldens: Path
    golden_count: int
    float_distance: float
    near: Nearness


def examine(spec: ModelSpec, data_folder: str, out_folder: str) -> Examination:
    """Run `spec` on the evaluation set and record its goldens.

    Args:
        spec: the model.
        data_folder: where `load.load_source` wrote the data sets.
        out_folder: receives `outputs.npz` and `goldens.msgpack`.

    Raises:
        ContractError: `load-failed`, or `unsupported-operator` when it loads but does not run.
    """
    inputs = data.load(Path(data_folder) / EVALUATION)
    reference = data.load(Path(data_folder) / REFERENCE)
    try:
        # One sample at a time, as a device is asked: what scales by the batch (dynamic int8) answers a sample
        # otherwise when others are in its batch. And one session at a time: two of a large model may not fit into memory.
        outputs = run_each(open_session(spec), inputs, spec.axes)
        some = data.sample(inputs, 0, golden.OTHER_KERNELS_SAMPLES)
        same = data.sample(outputs, 0, golden.OTHER_KERNELS_SAMPLES)
        other, halved = _by_other_kernels(spec, some), reference if spec.half else None
        near = golden.nearness(outputs, same, other, int8=spec.int8, halved=halved)
        chosen = golden.choose(reference, outputs, near)
        recorded = golden.record(inputs, outputs, chosen, spec.axes)
    except EdgeliftError:
        raise
    except Exception as error:
        raise ContractError(
            "unsupported-operator", f"{spec.runtime} loads the artifact but cannot run it: {summarise(error)}."
        ) from error
    folder = Path(out_folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = Examination(
        folder / "outputs.npz",
        folder / "goldens.msgpack",
        len(chosen),
        largest_difference(outputs, reference),
        near,
    )
    data.save(made.outputs, outputs)
    made.goldens.write_bytes(recorded)
    return made


def run_each(session: Session, inputs: DataSet, axes: calls.Axes) -> DataSet:
    """Outputs for all samples, each alone, in order."""
    return calls.together([session.run(call) for call in calls.each(inputs, axes)], axes)


def _by_other_kernels(spec: ModelSpec, inputs: DataSet) -> DataSet:
    return run_each(open_session(spec, other_kernels=True), inputs, spec.axes)
