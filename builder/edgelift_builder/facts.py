"""What the parent process knows of a source, and the names of the data sets that lie beside each other for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelift_contract.manifest import Format, TensorSpec

EVALUATION, CALIBRATION, LABELS, REFERENCE = "evaluation.npz", "calibration.npz", "labels.npz", "reference.npz"


@dataclass(frozen=True)
class SourceFacts:
    """What the parent knows of a source; the model itself stays in the child.

    Attributes:
        name, sha256: the model's name; digest of the source file.
        inputs, outputs: by name, axis 0 free (-1).
        samples, calibration_samples: how many there are.
        metric: what is measured, as `accuracy`.
        labelled, own_metric: are there labels; does the source bring its own metric.
        data_sha256: digest of evaluation inputs and labels.
        key: digest of everything that decides what the source is: its files, weights, data and answers.
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
    labelled: bool
    own_metric: bool
    data_sha256: str
    key: str = ""
    formats: tuple[Format, ...] = ("onnx", "tflite", "torchscript")
    batch_free: bool = True
    parameters: int = 0
    remarks: list[str] = field(default_factory=list)
