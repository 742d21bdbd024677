"""What tests of the judge share: a case of arrays, its judgements, the task that is told, labels to answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import budgets, panel, telling
from edgelift_builder.judge.case import Case
from edgelift_builder.judge.judgement import Judgement


def case(outputs: DataSet | Array, labels: Any = None, inputs: DataSet | None = None) -> Case:
    return Case(inputs or {}, outputs if isinstance(outputs, dict) else {"y": outputs}, labels)


def judged(given: Case, outputs: DataSet | Array, task: str = "", asked: float | None = None) -> list[Judgement]:
    found = telling.judging(given, task)
    allowed = budgets.resolve(budgets.named(found.metrics), 0.5, asked)
    outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
    return list(panel.Panel(found, given.reference, allowed.judging).judge(outputs))


def told(outputs: DataSet | Array, labels: Any) -> str:
    return telling.judging(case(outputs, labels), "").task


def one_hot(classes: Array, count: int) -> Array:
    return np.eye(count, dtype=np.float32)[classes]


N = 1000
_DRAWN = np.random.default_rng(1)
CLASSES = _DRAWN.integers(0, 4, N)
#: Logits by which `CLASSES` are found.
SCORES = one_hot(CLASSES, 4) * 3 + _DRAWN.normal(0, 0.5, (N, 4)).astype(np.float32)
PIXELS = _DRAWN.integers(0, 3, (40, 8, 8))
MASK = _DRAWN.integers(0, 2, (40, 8, 8))
FRAMES = _DRAWN.integers(0, 5, (80, 5))
