"""Judges artifacts of one source, one after another, by all its metrics."""

from __future__ import annotations

from collections.abc import Callable

from edgelift_builder.data import DataSet
from edgelift_builder.judge.case import Metric
from edgelift_builder.judge.judgement import Judgement, interval, judge
from edgelift_builder.judge.measure import Measure
from edgelift_builder.judge.scored import Scored, value
from edgelift_builder.judge.telling import Judging
from edgelift_contract.errors import ContractError

#: Judgements of one artifact, the one to show first.
Judgements = tuple[Judgement, ...]


class Panel:
    """All metrics of a source, with what the float model scores in each.

    Args:
        judging: the metrics.
        reference: the float model's outputs.
        budgets: what a variant may lose of a measure.
    """

    def __init__(self, judging: Judging, reference: DataSet, budgets: Callable[[Measure], float]) -> None:
        self.judging, self._budgets = judging, budgets
        self._reference = [metric.score(reference) for metric in judging.metrics]

    def judge(self, outputs: DataSet) -> Judgements:
        """One judgement for each metric."""
        pairs = zip(self.judging.metrics, self._reference, strict=True)
        return tuple(
            judge(metric.measure, metric.score(outputs), reference, self._budgets(metric.measure))
            for metric, reference in pairs
        )

    def holds(self, outputs: DataSet) -> bool:
        """Does every metric keep its budget."""
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


def budgets(recipe_points: float, asked: float | None, main: Measure) -> Callable[[Measure], float]:
    """What a variant may lose: what was `asked` of the main measure; else a measure's usual, or the recipe's points."""

    def budget(measure: Measure) -> float:
        if asked is not None and measure == main:
            return asked
        return recipe_points if measure.unit == "points" and measure.usual is None else measure.budget

    return budget
