"""The source's own metric: one score for each sample, or one for all of them together (an F1, a correlation).

One for all is asked for again on samples drawn with replacement, so that how sure it is can be told as of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.case_data import read_case
from edgelift_builder.judge import telling
from edgelift_builder.judge.case import Case, Metric
from edgelift_builder.judge.judgement import drawn_samples
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.quantities import LEAST_ERROR
from edgelift_builder.judge.scored import PerSample, Resampled, Scored, step
from edgelift_builder.judge.telling import Judging
from edgelift_builder.source.given import Source
from edgelift_builder.source.held import current
from edgelift_contract.errors import ContractError

#: How often a score of all samples is asked for again.
REDRAWN = 200

#: How often some of the answers are exchanged, and how many of them, to see what one that is wrong costs.
RESPOILT, SPOILT = 50, 0.1

#: How far a share may leave [0, 1]: a cosine of float32 numbers is 1.0000001 now and then.
_ROUNDING = 1e-6


def judging(case: Case, task: str, numbered: Callable[[int], int] = int) -> Judging:
    """How the source of this process is judged: by its own metric, else by its task; `numbered`: see `labelled.check`."""
    source = current()
    if source.metric is None:
        return telling.judging(case, task, numbered)
    return by_own(
        measure(case, numbered), lambda outputs: scored(_scores(outputs, case.labels), data.length(outputs))
    )


def by_own(own: Measure, score: Callable[[data.DataSet], Scored]) -> Judging:
    """By a source's own metric alone."""
    metric = Metric(own, score, "the outputs, by the source's own function")
    return Judging("", "the source brings its metric", (metric,))


@dataclass(frozen=True)
class OwnScores:
    """What a source's metric says of outputs.

    Attributes:
        scores: float64[n], one for each sample, or float64[1], of all.
        drawn, spoilt: of all, of samples drawn with replacement, and with some answers exchanged; see `Resampled`.
    """

    scores: Numbers
    drawn: Numbers | None = None
    spoilt: Numbers | None = None


def scored(found: OwnScores, count: int) -> Scored:
    """The same for the judge; `count` samples."""
    if found.drawn is None or found.spoilt is None:
        return PerSample(found.scores)
    whole = float(found.scores[0])
    return Resampled(whole, found.drawn, count, step(whole, found.spoilt, SPOILT))


def scores(outputs_file: str, folder: str) -> OwnScores:
    """What the metric says of an artifact's outputs in a file; `folder` has the other data sets.

    Raises:
        ContractError: `accuracy-over-budget` where they are no scores: float's were.
    """
    case = read_case(Path(folder), "")
    outputs = data.load(Path(outputs_file))
    try:
        found = _scores(outputs, case.labels)
    except ContractError as error:
        if error.code != "source-invalid":
            raise
        raise ContractError("accuracy-over-budget", f"Of its answers: {error.message}", hint=error.hint) from error
    bad = int((~np.isfinite(found.scores)).sum())
    if bad:
        raise ContractError(
            "accuracy-over-budget",
            f"By the source's metric {bad} of the scores of its {data.length(outputs)} answers are NaN or infinite.",
        )
    return found


def measure(case: Case, numbered: Callable[[int], int] = int) -> Measure:
    """What the source's own metric is, as its float model shows.

    Raises:
        ContractError: `source-invalid` for a direction that is none, or scores that are no numbers.
    """
    source = current()
    if source.metric_better not in ("", "higher", "lower"):
        raise ContractError(
            "source-invalid", f"metric_better is {source.metric_better!r}.", hint='Write "higher" or "lower".'
        )
    found = _scores(case.reference, case.labels).scores
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise ContractError(
            "source-invalid",
            "The source's metric is NaN or infinite for the float model's answer to evaluation sample "
            f"{numbered(int(bad[0]))}{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}.",
            hint="Leave such samples out, or let the metric say what they count.",
        )
    return _told(source, found)


def _told(source: Source, found: Numbers) -> Measure:
    name = source.metric_name or "score"
    if not source.metric_better:
        return Measure(name)
    # A score around nothing has no per cent of itself: then it is of how much it varies.
    least = max(1e-12, LEAST_ERROR * float(found.std()))
    return replace(Measure(name, unit="percent", least=least), better=source.metric_better)  # type: ignore[arg-type]  # checked


def _scores(outputs: data.DataSet, labels: Any) -> OwnScores:
    """One for each sample; or that of all, of `REDRAWN` data sets drawn from it and of `RESPOILT` spoilt ones."""
    source, n = current(), data.length(outputs)
    assert source.metric is not None
    try:
        given = np.asarray(source.metric(outputs, labels))
    except KeyError as error:
        if not error.args or error.args[0] in outputs or not isinstance(error.args[0], str):
            raise
        raise ContractError(
            "source-raised",
            f"The source's metric asked for {error.args[0]!r}; the outputs are {', '.join(outputs)}.",
            hint="Names are output_0, output_1 … in the order in which forward returns them, its keys, or its file's.",
        ) from error
    if given.dtype.kind not in "bfiu":
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {type(given.tolist()).__name__}, no numbers.",
            hint="It must return one number for each sample, or one for all.",
        )
    if given.size == 1 and n > 1:
        whole = _in_range(source, given.astype(np.float64).reshape(1), "one number")
        return OwnScores(whole, *_again(source, outputs, labels))
    if given.size != n:
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {given.dtype.name}{list(given.shape)} for {n} samples.",
            hint="It must return one number for each sample, as (outputs['y'].argmax(-1) == labels), or one for all.",
        )
    return OwnScores(
        _in_range(source, given.astype(np.float64).reshape(n), f"{given.dtype.name}{list(given.shape)}")
    )


def _again(source: Source, outputs: data.DataSet, labels: Any) -> tuple[Numbers, Numbers]:
    """Of samples drawn with replacement; and of all samples, some of which have another one's answer."""
    n, chance = data.length(outputs), np.random.default_rng(0)
    drawn = [
        _once(source, {name: column[rows] for name, column in outputs.items()}, _rows(labels, rows))
        for rows in drawn_samples(n, REDRAWN)
    ]
    spoilt = []
    for _ in range(RESPOILT):
        rows = np.where(chance.random(n) < SPOILT, chance.permutation(n), np.arange(n))
        spoilt.append(_once(source, {name: column[rows] for name, column in outputs.items()}, labels))
    return np.array(drawn), np.array(spoilt)


def _once(source: Source, outputs: data.DataSet, labels: Any) -> float:
    assert source.metric is not None
    try:
        return float(np.asarray(source.metric(outputs, labels)).reshape(()))
    except Exception:  # noqa: BLE001 - a user's code, of samples that happen to have one class only
        return np.nan


def _rows(labels: Any, rows: data.Array) -> Any:
    if isinstance(labels, Mapping):
        return {name: column[rows] for name, column in labels.items()}
    return None if labels is None else labels[rows]


def _in_range(source: Source, found: Numbers, what: str) -> Numbers:
    finite = found[np.isfinite(found)]
    if source.metric_better or not len(finite):
        return found
    if finite.min() < -_ROUNDING or finite.max() > 1 + _ROUNDING:
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {what}, from {finite.min():.9g} to {finite.max():.9g}, where shares from 0 to 1 "
            "are expected.",
            hint='If it has another range, say which way is better: Source(…, metric_better="lower") or "higher".',
        )
    return found.clip(0, 1)
