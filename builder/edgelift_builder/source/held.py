"""What the child process holds between calls: the source, the modules that steps made of it, its metric.

Module state, because calls into a child are functions and a process holds one source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.facts import LABELS, REFERENCE
from edgelift_builder.measure import evaluate
from edgelift_builder.source.given import Source
from edgelift_contract.errors import ContractError

#: The one source of this process, once `load_source` has run.
_current: list[Source] = []

#: What steps made of its model: handle → module.
_modules: dict[str, Any] = {}


def hold(source: Source) -> None:
    """Keep the source of this process."""
    _current[:] = [source]


def current() -> Source:
    """The source that this child process holds."""
    return _current[0]


def module(handle: str) -> Any:
    """The module a step left under `handle`; the source's own model for the empty one."""
    return _modules[handle] if handle else current().model


def keep_module(handle: str, made: Any) -> None:
    """Keep a step's module for the steps after it."""
    _modules[handle] = made


def own_scores(outputs_file: str, folder: str) -> list[float]:
    """Scores of the outputs in a file by the source's own metric, one per sample; `folder` has the other data sets.

    Raises:
        ContractError: `source-invalid` when it does not return one number from 0 to 1 for each sample.
    """
    labels, reference = data.load(Path(folder) / LABELS), data.load(Path(folder) / REFERENCE)
    return [float(score) for score in scores_of(data.load(Path(outputs_file)), labels, reference)]


def scores_of(outputs: data.DataSet, labels: data.DataSet, reference: data.DataSet) -> evaluate.Scores:
    """Scores of `outputs` as the build will judge them: by the source's metric, else by `evaluate.score`."""
    metric = current().metric
    if metric is None:
        return evaluate.score(outputs, labels, reference)
    scores = np.asarray(metric(outputs, labels.get("labels")), dtype=np.float64)
    n = data.length(outputs)
    if scores.shape != (n,) or not ((scores >= 0) & (scores <= 1)).all():
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {scores.dtype.name}{list(scores.shape)} for {n} samples.",
            hint="It must return one score from 0 to 1 for each sample.",
        )
    return scores
