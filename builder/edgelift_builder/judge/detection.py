"""Detection: are the same objects found, in the same places, by the same class.

What is budgeted is F1 at a fixed confidence: every labelled object is found or missed, every detection right or wrong, by an
overlap of a half (PASCAL VOC's); a picture's counts add up, so that a loss has an interval. Without labels the float model's
own detections stand in for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgelift_builder.data import DataSet
from edgelift_builder.judge.boxes import CONFIDENCE, Found, Layout, detections, layout, overlap
from edgelift_builder.judge.case import Case, Metric, numbers, refuse
from edgelift_builder.judge.classes import f1
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import Sums
from edgelift_contract.errors import ContractError

#: Least overlap of a detection with its object.
OVERLAP = 0.5

#: A loss against the float model's own detections.
OWN_DETECTIONS = 1.0


def detection(case: Case) -> Metric:
    """F1 of detections against the labels, or float's own detections where there are none."""
    how = layout(case.reference)
    if how is None:
        raise refuse(
            "detection", case, "It needs boxes and scores: [n, boxes, 4 + classes], or one output for each."
        )
    if case.labels is not None:
        wanted = _labelled(case)
        words = f"{how.words}, against the labels"
        return Metric(Measure("detection F1"), lambda out: _counts(out, how, wanted), words, 0.0)
    wanted = detections(case.reference, how)
    if not any(len(picture.boxes) for picture in wanted):
        raise ContractError(
            "source-invalid",
            f"The float model itself detects nothing above {CONFIDENCE:g} in {len(wanted)} pictures ({how.words}).",
            hint="Give pictures with objects in them, or labels.",
        )
    measure = Measure("detection agreement", usual=OWN_DETECTIONS)
    return Metric(measure, lambda out: _counts(out, how, wanted), f"{how.words}, against float's own detections")


def _labelled(case: Case) -> list[Found]:
    columns = case.labels
    if not isinstance(columns, Mapping) or set(columns) != {"boxes", "labels"}:
        raise refuse(
            "detection", case, 'It needs a label for each picture: {"boxes": [k, 4] corners, "labels": [k]}.'
        )
    wanted = []
    for box, kind in zip(columns["boxes"], columns["labels"], strict=True):
        boxes, classes = numbers(box).reshape(-1, 4), np.asarray(kind, dtype=np.int64).reshape(-1)
        wanted.append(Found(boxes, np.ones(len(boxes)), classes))
    return wanted


def _counts(outputs: DataSet, how: Layout, wanted: Sequence[Found]) -> Sums:
    found = detections(outputs, how)
    return Sums(np.array([_matched(f, w) for f, w in zip(found, wanted, strict=True)], dtype=np.float64), f1)


def _matched(found: Found, wanted: Found) -> tuple[int, int, int]:
    """(right, wrong, missed): the best detections first take the object of their class that they overlap most."""
    free = np.ones(len(wanted.boxes), dtype=bool)
    shares = overlap(found.boxes, wanted.boxes)
    for i in range(len(found.boxes)):
        fits: Numbers = shares[i] * (free & (wanted.classes == found.classes[i]))
        if fits.size and fits.max() >= OVERLAP:
            free[fits.argmax()] = False
    right = int((~free).sum())
    return right, len(found.boxes) - right, int(free.sum())
