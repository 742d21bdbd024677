"""Detection: are the same objects found, in the same places, by the same class.

What is budgeted is F1 at a fixed confidence: every labelled object is found or missed, every detection right or wrong, by an
overlap of a half (PASCAL VOC's); a picture's counts add up, so that a loss has an interval. A half leaves room: boxes may
move by a fifth of their width and still be right. So how far those that are right overlap has a budget of its own. Without
labels the float model's own detections stand in for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge.boxes import CONFIDENCE, Found, overlap
from edgelift_builder.judge.case import Case, Metric, Reading, numbers
from edgelift_builder.judge.classes import f1, ratio
from edgelift_builder.judge.layouts import Layout, detections, every_kind_of_box, likeliest, readings
from edgelift_builder.judge.measure import Measure, Numbers
from edgelift_builder.judge.scored import Sums, value
from edgelift_builder.judge.vanished import Right
from edgelift_contract.errors import ContractError

#: Least overlap of a detection with its object.
OVERLAP = 0.5

#: A loss against the float model's own detections.
OWN_DETECTIONS = 1.0

#: What boxes that are right may overlap their objects less than float's do, points: about what a move by 3 % of their width
#: costs. Float's own boxes overlap themselves wholly, so that there any move costs twice as much.
LESS_OVERLAP, OWN_OVERLAP = 5.0, 10.0

#: Pictures by which the layout is told: those that the float model has right show it.
_TELLING = 64

#: Constant answers that are tried.
_GUESSES = 16


def detection(case: Case, *, known: bool = True) -> Iterator[Reading]:
    """F1 of detections against the labels, or float's own detections where there are none; `known`: see `layouts`."""
    if case.labels is not None:
        wanted = _labelled(case)
        how = None if wanted is None else _fitting(case, wanted)
        if how is not None and wanted is not None:
            matches = _Matches(how, wanted)
            words = f"{how.words}, against the labels"
            first = Metric(
                Measure("detection F1"), matches.counts, words, _constant(wanted), looks_at=how.looks_at,
                rights=matches.rights,
            )  # fmt: skip
            overlap_of = Measure("box overlap", usual=LESS_OVERLAP)
            yield (first, Metric(overlap_of, matches.overlaps, "what is rightly found", looks_at=how.looks_at))
        return
    how = likeliest(case.reference, known=known)
    if how is not None:
        yield _own(case, how)


def _own(case: Case, how: Layout) -> Reading:
    wanted = detections(case.reference, how)
    if not any(len(picture.boxes) for picture in wanted):
        raise ContractError(
            "source-invalid",
            f"The float model itself detects nothing above {CONFIDENCE:g} in {len(wanted)} pictures ({how.words}).",
            hint="Give pictures with objects in them, or labels.",
        )
    matches, words = _Matches(how, wanted), f"{how.words}, against float's own detections"
    return (
        Metric(Measure("detection agreement", usual=OWN_DETECTIONS), matches.counts, words, rights=matches.rights),
        Metric(Measure("box overlap", usual=OWN_OVERLAP), matches.overlaps, "what is found again"),
    )


def _fitting(case: Case, wanted: Sequence[Found]) -> Layout | None:
    """The reading of the outputs by which the float model is right most often."""
    few = {name: array[:_TELLING] for name, array in case.reference.items()}
    likely = likeliest(case.reference, known=True)
    every = [kind for how in readings(case.reference, known=True) for kind in every_kind_of_box(how)]
    scores = [value(_counts(few, how, wanted[: len(next(iter(few.values())))])) for how in every]
    best = max(scores, default=0.0)
    if best <= _constant(wanted):  # none is right: what they look like says more than what chance liked best
        return likely or next(iter(every), None)
    return every[scores.index(best)]


def _constant(wanted: Sequence[Found]) -> float:
    """What always finding the objects of one of the first pictures would get."""

    def always(answer: Found) -> float:
        rows = np.array([_matched(answer, picture)[0][:3] for picture in wanted], dtype=np.float64)
        return float(f1(rows.sum(axis=0, keepdims=True))[0])

    return max((always(answer) for answer in wanted[:_GUESSES]), default=0.0)


def _labelled(case: Case) -> list[Found] | None:
    columns = case.labels
    if not isinstance(columns, Mapping) or set(columns) != {"boxes", "labels"}:
        return None
    wanted = []
    for box, kind in zip(columns["boxes"], columns["labels"], strict=True):
        boxes, classes = numbers(box).reshape(-1, 4), np.asarray(kind, dtype=np.int64).reshape(-1)
        wanted.append(Found(boxes, np.ones(len(boxes)), classes))
    return wanted


def _counts(outputs: DataSet, how: Layout, wanted: Sequence[Found]) -> Sums:
    return _Matches(how, wanted).counts(outputs)


class _Matches:
    """Detections of one artifact after another, held against what is there."""

    def __init__(self, how: Layout, wanted: Sequence[Found]) -> None:
        self._how, self._wanted = how, wanted
        self._of: DataSet | None = None
        self._rows: Numbers = np.empty((0, 4))
        self._right: Sequence[Array] = ()

    def counts(self, outputs: DataSet) -> Sums:
        """F1."""
        return Sums(self._matched(outputs)[:, :3], f1, float(sum(len(picture.boxes) for picture in self._wanted)))

    def overlaps(self, outputs: DataSet) -> Sums:
        """How far detections that are right overlap their objects, on average."""
        return Sums(self._matched(outputs)[:, [3, 0]], ratio)

    def rights(self, outputs: DataSet) -> Right:
        """The objects that are found."""
        self._matched(outputs)
        classes = [picture.classes[found] for picture, found in zip(self._wanted, self._right, strict=True)]
        return Right(np.concatenate(classes), np.repeat(np.arange(len(classes)), [len(one) for one in classes]))

    def _matched(self, outputs: DataSet) -> Numbers:
        """See `_matched`, of every picture: float64[n, 4]. All measures ask, one after the other."""
        if self._of is not outputs:
            pairs = zip(detections(outputs, self._how), self._wanted, strict=True)
            rows, self._right = zip(*(_matched(f, w) for f, w in pairs), strict=True)
            self._of, self._rows = outputs, np.array(rows, dtype=np.float64)
        return self._rows


def _matched(found: Found, wanted: Found) -> tuple[tuple[int, int, int, float], Array]:
    """(right, wrong, missed, sum of the overlaps of those that are right), and which objects were found: the best detections
    first take the object of their class that they overlap most.
    """
    free, far = np.ones(len(wanted.boxes), dtype=bool), 0.0
    shares = overlap(found.boxes, wanted.boxes)
    for i in range(len(found.boxes)):
        fits: Numbers = shares[i] * (free & (wanted.classes == found.classes[i]))
        if fits.size and fits.max() >= OVERLAP:
            free[fits.argmax()] = False
            far += float(fits.max())
    right = int((~free).sum())
    return (right, len(found.boxes) - right, int(free.sum()), far), ~free
