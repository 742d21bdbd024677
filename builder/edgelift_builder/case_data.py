"""The case that a build's data sets make: see `judge.case`."""

from __future__ import annotations

from pathlib import Path

from edgelift_builder import data
from edgelift_builder.facts import EVALUATION, LABELS, REFERENCE
from edgelift_builder.judge.case import Case


def read_case(folder: Path, task: str) -> Case:
    """The case of the data sets in `folder`, for a model of that task."""
    labels = data.load(folder / LABELS)
    inputs = data.load(folder / EVALUATION) if task == "anomaly" else {}  # nobody else looks at them
    only = labels["labels"] if set(labels) == {"labels"} else labels or None
    return Case(inputs, data.load(folder / REFERENCE), only)
