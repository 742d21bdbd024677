"""Boxes with scores and classes: which of a detector's candidates are objects, and how far two boxes overlap.

How candidates stand in a model's outputs is the business of `layouts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgelift_builder.data import Array

#: Candidates with a lower score are no detections (the usual confidence of the field's own command lines).
CONFIDENCE = 0.25

#: Boxes of one class that overlap more are one object (usual for non-maximum suppression).
SAME_OBJECT = 0.45

#: Share of the detected boxes that have to be possible as corners: a trained model turns one in a thousand inside out.
_MOST_BOXES = 0.99

#: What the four numbers of a box are: x1, y1, x2, y2; centre, width, height; x1, y1, width, height; y1, x1, y2, x2.
Corners = Literal["corners", "centre and size", "corner and size", "corners, y before x"]


@dataclass(frozen=True)
class Found:
    """Objects in one picture: `boxes: float64[k, 4]`, `scores: float64[k]`, `classes: int64[k]`."""

    boxes: Array
    scores: Array
    classes: Array


def confident(found: Found) -> Found:
    """Those with a score of at least `CONFIDENCE`, the best first."""
    there = np.flatnonzero(found.scores >= CONFIDENCE)
    there = there[np.argsort(-found.scores[there], kind="stable")]
    return Found(found.boxes[there], found.scores[there], found.classes[there])


def as_corners(found: Found, given: Corners) -> Found:
    """The same with boxes as x1, y1, x2, y2."""
    box = found.boxes
    if given == "centre and size":
        box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)
    elif given == "corner and size":
        box = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
    elif given == "corners, y before x":
        box = box[:, [1, 0, 3, 2]]
    return Found(box, found.scores, found.classes)


def suppressed(found: Found) -> Found:
    """Of boxes of one class that overlap, the best alone; `found` as corners, the best first."""
    keep: list[int] = []
    for i in range(len(found.boxes)):
        same = [k for k in keep if found.classes[k] == found.classes[i]]
        if not same or overlap(found.boxes[i : i + 1], found.boxes[same]).max() <= SAME_OBJECT:
            keep.append(i)
    return Found(found.boxes[keep], found.scores[keep], found.classes[keep])


def can_be_corners(boxes: Array) -> bool:
    """Can nearly all of `boxes: float64[k, 4]` be x1, y1, x2, y2."""
    return not len(boxes) or bool((boxes[:, 2:] >= boxes[:, :2]).all(-1).mean() >= _MOST_BOXES)


def overlap(one: Array, other: Array) -> Array:
    """Intersection over union of boxes as corners: float64[len(one), len(other)]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(min=0).prod(-1)
    sizes = [(b[:, 2:] - b[:, :2]).clip(min=0).prod(-1) for b in (one, other)]
    made: Array = both / np.maximum(sizes[0][:, None] + sizes[1][None] - both, 1e-12)
    return made
