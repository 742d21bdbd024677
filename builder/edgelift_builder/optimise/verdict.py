"""Asks while a model is made what its judge will say of it in the end, by the same samples and budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgelift_builder import data
from edgelift_builder.case_data import read_case
from edgelift_builder.facts import EVALUATION, SourceFacts
from edgelift_builder.judge import panel
from edgelift_builder.judge.budgets import Allowed
from edgelift_builder.source import own_metric


def about(facts: SourceFacts, allowed: Allowed) -> dict[str, Any]:
    """What a step's child has to know of a source to judge by it: its `axes`, `task`, `told` and `held_out`, and what may be
    lost, `allowed`.
    """
    return {name: getattr(facts, name) for name in ("axes", "task", "told", "held_out")} | {"allowed": allowed}


class BudgetJudge:
    """Holds a model against its budget on the evaluation data.

    Once: to be asked of one candidate after another, and to take the best, would make its verdict better than it should be.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """`folder`: where the data sets lie; `settings`: with what `about` gives."""
        self.inputs = data.load(folder / EVALUATION)
        case = read_case(folder, settings["task"])
        judging = own_metric.judging(case, settings["task"])
        self._panel = panel.Panel(judging, case.reference, settings["allowed"].judging)

    def judgements(self, outputs: data.DataSet) -> panel.Judgements:
        """What every metric says of these answers to `inputs`."""
        return self._panel.judge(outputs)

    def holds(self, outputs: data.DataSet) -> bool:
        """Does the whole interval of the loss of these answers to `inputs` keep the budget, by every metric."""
        return self._panel.holds(outputs)
