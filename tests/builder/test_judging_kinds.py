"""The judge on kinds of answers that nobody listed: points, vectors, masks, bytes, sequences, what is no number."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.judge import labelled, panel, telling
from edgelift_builder.judge.budgets import Allowed
from edgelift_contract.errors import ContractError
from tests.builder.judging import CLASSES, PIXELS, SCORES, N, case, judged, one_hot

pytestmark = pytest.mark.builder

DRAWN = np.random.default_rng(23)


def test_what_a_mask_rules_out_is_no_difference() -> None:
    floats = np.where(DRAWN.random((N, 6)) < 0.3, -np.inf, DRAWN.normal(size=(N, 6)))
    assert judged(case(floats), floats)[0].verdict == "holds"
    assert judged(case(floats), np.where(np.isinf(floats), -1e4, floats))[0].verdict == "fails"


def test_pictures_of_bytes_are_quantities_and_masks_are_not() -> None:
    picture = DRAWN.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    near = (picture.astype(int) + DRAWN.integers(-1, 2, picture.shape)).clip(0, 255).astype(np.uint8)
    assert [(j.metric, j.verdict) for j in judged(case(picture), near)] == [("relative error", "holds")]
    rounded = DRAWN.integers(-128, 128, (40, 8)).astype(np.int8)
    step = (rounded.astype(int) + DRAWN.integers(-1, 2, rounded.shape)).clip(-128, 127).astype(np.int8)
    assert [(j.metric, j.verdict) for j in judged(case(rounded), step)] == [("relative error", "holds")]
    some = PIXELS.copy()
    some[:, 0, 0] = (some[:, 0, 0] + 1) % 3
    assert judged(case(PIXELS), some)[0].value == pytest.approx(63 / 64)


def test_points_that_are_not_labelled_do_not_count() -> None:
    right = DRAWN.uniform(0, 100, (N, 17, 2))
    seen = (DRAWN.random((N, 17)) < 0.6).astype(float)
    labels = np.concatenate([np.where(seen[..., None] > 0, right, 0), 2 * seen[..., None]], axis=-1)
    near = np.concatenate([right + DRAWN.normal(0, 1, right.shape), np.ones((N, 17, 1))], axis=-1)
    found, _ = judged(case(near, labels), near, "keypoints")
    assert found.value == pytest.approx(1.25 / 115, rel=0.15)
    blind = near.copy()
    blind[:, 3] = 50
    assert judged(case(near, labels), blind, "keypoints")[0].verdict == "fails"


def test_one_point_is_judged_by_how_far_points_lie_apart() -> None:
    right = DRAWN.uniform(0, 100, (N, 2))
    near = right + DRAWN.normal(0, 1, right.shape)
    (found,) = judged(case(near, right), near, "keypoints")
    assert found.value == pytest.approx(1.25 / 141, rel=0.1)


def test_sequences_of_any_length() -> None:
    lengths = DRAWN.integers(2, 9, 100)
    labels = ragged.of([DRAWN.integers(0, 4, n) for n in lengths])
    scores = ragged.of([one_hot(row, 4) for row in labels])
    assert judged(case(scores, labels), scores)[0].value == 1
    off = ragged.of([np.roll(row, 1, axis=-1) for row in scores])
    assert judged(case(scores, labels), off)[0].verdict == "fails"


def test_an_autoencoder_may_lay_its_output_out_otherwise() -> None:
    x = DRAWN.normal(size=(400, 1, 6, 5))
    odd = np.arange(400) % 4 == 0
    rebuilt = (x + DRAWN.normal(size=x.shape) * np.where(odd, 2, 1)[:, None, None, None] * 0.1).reshape(400, 30)
    (found,) = judged(case(rebuilt, odd, {"x": x}), rebuilt, "anomaly")
    assert found.value > 0.95


@pytest.mark.parametrize("kind", ["classification", "anomaly", "regression", "values"])
def test_what_is_no_number_is_no_answer(kind: str) -> None:
    wanted = {
        "classification": case(SCORES, CLASSES), "anomaly": case(SCORES[:, 0], (CLASSES == 0).astype(np.int64)),
        "regression": case(SCORES[:, :1], SCORES[:, :1] + 0.1), "values": case(SCORES),
    }[kind]  # fmt: skip
    spoilt = wanted.reference["y"].copy()
    spoilt[CLASSES == 0] = np.nan  # by arg-max class 0, and the oddest of all
    given = panel.Panel(
        telling.judging(wanted, kind if kind == "anomaly" else ""),
        wanted.reference,
        Allowed().judging,
    )
    assert given.holds(wanted.reference) and given.keeps(wanted.reference)
    assert not given.holds({"y": spoilt}) and not given.keeps({"y": spoilt})
    first = int(np.flatnonzero(CLASSES == 0)[0])
    with pytest.raises(ContractError, match=f"evaluation sample {first + 7} and .* NaN, in y") as caught:
        labelled.check_artifact({"y": spoilt}, wanted.reference, lambda place: place + 7)
    assert caught.value.code == "accuracy-over-budget"
    labelled.check_artifact({"y": spoilt}, {"y": spoilt})  # float has none there, either


def test_a_class_that_is_none_is_no_right_answer() -> None:
    assert judged(case(PIXELS, PIXELS), np.where(PIXELS == 2, 9, PIXELS))[0].verdict == "fails"
    assert judged(case(PIXELS, PIXELS), np.where(PIXELS == 0, -5, PIXELS))[0].verdict == "fails"


def test_third_numbers_of_points_are_judged_too() -> None:
    space = DRAWN.uniform(-1, 1, (N, 5, 3))
    near = space + DRAWN.normal(0, 0.02, space.shape)
    assert [j.verdict for j in judged(case(near, space), near, "keypoints")] == ["holds"]
    flat = near * [1, 1, 0]
    assert judged(case(near, space), flat, "keypoints")[0].verdict == "fails"
    seen = 2.0 * (DRAWN.random((N, 5, 1)) < 0.7)
    sure = np.concatenate([near[..., :2], seen * 0.4 + 0.1], axis=-1)
    given = case(sure, np.concatenate([space[..., :2], seen], axis=-1))
    assert {j.verdict for j in judged(given, sure, "keypoints")} == {"holds"}
    assert [j.verdict for j in judged(given, sure * [1, 1, 0], "keypoints")] == ["holds", "fails"]


def test_an_answer_without_end_fails() -> None:
    right = DRAWN.normal(size=(N, 1))
    far = right.copy()
    far[5] = np.inf
    assert judged(case(right + 0.1, right), far)[0].verdict == "fails"


@pytest.mark.parametrize("axes", [(N, 32), (N, 32, 1, 1), (N, 1, 32)])
def test_a_vector_is_one_however_it_lies(axes: tuple[int, ...]) -> None:
    vectors = DRAWN.normal(size=axes)
    near = vectors + DRAWN.normal(0, 0.01, axes)
    for labels in (None, vectors):
        first = judged(case(vectors, labels), near, "embedding")[0]
        assert first.verdict == "holds" and first.value == pytest.approx(0.99995, abs=1e-5)
