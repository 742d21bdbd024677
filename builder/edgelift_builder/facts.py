"""What the parent process knows of a source, and the names of the data sets that lie beside each other for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelift_builder.judge.budgets import Named
from edgelift_builder.judge.measure import Measure, Unit
from edgelift_contract.manifest import Format, TensorSpec
from edgelift_contract.meaning import Metadata

EVALUATION, CALIBRATION, LABELS, REFERENCE = "evaluation.npz", "calibration.npz", "labels.npz", "reference.npz"


@dataclass(frozen=True)
class SourceFacts:
    """What the parent knows of a source; the model itself stays in the child.

    Attributes:
        name, sha256: the model's name; digest of the source file.
        inputs, outputs: as they are in a call, free axes -1; the sample's too, where `batch_free`; with what their numbers
            mean.
        metadata: the source's free table.
        axes: the sample axis of each input and output in a call, None where it has none.
        samples, calibration_samples: how many there are.
        set_aside: are the calibration samples some of the source's evaluation samples, taken from among them.
        held_out: are none of the calibration samples, which choose, among those that judge.
        task, told: what it is for, as the source names it, empty where it does not; and as it is judged.
        metric, unit: what is measured first, as `accuracy`, and in what unit it loses.
        metrics: all that it is judged by, the first first.
        judged: how it is judged, and what the float model scores, for people.
        own: the source's own metric, where it brings one.
        data_sha256: digest of evaluation inputs and labels.
        key: digest of everything that decides what the source is: its files, weights, data and answers.
        guessed: were its inputs drawn, for want of data.
        quantised: does it come in 8 bits.
        formats: what it can become; batch_free: does it take any number of samples at once.
        remarks: what a person should know, as that calibration uses the evaluation inputs.
    """

    name: str
    sha256: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    samples: int
    calibration_samples: int
    metric: str
    data_sha256: str
    axes: dict[str, int | None] = field(default_factory=dict)
    task: str = ""
    told: str = ""
    judged: str = ""
    unit: Unit = "points"
    metrics: tuple[Named, ...] = ()
    own: Measure | None = None
    key: str = ""
    formats: tuple[Format, ...] = ("onnx", "tflite", "torchscript")
    batch_free: bool = True
    quantised: bool = False
    guessed: bool = False
    set_aside: bool = False
    held_out: bool = True
    parameters: int = 0
    metadata: Metadata = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
