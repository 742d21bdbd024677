"""The source: a trained model with the data that judges it.

    from edgelift_builder import Source

    def digits() -> Source:
        return Source("digits", net.eval(), example_inputs=(x[:1],), evaluation_inputs=x, evaluation_labels=y)

Imports nothing heavy: user code pays only for what it uses itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

#: One array for a model with one input; else a tuple in the order of `forward`'s parameters, or a dict by name.
Arrays: TypeAlias = Any

#: (outputs by name, labels) → one score per sample, float[n], or one for all of them: from 0 to 1, higher is better; of any
#: range where the source says which way is better. One for all is asked for 200 times more, on samples drawn from these.
Metric: TypeAlias = Callable[[Mapping[str, Any], Any], Any]


@dataclass
class Meaning:
    """What the numbers of one input or output mean; told to clients, applied by nobody.

        real = number × scale + offset

    Attributes:
        labels: names of classes or features, one for each place along `axis`.
        unit: of `real`, as `°C`.
        scale, offset: one number for all, or one for each place along `axis`. A standard deviation is a scale, a mean an
            offset.
        axis: along which they count, in a call's shape; `values` where labels name the values themselves, 0 the first
            (class numbers; a share of yes and no, rounded). With none, the one axis that has as many places.
    """

    labels: Iterable[str] | None = None
    unit: str = ""
    scale: Any = None
    offset: Any = None
    axis: int | str | None = None


#: Of one tensor, or of several by name.
Meanings: TypeAlias = Meaning | Mapping[str, Meaning] | None


@dataclass
class Data:
    """What judges a model that comes as a file: the fields of `Source` of the same names."""

    evaluation_inputs: Arrays
    evaluation_labels: Any = None
    calibration_inputs: Arrays = None
    metric: Metric | None = None
    metric_name: str = ""
    metric_better: str = ""
    task: str = ""
    inputs: Meanings = None
    outputs: Meanings = None
    metadata: Mapping[str, str | float | bool] | None = None


@dataclass
class Source:
    """A trained model and everything the builder needs to judge what it makes of it.

    Arrays may be numpy arrays or torch tensors; axis 0 is always the sample.

    Attributes:
        name: the model's name in releases: a-z, 0-9, `_`, `.` and `-`.
        model: a `torch.nn.Module`; put into evaluation mode if it is not.
        example_inputs: one input set as `forward` takes it: a tuple of tensors, or a dict by parameter name.
        evaluation_inputs: samples the model was not trained on, n of them: see `Arrays`.
        evaluation_labels: what is right for each sample, int[n] for a classifier; of several outputs a dict by their names
            (`output_0` …). Without labels artifacts are judged by how near their values come to the float model's.
        calibration_inputs: samples that set the ranges of a static quantisation; the evaluation inputs
            stand in where there are none (its labels are never looked at).
        metric: how to score, see `Metric`; with none, the task's own.
        metric_name: what to call it in reports.
        metric_better: `higher` or `lower`, for a metric that is no share of 1: then it may have any range, and its budget
            is per cent of the float model's value.
        task: what the model is for: `classification`, `binary`, `multilabel`, `regression`, `segmentation`, `detection`,
            `keypoints`, `embedding`, `anomaly` or `sequence`; with none it is told from outputs and labels, and said.
        fine_tune: takes the changed module, returns it trained on a little; None where that cannot be offered.
        inputs, outputs: what their numbers mean, see `Meaning`: a dict by name, or one where there is one tensor.
        metadata: whatever else clients and people are to be told: up to 64 texts, numbers, true or false, by name.
    """

    name: str
    model: Any
    example_inputs: Arrays
    evaluation_inputs: Arrays
    evaluation_labels: Any = None
    calibration_inputs: Arrays = None
    metric: Metric | None = None
    metric_name: str = ""
    metric_better: str = ""
    task: str = ""
    fine_tune: Callable[[Any], Any] | None = None
    inputs: Meanings = None
    outputs: Meanings = None
    metadata: Mapping[str, str | float | bool] | None = None
