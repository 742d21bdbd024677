"""Which samples calibrate and choose, and which judge: not the same ones, where there are enough.

What was chosen because it did well on some samples (layers put back to float, a recipe out of a search) does a little better
on these than it will do on others. So calibration samples choose, and evaluation samples judge. A source that
gives no calibration samples has some of its evaluation samples set aside for that, if the rest are still enough to judge by.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from edgelift_builder import data, ragged
from edgelift_builder.judge.judgement import LEAST_SAMPLES

#: From so many evaluation samples on, every `EACH`th is set aside, at most `MOST`: 900 are left, and about 770 show that a
#: model that errs nowhere keeps a budget of half a point (`intervals.tango_samples`).
ENOUGH, EACH, MOST = 1200, 4, 500

#: Evaluation samples that stand in where there are too few to set some aside.
STAND_IN = 200


@dataclass(frozen=True)
class Divided:
    """Who does what.

    Attributes:
        evaluation, labels: judge.
        calibration: calibrates; where it is `held_out` from those that judge, it chooses too.
        set_aside: was it taken from among the evaluation samples.
    """

    evaluation: data.DataSet
    labels: data.DataSet
    calibration: data.DataSet
    held_out: bool
    set_aside: bool = False


def divide(
    evaluation: data.DataSet, labels: data.DataSet, calibration: data.DataSet | None, remarks: list[str]
) -> Divided:
    """Who judges and who chooses.

    Args:
        evaluation: n samples.
        labels: of these, or empty.
        calibration: as the source gave it; None where it gave none.
        remarks: for people, to be added to.
    """
    if calibration is not None:
        return _given(evaluation, labels, calibration, remarks)
    count = data.length(evaluation)
    if count < ENOUGH:
        remarks.append(
            f"There are no calibration inputs, and of {count} evaluation samples none can be spared (from {ENOUGH} on some "
            f"can): the first {min(count, STAND_IN)} calibrate, and what is chosen is chosen by the samples that judge it."
        )
        return Divided(evaluation, labels, data.sample(evaluation, 0, STAND_IN), held_out=False)
    aside = np.zeros(count, dtype=bool)
    aside[: EACH * MOST : EACH] = True
    remarks.append(
        f"There are no calibration inputs: {aside.sum()} of {count} evaluation samples were set aside to calibrate and to "
        f"choose by; the other {count - aside.sum()} judge."
    )
    return Divided(
        _rows(evaluation, ~aside), _rows(labels, ~aside), _rows(evaluation, aside), held_out=True, set_aside=True
    )


def original(place: int) -> int:
    """What number a sample had that is at `place` (from 0) among those that were left."""
    taken_apart = (EACH - 1) * MOST
    return place // (EACH - 1) * EACH + place % (EACH - 1) + 1 if place < taken_apart else place + MOST


def _given(
    evaluation: data.DataSet, labels: data.DataSet, calibration: data.DataSet, remarks: list[str]
) -> Divided:
    known = set(_digests(evaluation))
    shared = sum(digest in known for digest in _digests(calibration))
    if shared:
        remarks.append(
            f"{shared} of {data.length(calibration)} calibration samples are evaluation samples, too: what is chosen is "
            "chosen by samples that judge it."
        )
    return Divided(
        evaluation, labels, calibration, held_out=not shared and data.length(calibration) >= LEAST_SAMPLES
    )


def _rows(columns: data.DataSet, chosen: np.ndarray) -> data.DataSet:
    return {name: column[chosen] for name, column in columns.items()}


def _digests(columns: data.DataSet) -> list[bytes]:
    """One for each sample."""
    digests = [hashlib.sha256() for _ in range(data.length(columns))]
    for column in columns.values():
        for digest, sample in zip(digests, column, strict=True):
            digest.update(
                np.ascontiguousarray(sample).data if not ragged.is_ragged(column) else np.asarray(sample).tobytes()
            )
    return [digest.digest() for digest in digests]
