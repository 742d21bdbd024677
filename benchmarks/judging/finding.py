"""F1 of detections above a confidence of 0.25 at an overlap of a half: written here anew, to hold the builder's against."""

from typing import Any

import numpy as np

from benchmarks.judging.truth import FIRST, Arrays

Box = tuple[float, float, float, float]


def two_outputs(outputs: Arrays, right: Any, *_: Arrays) -> float:
    """Corners [n, A, 4] and scores [n, A, classes]."""
    return _f1(outputs["output_0"], outputs["output_1"], right)


def one_output(outputs: Arrays, right: Any, *_: Arrays) -> float:
    """Centre, size and scores [n, 4 + classes, A]."""
    return _f1(*_apart(outputs), right)


def as_float(outputs: Arrays, _right: Any, _inputs: Arrays, floats: Arrays) -> float:
    """The same against what float detects."""
    wanted = []
    for corners, scores in zip(*_apart(floats), strict=True):
        found = _chosen(corners, scores)
        wanted.append({"boxes": [box for box, _ in found], "labels": [kind for _, kind in found]})
    return _f1(*_apart(outputs), wanted)


def _apart(outputs: Arrays) -> tuple[Any, Any]:
    rows = outputs[FIRST].transpose(0, 2, 1)
    middle, size = rows[..., :2], rows[..., 2:4]
    return np.concatenate([middle - size / 2, middle + size / 2], axis=-1), rows[..., 4:]


def _f1(corners: Any, scores: Any, right: Any) -> float:
    hits = said = wanted = 0
    for boxes, shares, label in zip(corners, scores, right, strict=True):
        left = [(tuple(map(float, b)), int(k)) for b, k in zip(label["boxes"], label["labels"], strict=True)]
        found = _chosen(boxes, shares)
        said, wanted = said + len(found), wanted + len(left)
        for box, kind in found:
            fits = [(_overlap(box, other), other) for other, its in left if its == kind]
            if fits and max(fits)[0] >= 0.5:
                left.remove((max(fits)[1], kind))
                hits += 1
    return 2 * hits / max(1, said + wanted)


def _chosen(boxes: Any, shares: Any) -> list[tuple[Box, int]]:
    """The best first; of boxes of one class that overlap by more than 0.45 the best alone."""
    kept: list[tuple[Box, int]] = []
    for place in np.argsort(-shares.max(-1), kind="stable"):
        x1, y1, x2, y2 = map(float, boxes[place])
        box, kind = (x1, y1, x2, y2), int(shares[place].argmax())
        apart = all(other != kind or _overlap(box, its) <= 0.45 for its, other in kept)
        if shares[place].max() >= 0.25 and apart:
            kept.append((box, kind))
    return kept


def _overlap(one: Box, other: Box) -> float:
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = sum(max(0.0, b[2] - b[0]) * max(0.0, b[3] - b[1]) for b in (one, other))
    return across * down / max(areas - across * down, 1e-12)
