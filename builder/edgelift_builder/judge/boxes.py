"""Boxes with scores and classes, read from a detector's outputs however they are laid out.

Understood, each for A candidates of C classes:

- one output `[n, A, 4 + C]`, or `[n, 4 + C, A]`: box, then a score for each class;
- one output `[n, A, 6]` after the model's own suppression: corners, score, class;
- several: boxes `[n, A, 4]`, scores `[n, A]` or `[n, A, C]`, and classes `[n, A]` where scores are of one class.

Boxes are corners (x1, y1, x2, y2) where nearly all that are detected can be that, else centre and size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgelift_builder.data import Array, DataSet, is_text
from edgelift_builder.judge.case import numbers

#: Candidates with a lower score are no detections (the usual confidence of the field's own command lines).
CONFIDENCE = 0.25

#: Boxes of one class that overlap more are one object (usual for non-maximum suppression).
SAME_OBJECT = 0.45

#: Share of the detected boxes that have to be possible as corners: a trained model turns one in a thousand inside out.
_MOST_BOXES = 0.99


@dataclass(frozen=True)
class Found:
    """Objects in one picture: `boxes: float64[k, 4]` as corners, `scores: float64[k]`, `classes: int64[k]`."""

    boxes: Array
    scores: Array
    classes: Array


@dataclass(frozen=True)
class Layout:
    """How to read a detector's outputs: words for people, and outputs → boxes, scores of all classes, of every picture."""

    words: str
    take: Callable[[DataSet], tuple[Array, Array]]
    corners: bool


def layout(outputs: DataSet) -> Layout | None:
    """The layout of the float model's outputs; None where they don't look like a detector's."""
    plain = {n: a for n, a in outputs.items() if a.dtype.kind in "fiu" and not is_text(a)}
    for name, array in plain.items():
        if array.ndim == 3 and array.shape[2] == 4:
            return _several(name, plain)
    for name, array in plain.items():
        if array.ndim != 3:
            continue
        for axis in (2, 1):
            if array.shape[axis] >= 5 and array.shape[3 - axis] > 1 and _scores_after_box(array, axis):
                return _one(name, array, axis)
    return None


def _scores_after_box(array: Array, axis: int) -> bool:
    rows = np.moveaxis(array, axis, 2)
    box, scores = rows[..., :4], rows[..., 4:]
    are_shares = bool((scores >= -1e-3).all() and (scores <= 1 + 1e-3).all())
    return are_shares and float(np.abs(box).max(initial=0)) > 1.5 * max(1.0, float(scores.max(initial=0)))


def _one(name: str, array: Array, axis: int) -> Layout:
    def take(outputs: DataSet) -> tuple[Array, Array]:
        rows = numbers(np.moveaxis(outputs[name], axis, 2))
        return rows[..., :4], rows[..., 4:]

    words = f"{name}: boxes and {array.shape[axis] - 4} class scores"
    return Layout(words, take, _are_corners(*take({name: array})))


def _several(name: str, outputs: DataSet) -> Layout | None:
    count = outputs[name].shape[1]
    scores = next(
        (n for n, a in outputs.items() if n != name and a.shape[1:2] == (count,) and a.dtype.kind == "f"), None
    )
    if scores is None:
        return None
    kinds = next((n for n, a in outputs.items() if n not in (name, scores) and a.shape[1:] == (count,)), None)

    def take(found: DataSet) -> tuple[Array, Array]:
        held = numbers(found[scores])
        if held.ndim == 2 and kinds is not None:
            classes = found[kinds].astype(np.int64).clip(0)
            held = (
                np.eye(int(outputs[kinds].max(initial=0)) + 1)[
                    classes.clip(max=int(outputs[kinds].max(initial=0)))
                ]
                * (held[..., None])
            )
        return numbers(found[name]), held if held.ndim == 3 else held[..., None]

    return Layout(f"boxes {name}, scores {scores}", take, _are_corners(*take(outputs)))


def _are_corners(boxes: Array, scores: Array) -> bool:
    """As told by what is detected: a box that a trained model gives to nothing may be of any kind, and inside out too."""
    there = scores.max(-1) >= CONFIDENCE
    judged = boxes[there] if there.any() else boxes.reshape(-1, 4)
    return bool(((judged[:, 2:] >= judged[:, :2]).all(-1)).mean() >= _MOST_BOXES)


def detections(outputs: DataSet, how: Layout) -> list[Found]:
    """The objects of every picture: scores of at least `CONFIDENCE`, of those that overlap the best alone."""
    boxes, scores = how.take(outputs)
    return [_of(boxes[i], scores[i], how.corners) for i in range(len(boxes))]


def _of(boxes: Array, scores: Array, corners: bool) -> Found:
    classes, best = scores.argmax(-1), scores.max(-1)
    there = np.flatnonzero(best >= CONFIDENCE)
    there = there[np.argsort(-best[there], kind="stable")]
    box = boxes[there]
    if not corners:
        box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)
    keep: list[int] = []
    for i in range(len(there)):
        same = [k for k in keep if classes[there[k]] == classes[there[i]]]
        if not same or overlap(box[i : i + 1], box[same]).max() <= SAME_OBJECT:
            keep.append(i)
    return Found(box[keep], best[there][keep], classes[there][keep])


def overlap(one: Array, other: Array) -> Array:
    """Intersection over union of boxes as corners: float64[len(one), len(other)]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(min=0).prod(-1)
    sizes = [(b[:, 2:] - b[:, :2]).clip(min=0).prod(-1) for b in (one, other)]
    made: Array = both / np.maximum(sizes[0][:, None] + sizes[1][None] - both, 1e-12)
    return made
