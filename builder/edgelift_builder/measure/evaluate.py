"""How good an artifact is beside the float model, on the same samples.

Each sample gets a score between 0 and 1 from the float model's output and one from the artifact's; the
difference of the two is what a budget is held against, as an interval and not as a point: *holds* when even
its upper end keeps the budget, *fails* when even its lower end breaks it, *cannot tell* in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgelift_builder.data import Array, DataSet, is_text, kind_name
from edgelift_builder.measure import intervals
from edgelift_contract.errors import ContractError

Scores = npt.NDArray[np.float64]
Verdict = Literal["holds", "fails", "cannot-tell"]

#: A float variant may differ from the source's own float by this share of the outputs' range.
FLOAT_TOLERANCE = 1e-3

#: Outputs that are numbers rather than scores agree when they differ by less than this share of the range.
AGREEMENT_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Judgement:
    """What the evaluation set says of one artifact. All shares of 1, drops in percentage points.

    Attributes:
        metric, n: what was measured, on how many samples.
        value, low, high: the metric and its 95 % interval.
        baseline: the float model's.
        drop_pp, drop_low_pp, drop_high_pp: float minus artifact, paired, with its 95 % interval.
        lost, gained: samples only the float model, and only the artifact, has right; 0 where scores are no 0/1.
        method: which interval.
        verdict: against the budget; samples_needed: about how many would tell, were pairs to differ as often as in these,
            where the verdict is `cannot-tell` and a number would do.
    """

    metric: str
    n: int
    value: float
    low: float
    high: float
    baseline: float
    drop_pp: float
    drop_low_pp: float
    drop_high_pp: float
    lost: int
    gained: int
    method: str
    verdict: Verdict
    samples_needed: int | None = None


def score(outputs: DataSet, labels: DataSet, reference: DataSet) -> Scores:
    """Score per sample, float64[n]: right or wrong where there are labels, else agreeing with float or not. Text is right
    when it is the same to the letter.

    Args:
        outputs: the artifact's; the first one counts.
        reference: the float model's.
        labels: with the key `labels`, or empty.

    Raises:
        ContractError: `source-invalid` when labels are neither class numbers nor, for text, text of the same shape: a
            metric is needed then.
    """
    name = next(iter(outputs))
    found, float_found = outputs[name], reference[name]
    if labels and is_text(found):
        return _same_text(found, labels["labels"])
    if labels:
        right = labels["labels"]
        if right.shape != found.shape[:-1] or not np.issubdtype(right.dtype, np.integer) or found.ndim < 2:
            raise ContractError(
                "source-invalid",
                f"Accuracy cannot be told from labels {right.dtype.name}{list(right.shape)} "
                f"and outputs {found.dtype.name}{list(found.shape)}.",
                hint="Give the source a metric: a function of outputs and labels that returns a score per sample.",
            )
        return _per_sample(found.argmax(-1) == right)
    if is_text(found):
        return _per_sample(found == float_found)
    if found.ndim >= 2 and found.shape[-1] > 1:
        return _per_sample(found.argmax(-1) == float_found.argmax(-1))
    return _per_sample(np.abs(found - float_found) <= AGREEMENT_TOLERANCE * spread(float_found))


def _same_text(found: Array, right: Array) -> Scores:
    if not is_text(right) or right.size != found.size or len(right) != len(found):
        raise ContractError(
            "source-invalid",
            f"Accuracy cannot be told from labels {kind_name(right)}{list(right.shape)} and outputs "
            f"str{list(found.shape)}.",
            hint="Give the label of each sample as text, or the source a metric.",
        )
    return _per_sample(found == right.reshape(found.shape))


def judge(metric: str, scores: Scores, baseline: Scores, budget_pp: float) -> Judgement:
    """Hold an artifact's scores against the float model's on the same samples, both float64[n]."""
    n = len(scores)
    difference = baseline - scores
    binary = bool(np.isin(scores, (0, 1)).all() and np.isin(baseline, (0, 1)).all())
    if binary:
        lost, gained = int((difference > 0).sum()), int((difference < 0).sum())
        low, high = intervals.tango(lost, gained, n)
        value_low, value_high = intervals.wilson(int(scores.sum()), n)
        method = "Tango 1998, paired score interval"
    else:
        lost = gained = 0
        low, high = intervals.mean_t(difference)
        value_low, value_high = intervals.mean_t(scores)
        method = "paired t interval"
    said = verdict(100 * low, 100 * high, budget_pp)
    wanting = said == "cannot-tell" and binary
    return Judgement(
        metric=metric, n=n, value=float(scores.mean()), low=value_low, high=value_high,
        baseline=float(baseline.mean()), drop_pp=100 * float(difference.mean()),
        drop_low_pp=100 * low, drop_high_pp=100 * high, lost=lost, gained=gained, method=method,
        verdict=said,
        samples_needed=intervals.tango_samples(lost, gained, n, budget_pp / 100) if wanting else None,
    )  # fmt: skip


def verdict(low_pp: float, high_pp: float, budget_pp: float) -> Verdict:
    """What an interval of the drop says of a budget, all in percentage points."""
    if high_pp <= budget_pp:
        return "holds"
    return "fails" if low_pp > budget_pp else "cannot-tell"


def largest_difference(outputs: DataSet, reference: DataSet) -> float:
    """Largest absolute difference over all outputs, as a share of the reference's range; NaN is infinite."""
    shares = [apart(outputs[name], reference[name]) / (spread(reference[name]) or 1.0) for name in reference]
    return max((s if np.isfinite(s) else float("inf") for s in shares), default=0.0)


def apart(one: Array, other: Array) -> float:
    """Largest absolute difference of two arrays of one shape; of text 0 where it is the same, else infinite."""
    if is_text(one) or is_text(other):
        return 0.0 if np.array_equal(one, other) else float("inf")
    return float(np.max(np.abs(one.astype(np.float64) - other), initial=0.0))


def spread(array: Array) -> float:
    """Range of an array: its maximum less its minimum; 0 when empty, and of text."""
    return float(array.max() - array.min()) if array.size and not is_text(array) else 0.0


def _per_sample(right: Array) -> Scores:
    means: Scores = right.reshape(len(right), -1).mean(axis=1, dtype=np.float64)
    return means
