"""What the child process holds between calls: the source, the modules that steps made of it, its metric.

Module state, because calls into a child are functions and a process holds one source.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.case_data import read_case
from edgelift_builder.judge import telling
from edgelift_builder.judge.case import Case, Metric
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import PerSample
from edgelift_builder.judge.telling import Judging
from edgelift_builder.source.given import Source
from edgelift_contract.errors import ContractError

#: The one source of this process, once `load_source` has run.
_current: list[Source] = []

#: One call of its model, with the sample axes of its inputs.
_example: list[tuple[data.DataSet, calls.Axes]] = []

#: What steps made of its model: handle → module.
_modules: dict[str, Any] = {}


def hold(source: Source) -> None:
    """Keep the source of this process."""
    _current[:] = [source]


def current() -> Source:
    """The source that this child process holds."""
    return _current[0]


def keep_example(call: data.DataSet, axes: calls.Axes) -> None:
    """Keep one call of the model, an array for each parameter, and the sample axes of its inputs."""
    _example[:] = [(call, axes)]


def example() -> tuple[data.DataSet, calls.Axes]:
    """What `keep_example` kept."""
    return _example[0]


def module(handle: str) -> Any:
    """The module a step left under `handle`; the source's own model for the empty one."""
    return _modules[handle] if handle else current().model


def keep_module(handle: str, made: Any) -> None:
    """Keep a step's module for the steps after it."""
    _modules[handle] = made


def own_scores(outputs_file: str, folder: str) -> list[float]:
    """Scores of the outputs in a file by the source's own metric, one per sample; `folder` has the other data sets.

    Raises:
        ContractError: `source-invalid` when it does not return one number for each sample, or one out of its range.
    """
    case = read_case(Path(folder), "")
    return [float(score) for score in _scores(data.load(Path(outputs_file)), case.labels)]


def judging(case: Case, task: str) -> Judging:
    """How the source is judged: by its own metric, else as its task says."""
    source = current()
    if source.metric is None:
        return telling.judging(case, task)
    return own_judging(own_measure(source), lambda outputs: _scores(outputs, case.labels))


def own_judging(measure: Measure, scores: Callable[[data.DataSet], Numbers]) -> Judging:
    """By a source's own metric alone."""
    metric = Metric(
        measure, lambda outputs: PerSample(scores(outputs)), "the outputs, by the source's own function"
    )
    return Judging("", "the source brings its metric", (metric,))


def own_measure(source: Source) -> Measure:
    """What the source's own metric is.

    Raises:
        ContractError: `source-invalid` for a direction that is none.
    """
    name = source.metric_name or "score"
    if source.metric_better not in ("", "higher", "lower"):
        raise ContractError(
            "source-invalid", f"metric_better is {source.metric_better!r}.", hint='Write "higher" or "lower".'
        )
    return Measure(name) if not source.metric_better else Measure(name, source.metric_better, "percent")  # type: ignore[arg-type]


#: How far a share may leave [0, 1]: a cosine of float32 numbers is 1.0000001 now and then.
_ROUNDING = 1e-6


def _scores(outputs: data.DataSet, labels: Any) -> Numbers:
    source, n = current(), data.length(outputs)
    assert source.metric is not None
    scores = np.asarray(source.metric(outputs, labels), dtype=np.float64)
    said = f"The source's metric returned {scores.dtype.name}{list(scores.shape)} for {n} samples"
    if scores.shape != (n,) or not np.isfinite(scores).all():
        what = "" if scores.shape != (n,) else f", {int((~np.isfinite(scores)).sum())} of them NaN or infinite"
        raise ContractError("source-invalid", f"{said}{what}.", hint="It must return one number for each sample.")
    if not source.metric_better:
        if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
            raise ContractError(
                "source-invalid",
                f"{said}, from {scores.min():.9g} to {scores.max():.9g}, where shares from 0 to 1 are expected.",
                hint='If it has another range, say which way is better: Source(…, metric_better="lower").',
            )
        scores = scores.clip(0, 1)
    return scores
