"""Judges artifacts of one source, one after another, by all its metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from edgelift_builder.data import DataSet
from edgelift_builder.judge import small, vanished, worst
from edgelift_builder.judge.budgets import ASKED_ROOM, Budgets, named
from edgelift_builder.judge.case import Metric
from edgelift_builder.judge.judgement import LEAST_SAMPLES, Judgement, interval, judge
from edgelift_builder.judge.labelled import gone
from edgelift_builder.judge.scored import Scored, value
from edgelift_builder.judge.telling import Judging
from edgelift_builder.judge.vanished import ClassLoss
from edgelift_builder.judge.worst import Worst
from edgelift_contract.errors import ContractError

#: Judgements of one artifact, the one to show first.
Judgements = tuple[Judgement, ...]


@dataclass(frozen=True)
class Opinion:
    """All that is said of one artifact.

    Attributes:
        judgements: one for each metric.
        beside: further measures, which decide nothing: name → the artifact's, and float's.
        worst: where it lies furthest from float; None where nothing moved.
        remarks: on what decides nothing and a person should know, see `small`.
        classes: of which much is lost; one that is gone refuses the artifact, see `vanished`.
    """

    judgements: Judgements
    beside: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    worst: Worst | None = None
    classes: tuple[ClassLoss, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def a_class_is_gone(self) -> bool:
        """Is one lost beyond chance."""
        return any(one.gone for one in self.classes)


class Panel:
    """All metrics of a source, with what the float model scores in each.

    Args:
        judging: the metrics.
        reference: the float model's outputs.
        budgets: what a variant may lose.
    """

    def __init__(self, judging: Judging, reference: DataSet, budgets: Budgets) -> None:
        self.judging, self._answers = judging, reference
        self._reference = [metric.score(reference) for metric in judging.metrics]
        self._rooms = [_room(*held) for held in zip(judging.metrics, self._reference, strict=True)]
        self._budgets = [budgets(*held) for held in zip(judging.metrics, self._rooms, strict=True)]
        self._rights = [metric.rights(reference) if metric.rights else None for metric in judging.metrics]
        self._called = [one.called for one in named(judging.metrics)]

    def judge(self, outputs: DataSet) -> Judgements:
        """One judgement for each metric."""
        held = zip(self.judging.metrics, self._reference, self._budgets, strict=True)
        found = [
            judge(metric.measure, metric.score(outputs), reference, budget) for metric, reference, budget in held
        ]
        return tuple(
            replace(one, called=called, room=ASKED_ROOM * room)
            for one, called, room in zip(found, self._called, self._rooms, strict=True)
        )

    def opinion(self, outputs: DataSet) -> Opinion:
        """Judgements, and what a person would like to see beside them."""
        beside = {
            name: (measure(outputs), measure(self._answers))
            for metric in self.judging.metrics
            for name, measure in metric.beside.items()
        }
        return Opinion(
            self.judge(outputs),
            beside,
            worst.find(outputs, self._answers),
            self._classes(outputs),
            small.remarks(outputs, self._answers),
        )

    def _classes(self, outputs: DataSet) -> tuple[ClassLoss, ...]:
        held = zip(self.judging.metrics, self._called, self._budgets, self._rights, strict=True)
        return tuple(
            lost
            for metric, called, budget, theirs in held
            if metric.rights is not None and theirs is not None
            for lost in vanished.find(called, theirs, metric.rights(outputs), budget)
        )

    def _is_whole(self, outputs: DataSet) -> bool:
        """Is there neither NaN in it, nor a class gone."""
        return not gone(outputs, self._answers)[0] and not any(one.gone for one in self._classes(outputs))

    def keeps(self, outputs: DataSet) -> bool:
        """Does what is lost in each metric keep its budget, chance left aside: to choose by, not to judge."""
        held = zip(self.judging.metrics, self._reference, self._budgets, strict=True)
        return self._is_whole(outputs) and all(
            metric.measure.loss(value(reference), value(metric.score(outputs))) <= budget
            for metric, reference, budget in held
        )

    def holds(self, outputs: DataSet) -> bool:
        """Does every metric keep its budget, its whole interval."""
        return self._is_whole(outputs) and all(one.verdict == "holds" for one in self.judge(outputs))


def _room(metric: Metric, scored: Scored) -> float:
    if metric.constant is None:
        return inf
    return max(0.0, float(metric.measure.loss(value(scored), metric.constant)))


def check_float(judging: Judging, reference: DataSet) -> str:
    """What the float model scores, in words.

    Raises:
        ContractError: `source-invalid` where an answer that looks at no input would score as well.
    """
    said = []
    for metric in judging.metrics:
        answers = metric.score(reference)
        scored = value(answers)
        constant = (
            "" if metric.constant is None else f" (one answer for all: {metric.measure.shown(metric.constant)})"
        )
        said.append(f"{metric.measure.name} {metric.measure.shown(scored)}{constant}")
        if metric.constant is not None and _no_better(metric, answers):
            raise _refusal(judging, metric, answers)
    return ", ".join(said)


def _refusal(judging: Judging, metric: Metric, answers: Scored) -> ContractError:
    assert metric.constant is not None
    shown, constant = metric.measure.shown(value(answers)), metric.measure.shown(metric.constant)
    chance, more = "", ""
    if metric.measure.loss(value(answers), metric.constant) > 0:
        chance = f", and of {answers.count} samples chance could make that much"
        more = "Are there more samples? "
    asked = {
        "detection": "Are the labels' boxes x1, y1, x2, y2 in the model's units, and their classes numbered as its own?",
        "anomaly": "Is 1 what is odd, and does the score grow with it?",
        "binary": "Does the score grow with 1, and say yes above a half where it is a share, else above 0?",
        "keypoints": "Are the labels in the units of the model's own, and the points in one order?",
        "regression": "Are the labels in the units of the model's outputs (was one of them scaled)?",
    }
    hint = asked.get(judging.task, "Are the classes numbered in the order of the outputs?")
    return ContractError(
        "source-invalid",
        f"The float model's {metric.measure.name} by these labels is {shown}; always giving one answer would get "
        f"{constant}{chance}. {judging.words}",
        hint=f"{more}Are the labels in the order of the samples? {hint} Was it trained?{_or_another_task(judging)}",
    )


def _or_another_task(judging: Judging) -> str:
    """The way on where nobody named the task: what it was told from may fit another as well."""
    if not judging.task or judging.named:
        return ""
    return f' If it isn\'t for {judging.task}, name what it is for: Source(…, task="…").'


def _no_better(metric: Metric, answers: Scored) -> bool:
    """Does what is sure of its score reach what a constant answer gets: more than chance could have shown.

    In pairs where that answer's score is known of every sample: one that is hard for both says nothing of which is better.
    """
    if metric.always is not None and answers.count >= LEAST_SAMPLES:
        return judge(metric.measure, answers, metric.always, 0.0).loss_high >= 0
    low, high = interval(answers)
    assert metric.constant is not None
    return low <= metric.constant if metric.measure.better == "higher" else high >= metric.constant
