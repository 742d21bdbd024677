"""What a model is for: as its source says, else told from its outputs and labels; and by which metrics it is judged then.

Of several outputs that labels could be of, or several ways to read one, it is that by which the float model is right most
often. Outputs that no label is of are held to float's values. All of it is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgelift_builder.judge import agreement, anomaly, classes, detection, layouts, places, points, quantities
from edgelift_builder.judge.case import Case, Metric, Reading, in_rows, refuse
from edgelift_builder.judge.labelled import check, tidy
from edgelift_builder.judge.scored import value
from edgelift_builder.judge.task import OBJECTS, TASKS, Task, tell
from edgelift_contract.errors import ContractError

#: Task → how a case may be read, and what it needs.
_LABELLED: dict[Task, tuple[Callable[[Case], Iterator[Reading]], str]] = {
    "classification": (
        classes.classification,
        "It needs scores [n, classes] and labels int[n], from 0 to the last class, or a share of each class [n, classes].",
    ),
    "binary": (classes.binary, "It needs one score per sample, [n, 1] or [n], and labels 0 or 1."),
    "multilabel": (classes.multilabel, "It needs scores [n, labels] and labels of the same shape, each 0 or 1."),
    "regression": (quantities.regression, "It needs as many numbers per sample as there are labels of it."),
    "segmentation": (places.segmentation, "It needs scores [n, classes, h, w] and labels int[n, h, w]."),
    "detection": (
        detection.detection,
        'It needs boxes and scores, and for each picture a label {"boxes": [k, 4] corners in its units, "labels": [k]}.',
    ),
    "keypoints": (
        points.keypoints,
        "It needs points [n, points, 2] and labels of the same shape; of heat maps, give a metric that finds their peaks.",
    ),
    "embedding": (quantities.embedding, "It needs a vector per sample, and labels of the same shape or none."),
    "anomaly": (
        anomaly.anomaly,
        "It needs one score per sample, or an output of the input's shape, and labels 0 (usual) and 1 (odd).",
    ),
    "sequence": (
        places.sequence,
        "It needs scores [n, length, classes] and labels int[n, length], -1 at places that don't count.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Judging:
    """How a source is judged.

    Attributes:
        task: what it is for; empty where only values are compared.
        why: who said so, or what it was told from.
        metrics: all of which have to hold; the first is the one to show.
        named: did the source name the task.
    """

    task: str
    why: str
    metrics: tuple[Metric, ...]
    named: bool = False

    @property
    def words(self) -> str:
        """One sentence for people."""
        how = "; ".join(f"{metric.measure.name} of {metric.words}" for metric in self.metrics)
        return f"Judged as {self.task or 'values'} ({self.why}): {how}."


def check_task(task: str) -> str:
    """`task` if there is such a one, or empty.

    Raises:
        ContractError: `source-invalid`.
    """
    if task and task not in TASKS:
        raise ContractError(
            "source-invalid", f"There is no task {task!r}.", hint=f"It is one of {', '.join(TASKS)}."
        )
    return task or ""


def judging(case: Case, task: str, numbered: Callable[[int], int] = int) -> Judging:
    """How to judge; `task` as the source names it, or empty; `numbered`: see `check`.

    Raises:
        ContractError: `source-invalid`: labels and outputs don't fit the task, no task can be told from them, or labels
            or the float model's answers hold NaN.
    """
    check(case, numbered)
    case = Case(case.inputs, case.reference, None if case.labels is None else tidy(case.labels))
    if case.labels is None:
        return _named_alone(case, task) if task else _without_labels(case)
    if _are_by_name(case):
        return _by_output(case, task)
    told, why = (task, "the source says so") if task else tell(case)
    return Judging(told, why, _with_the_rest(case, _best(case, told)), bool(task))


def _best(case: Case, task: str) -> Reading:
    """Of all ways to read the outputs that by which the float model is best, beside what a constant answer would get."""
    read, wanted = _LABELLED[task]  # type: ignore[index]  # checked by `check_task`
    found = [] if isinstance(case.labels, Mapping) and task != "detection" else list(read(case))
    if not found:
        raise refuse(task, case, wanted)
    return max(found, key=lambda reading: _better_than_constant(case, reading[0])) if len(found) > 1 else found[0]


def _better_than_constant(case: Case, metric: Metric) -> float:
    better = value(metric.score(case.reference)) - (metric.constant or 0.0)
    return better if metric.measure.better == "higher" else -better / max(metric.constant or 0.0, 1e-12)


def _with_the_rest(case: Case, reading: Reading) -> Reading:
    """Beside what labels judge, the values of every output that they say nothing of."""
    seen = {name for metric in reading for name in metric.looks_at}
    return (*reading, *(metric for metric in agreement.agreement(case) if not set(metric.looks_at) <= seen))


def _are_by_name(case: Case) -> bool:
    """Are labels given by the names of outputs.

    Raises:
        ContractError: `source-invalid` where a name is no output's.
    """
    if not isinstance(case.labels, Mapping) or set(case.labels) == OBJECTS:
        return False
    strange = [name for name in case.labels if name not in case.reference]
    if strange:
        raise ContractError(
            "source-invalid",
            f"There are labels of {', '.join(strange)}; the outputs are {', '.join(case.reference)}.",
            hint=f"Give them by the name of their output, as {{{next(iter(case.reference))!r}: …}}, or one array alone.",
        )
    return True


def _by_output(case: Case, task: str) -> Judging:
    """Labels of several outputs, by their names: each judged as what it is for."""
    found: list[Metric] = []
    said = []
    for name, labels in case.labels.items():
        one = Case(case.inputs, {name: case.reference[name]}, labels)
        told = task or tell(one)[0]
        found.extend(_best(one, told))
        said.append(f"{name} as {told}")
    why = f"{', '.join(said)}; {'the source says so' if task else 'told from labels and outputs'}"
    return Judging(task or said[0].split(" as ")[1], why, _with_the_rest(case, tuple(found)), bool(task))


def _named_alone(case: Case, task: str) -> Judging:
    """A task, and nothing that says what is right: what of it can be held to float, and values."""
    why = "the source says so; there are no labels"
    if task == "detection" or task == "embedding":
        return Judging(task, why, _with_the_rest(case, _best(case, task)))
    chosen = [agreement.chosen(n, case) for n, a in case.reference.items() if _may_be_class_scores(case, n)]
    extra = chosen[:1] if task == "classification" else []
    return Judging(task, why, (*extra, *agreement.agreement(case)))


def _may_be_class_scores(case: Case, name: str) -> bool:
    array = in_rows(case.reference[name])
    return array.dtype.kind == "f" and array.ndim >= 2 and array.shape[-1] > 1


def _without_labels(case: Case) -> Judging:
    values = tuple(agreement.agreement(case))
    how = layouts.likeliest(case.reference, known=False)
    if how is not None and any(len(found.boxes) for found in layouts.detections(case.reference, how)):
        why = "there are no labels; the outputs look like boxes with scores"
        (reading,) = detection.detection(case, known=False)
        return Judging("detection", why, (*reading, *values))
    shares = [name for name, array in case.reference.items() if agreement.are_class_scores(array)]
    if shares:
        why = f"there are no labels; {shares[0]} is shares of classes"
        return Judging("classification", why, (agreement.chosen(shares[0], case), *values))
    return Judging("", "there are no labels", values)
