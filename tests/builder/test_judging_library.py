"""Every metric of the judge is scikit-learn's, on all samples and under any weights of them (as a bootstrap draws them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from edgelift_builder.data import Array
from edgelift_builder.judge import telling
from edgelift_builder.judge.case import Case
from edgelift_builder.judge.scored import value

pytestmark = pytest.mark.builder

N = 300
DRAWN = np.random.default_rng(3)
WEIGHTS = DRAWN.multinomial(N, np.full(N, 1 / N), 5).astype(np.float64)


def check(outputs: Array, labels: Any, task: str, wanted: Callable[[Array], float]) -> None:
    """`wanted`: how often each sample counts → the library's figure."""
    case = Case({}, {"y": outputs}, labels)
    first = telling.judging(case, task).metrics[0]
    scored = first.score(case.reference)
    assert value(scored) == pytest.approx(wanted(np.ones(N)))
    assert scored.under(WEIGHTS) == pytest.approx([wanted(row) for row in WEIGHTS])


def mostly(right: Array, kinds: int, share: float = 0.7) -> Array:
    """Answers that are right in about `share`."""
    return np.where(DRAWN.random(right.shape) < share, right, DRAWN.integers(0, kinds, right.shape))


def scores(found: Array, kinds: int) -> Array:
    return np.eye(kinds)[found] + DRAWN.uniform(0, 0.4, (*found.shape, kinds))


@pytest.mark.parametrize("kinds", [2, 5, 40])
def test_accuracy(kinds: int) -> None:
    right = DRAWN.integers(0, kinds, N)
    found = mostly(right, kinds)
    check(
        scores(found, kinds), right, "classification",
        lambda w: metrics.accuracy_score(right, found, sample_weight=w),
    )  # fmt: skip


def test_balanced_accuracy() -> None:
    right = (DRAWN.random(N) < 0.15).astype(np.int64)
    found = mostly(right, 2)
    check(
        scores(found, 2), right, "classification",
        lambda w: metrics.balanced_accuracy_score(right, found, sample_weight=w),
    )  # fmt: skip


def test_f1_of_many_labels() -> None:
    right = DRAWN.integers(0, 2, (N, 7))
    found = mostly(right, 2)
    check(
        found * 0.6 + 0.2, right, "multilabel",
        lambda w: metrics.f1_score(right, found, average="micro", sample_weight=w),
    )  # fmt: skip


@pytest.mark.parametrize("levels", [4, 1000])
def test_roc_auc(levels: int) -> None:
    odd = DRAWN.integers(0, 2, N)
    score = np.round((odd * 0.3 + DRAWN.random(N)) * levels)
    check(score, odd, "anomaly", lambda w: metrics.roc_auc_score(odd, score, sample_weight=w))


def test_mean_absolute_error() -> None:
    right, found = DRAWN.normal(size=(2, N, 3))
    check(found, right, "regression", lambda w: metrics.mean_absolute_error(right, found, sample_weight=w))


def test_accuracy_of_every_place() -> None:
    right = DRAWN.integers(-1, 4, (N, 9))
    found = mostly(right.clip(0), 4)

    def wanted(weights: Array) -> float:
        there = right >= 0
        each = np.broadcast_to(weights[:, None], right.shape)
        return metrics.accuracy_score(right[there], found[there], sample_weight=each[there])

    check(scores(found, 4), right, "sequence", wanted)


def test_mean_iou() -> None:
    right = DRAWN.integers(0, 4, (N, 6, 6))
    found = mostly(right, 4)

    def wanted(weights: Array) -> float:
        each = np.broadcast_to(weights[:, None, None], right.shape).ravel()
        return metrics.jaccard_score(right.ravel(), found.ravel(), average="macro", sample_weight=each)

    check(np.moveaxis(scores(found, 4), -1, 1), right, "segmentation", wanted)


def test_what_stands_beside() -> None:
    right = DRAWN.normal(size=(N, 1))
    outputs = {"y": right + DRAWN.normal(0, 0.3, (N, 1))}
    beside = telling.judging(Case({}, outputs, right), "regression").metrics[0].beside
    assert beside["RMSE"](outputs) == pytest.approx(metrics.root_mean_squared_error(right, outputs["y"]))
    assert beside["R²"](outputs) == pytest.approx(metrics.r2_score(right, outputs["y"]))
    yes = DRAWN.integers(0, 2, N)
    shares = {"y": (yes * 0.3 + DRAWN.random((1, N)) * 0.7)[0][:, None]}
    beside = telling.judging(Case({}, shares, yes), "binary").metrics[0].beside
    assert beside["ROC AUC"](shares) == pytest.approx(metrics.roc_auc_score(yes, shares["y"]))
    assert beside["balanced accuracy"](shares) == pytest.approx(
        metrics.balanced_accuracy_score(yes, shares["y"] > 0.5)
    )
