"""How good each model's answers are: all evaluation samples by the runtime alone, judged as the build judges."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgelift_builder import data
from edgelift_builder.build import Built
from edgelift_builder.case_data import read_case
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.judge import panel, telling
from edgelift_builder.judge.budgets import Allowed
from edgelift_builder.judge.judgement import Judgement, Verdict
from edgelift_builder.measure import examine
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_contract.errors import EdgeliftError

#: Longest that one model may take for all samples, seconds.
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Answered:
    """What one model's answers are worth.

    Attributes:
        judgement: by the first metric.
        verdict: the worst of all metrics.
        cosine: mean over the samples between its first output and float's; None where that is no list of numbers.
    """

    judgement: Judgement
    verdict: Verdict
    cosine: float | None


class Judge:
    """Asks models and judges their answers by the data sets of a build."""

    def __init__(self, built: Built, data_folder: Path, points: float) -> None:
        """`points`: what the recipe lets a variant lose of a share."""
        case = read_case(data_folder, built.facts.task)
        judging = telling.judging(case, built.facts.task)
        self._data, self._reference = data_folder, data.load(data_folder / REFERENCE)
        self._panel = panel.Panel(judging, case.reference, Allowed(points).judging)

    def floats(self) -> Answered:
        """What float's answers are worth: they are those that all others are held to, by a gate of the build."""
        return self._worth(self._reference)

    def answered(self, name: str, spec: ModelSpec, folder: Path) -> Answered | str:
        """What `spec`'s answers are worth, or why there are none."""
        out = folder / f"{name}.npz"
        with Child(folder / "answers.log") as child:
            try:
                on_failure = OnFailure(name)
                child.call(_answer, spec, str(self._data), str(out), on_failure=on_failure, timeout_s=PATIENCE_S)
            except EdgeliftError as error:
                return error.message
        return self._worth(data.load(out))

    def _worth(self, found: data.DataSet) -> Answered:
        judgements = self._panel.judge(found)
        worst = next(v for v in ("fails", "cannot-tell", "holds") if any(j.verdict == v for j in judgements))
        return Answered(judgements[0], worst, self._cosine(found))

    def _cosine(self, found: data.DataSet) -> float | None:
        name = next(iter(self._reference))
        if self._reference[name].dtype.kind != "f":
            return None
        ours, floats = (
            np.asarray(a[name], np.float64).reshape(len(a[name]), -1) for a in (found, self._reference)
        )
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(floats, axis=1)
        return float(np.mean((ours * floats).sum(axis=1) / np.maximum(lengths, 1e-30)))


def _answer(spec: ModelSpec, data_folder: str, out: str) -> None:
    found = examine.run_each(open_session(spec), data.load(Path(data_folder) / EVALUATION), spec.axes)
    data.save(Path(out), found)
