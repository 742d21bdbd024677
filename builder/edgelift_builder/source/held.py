"""What the child process holds between calls: the source, the modules that steps made of it, its metric.

Module state, because calls into a child are functions and a process holds one source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgelift_builder import data
from edgelift_builder.facts import LABELS
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
    """Scores by the source's own metric, one per sample.

    Raises:
        ContractError: `source-invalid` when it does not return one number from 0 to 1 for each sample.
    """
    labels = data.load(Path(folder) / LABELS)
    return [float(score) for score in _own_scores(data.load(Path(outputs_file)), labels)]


def scores_of(outputs: data.DataSet, labels: data.DataSet, reference: data.DataSet) -> evaluate.Scores:
    """Scores of `outputs` as the build will judge them: by the source's metric, else by `evaluate.score`."""
    if current().metric is not None:
        return _own_scores(outputs, labels)
    return evaluate.score(outputs, labels, reference)


def _own_scores(outputs: data.DataSet, labels: data.DataSet) -> evaluate.Scores:
    source = current()
    assert source.metric is not None
    scores = np.asarray(source.metric(outputs, labels.get("labels")), dtype=np.float64)
    n = data.length(outputs)
    if scores.shape != (n,) or not ((scores >= 0) & (scores <= 1)).all():
        raise ContractError(
            "source-invalid",
            f"The source's metric returned {scores.dtype.name}{list(scores.shape)} for {n} samples.",
            hint="It must return one score from 0 to 1 for each sample.",
        )
    return scores
