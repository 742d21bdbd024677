"""Judges artifacts of one source, one after another, by all its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgelift_builder.data import DataSet
from edgelift_builder.judge import worst
from edgelift_builder.judge.case import Metric
from edgelift_builder.judge.judgement import Judgement, interval, judge
from edgelift_builder.judge.measure import Measure, Unit
from edgelift_builder.judge.scored import Scored, value
from edgelift_builder.judge.telling import Judging
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
    """

    judgements: Judgements
    beside: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    worst: Worst | None = None


class Panel:
    """All metrics of a source, with what the float model scores in each.

    Args:
        judging: the metrics.
        reference: the float model's outputs.
        budgets: what a variant may lose of a measure.
    """

    def __init__(self, judging: Judging, reference: DataSet, budgets: Callable[[Measure], float]) -> None:
        self.judging, self._budgets = judging, budgets
        self._answers = reference
        self._reference = [metric.score(reference) for metric in judging.metrics]

    def judge(self, outputs: DataSet) -> Judgements:
        """One judgement for each metric."""
        pairs = zip(self.judging.metrics, self._reference, strict=True)
        return tuple(
            judge(metric.measure, metric.score(outputs), reference, self._budgets(metric.measure))
            for metric, reference in pairs
        )

    def opinion(self, outputs: DataSet) -> Opinion:
        """Judgements, and what a person would like to see beside them."""
        beside = {
            name: (measure(outputs), measure(self._answers))
            for metric in self.judging.metrics
            for name, measure in metric.beside.items()
        }
        return Opinion(self.judge(outputs), beside, worst.find(outputs, self._answers))

    def keeps(self, outputs: DataSet) -> bool:
        """Does what is lost in each metric keep its budget, chance left aside: to choose by, not to judge."""
        return all(
            metric.measure.loss(value(reference), value(metric.score(outputs))) <= self._budgets(metric.measure)
            for metric, reference in zip(self.judging.metrics, self._reference, strict=True)
        )

    def holds(self, outputs: DataSet) -> bool:
        """Does every metric keep its budget, its whole interval."""
        return all(judgement.verdict == "holds" for judgement in self.judge(outputs))


def check_float(judging: Judging, reference: DataSet) -> str:
    """What the float model scores, in words.

    Raises:
        ContractError: `source-invalid` where an answer that looks at no input would score as well.
    """
    said = []
    for metric in judging.metrics:
        answers = metric.score(reference)
        scored = value(answers)
        said.append(f"{metric.measure.name} {metric.measure.shown(scored)}")
        if metric.constant is not None and _no_better(metric, answers):
            shown, constant = metric.measure.shown(scored), metric.measure.shown(metric.constant)
            raise ContractError(
                "source-invalid",
                f"The float model's {metric.measure.name} by these labels is {shown}; always giving one answer would get "
                f"{constant}. {judging.words}",
                hint="Are the labels in the order of the samples, and the classes in that of the outputs? Was it trained?",
            )
    return ", ".join(said)


def _no_better(metric: Metric, answers: Scored) -> bool:
    """Does what is sure of its score reach what a constant answer gets: more than chance could have shown."""
    low, high = interval(answers)
    assert metric.constant is not None
    return low <= metric.constant if metric.measure.better == "higher" else high >= metric.constant


def choosing_budgets(recipe_points: float, asked: float | None, unit: Unit) -> Callable[[Measure], float]:
    """For those that choose by agreement with float: what was `asked` is of another metric, but points are points."""
    points = recipe_points if asked is None or unit != "points" else asked
    return lambda measure: points if measure.unit == "points" and measure.usual is None else measure.budget


def budgets(recipe_points: float, asked: float | None, main: Measure) -> Callable[[Measure], float]:
    """What a variant may lose: what was `asked` of the main measure; else a measure's usual, or the recipe's points."""

    def budget(measure: Measure) -> float:
        if asked is not None and measure == main:
            return asked
        return recipe_points if measure.unit == "points" and measure.usual is None else measure.budget

    return budget
