"""The judge on kinds that nobody listed: each is judged by what it is for, or asked; and no constant passes."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.data import Array
from edgelift_builder.judge import labelled, panel, telling
from edgelift_builder.judge.agreement import SAME
from edgelift_contract.errors import ContractError
from tests.builder.judging import case, judged, one_hot, told

pytestmark = pytest.mark.builder

N = 1000
DRAWN = np.random.default_rng(1)


CLASSES = DRAWN.integers(0, 4, N)
SCORES = one_hot(CLASSES, 4) * 3 + DRAWN.normal(0, 0.5, (N, 4)).astype(np.float32)
PIXELS = DRAWN.integers(0, 3, (40, 8, 8))
MASK = DRAWN.integers(0, 2, (40, 8, 8))
FRAMES = DRAWN.integers(0, 5, (80, 5))


@pytest.mark.parametrize(
    ("outputs", "labels", "task"),
    [
        (SCORES, CLASSES[:, None], "classification"),
        (SCORES, CLASSES.astype(np.float64), "classification"),
        (SCORES, CLASSES.astype(np.uint8), "classification"),
        (SCORES[:, :2], CLASSES > 1, "classification"),
        (SCORES[:, :1], CLASSES > 1, "binary"),
        (SCORES[:, :2], (CLASSES > 1) * 2 - 1, "binary"),
        (CLASSES, CLASSES, "classification"),  # chosen inside the model
        (CLASSES[:, None], CLASSES, "classification"),
        (one_hot(FRAMES, 5), one_hot(FRAMES, 5), "sequence"),
        (FRAMES, FRAMES, "sequence"),
        (np.moveaxis(one_hot(PIXELS, 3), -1, 1), np.moveaxis(one_hot(PIXELS, 3), -1, 1), "segmentation"),
        (np.moveaxis(one_hot(PIXELS, 3), -1, 1), PIXELS[:, None], "segmentation"),
        (PIXELS, PIXELS, "segmentation"),
        (MASK[:, None].astype(np.float32), MASK, "segmentation"),
        (MASK[:, None].astype(np.float32), MASK[:, None].astype(np.float32), "segmentation"),
        (MASK.astype(np.float32), MASK.astype(bool), "segmentation"),
        (SCORES, one_hot(CLASSES, 4) * 2 - 1, "multilabel"),
        (DRAWN.normal(size=(N, 3)), DRAWN.normal(size=(N, 3)), "regression"),
        (DRAWN.normal(size=(40, 1, 8, 8)), DRAWN.normal(size=(40, 8, 8)), "regression"),
    ],
)  # fmt: skip
def test_a_task_is_told_however_labels_are_written(outputs: Array, labels: Array, task: str) -> None:
    assert told(outputs, labels) == task


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (SCORES, DRAWN.dirichlet([1, 1, 1, 1], N)),  # shares of classes, or parts of a whole
        (SCORES, np.array(["a", "b"] * 500)),
        (SCORES, CLASSES + 1),  # numbered from 1: there is no class 4
        (np.zeros((N, 7, 3), np.float32), CLASSES),
    ],
)
def test_what_may_be_meant_in_two_ways_is_asked(outputs: Array, labels: Array) -> None:
    with pytest.raises(ContractError, match="can't be told") as caught:
        told(outputs, labels)
    assert "task=" in caught.value.hint


def test_shares_of_classes_are_classes_where_that_is_named() -> None:
    soft = 0.7 * one_hot(CLASSES, 4) + 0.3 * DRAWN.dirichlet([1, 1, 1, 1], N)
    (found,) = judged(case(SCORES, soft), SCORES, "classification")
    assert found.value == pytest.approx((SCORES.argmax(1) == soft.argmax(1)).mean())


def test_samples_without_a_label_are_passed_over() -> None:
    labels = np.where(np.arange(N) % 3 == 0, -100, CLASSES)
    wrong = SCORES.copy()
    wrong[::3] = 0
    (found,) = judged(case(SCORES, labels), wrong)
    assert found.value > 0.98 and found.verdict == "holds"


def test_the_output_that_labels_are_of_is_the_one_that_is_right() -> None:
    outputs = {"auxiliary": DRAWN.permutation(SCORES), "logits": SCORES}
    first, *others = judged(case(outputs, CLASSES), outputs)
    assert first.value > 0.98 and [o.metric for o in others] == ["relative error"]


def test_the_axis_of_the_classes_is_the_one_that_is_right() -> None:
    for scores in (one_hot(FRAMES, 5), np.moveaxis(one_hot(FRAMES, 5), -1, 1)):  # [80, 5, 5] both
        assert judged(case(scores, FRAMES), scores)[0].value == 1


@pytest.mark.parametrize("spoilt", ["box", "features"])
def test_outputs_without_labels_are_judged_too(spoilt: str) -> None:
    outputs = {"logits": SCORES, "features": DRAWN.normal(size=(N, 8)), "box": DRAWN.normal(size=(N, 4)) * 300}
    noisy = outputs | {spoilt: DRAWN.permutation(outputs[spoilt])}
    assert {j.verdict for j in judged(case(outputs, CLASSES), outputs)} == {"holds"}
    assert "fails" in {j.verdict for j in judged(case(outputs, CLASSES), noisy)}


def test_labels_of_several_outputs_go_by_name() -> None:
    age = DRAWN.normal(40, 10, N)
    outputs = {"sex": SCORES[:, :2] - SCORES[:, 2:], "age": (age + DRAWN.normal(0, 1, N))[:, None]}
    labels = {"sex": (outputs["sex"].argmax(1)), "age": age}
    first, second = judged(case(outputs, labels), outputs)
    assert (first.metric, second.metric) == ("accuracy", "MAE")
    blind = judged(case(outputs, labels), outputs | {"age": np.full((N, 1), 40.0)})
    assert [j.verdict for j in blind] == ["holds", "fails"]


def rare(share: float, recall: float) -> tuple[Array, Array]:
    """Scores [n, 2] by which a share of rare samples is found, and labels."""
    labels = (np.arange(2000) < share * 2000).astype(np.int64)
    found = labels * (DRAWN.random(2000) < recall)
    return one_hot(found, 2) + DRAWN.normal(0, 0.01, (2000, 2)).astype(np.float32), labels


@pytest.mark.parametrize("columns", [2, 1])
@pytest.mark.parametrize("share", [0.004, 0.05, 0.2])
def test_never_finding_what_is_rare_does_not_pass(share: float, columns: int) -> None:
    scores, labels = rare(share, 0.9)
    scores = scores if columns == 2 else scores[:, 1:]
    blind = np.full_like(scores, 0.1)
    blind[:, 0] = 0.2
    same = judged(case(scores, labels), scores)[0]
    assert same.loss == 0 and (same.verdict == "holds" or share < 0.1)  # 8 rare ones show little
    assert {"fails", "cannot-tell"} >= {judged(case(scores, labels), blind, asked=0.5)[0].verdict}
    assert share < 0.1 or "fails" in {j.verdict for j in judged(case(scores, labels), blind, asked=0.5)}


def test_a_rare_event_below_the_threshold_is_judged_by_order() -> None:
    labels = (np.arange(2000) < 60).astype(np.int64)
    shares = (0.02 + 0.2 * labels + DRAWN.normal(0, 0.03, 2000)).clip(0, 1)[:, None]
    given = case(shares, labels)
    panel.check_float(telling.judging(given, ""), given.reference)
    first, second = judged(given, shares)
    assert (first.metric, second.metric) == ("ROC AUC", "relative error") and first.value > 0.95
    assert "fails" in {j.verdict for j in judged(given, DRAWN.permutation(shares))}


def test_vectors_that_mostly_point_one_way_are_held_to_the_rest_of_them() -> None:
    common = np.full(32, 10.0)
    vectors = common + DRAWN.normal(size=(N, 32))
    given = case(vectors, vectors.copy())
    always = np.broadcast_to(vectors.mean(axis=0), vectors.shape)
    assert judged(given, always, "embedding")[0].value > 0.99  # and yet
    assert judged(given, always, "embedding")[0].verdict == "fails"
    assert judged(given, vectors + DRAWN.normal(0, 0.05, vectors.shape), "embedding")[0].verdict == "holds"


@pytest.mark.parametrize("asked", [None, 50.0])
def test_no_budget_is_so_wide_that_a_constant_answer_would_do(asked: float | None) -> None:
    labels = np.arange(2000) % 2
    right = np.where(DRAWN.random(2000) < 0.53, labels, 1 - labels)
    constant = np.zeros((2000, 2), np.float32)
    found = judged(case(one_hot(right, 2), labels), constant, asked=asked)[0]
    assert found.budget < 10 and found.verdict != "holds"


def test_each_of_many_targets_counts_by_its_own_spread() -> None:
    labels = DRAWN.normal(size=(N, 3)) * [1000, 1, 0.001] + [5000, 0, 0]
    floats = labels + DRAWN.normal(size=(N, 3)) * [100, 0.1, 0.0001]
    first, values = judged(case(floats, labels), floats)
    assert first.metric == "MAE ÷ spread" and first.value == pytest.approx(0.08, abs=0.01)
    assert values.verdict == "holds"
    for target in range(3):
        blind = floats.copy()
        blind[:, target] = floats[:, target].mean()
        assert {j.verdict for j in judged(case(floats, labels), blind)} == {"fails"}


def test_one_label_of_many_that_goes_blind_is_seen() -> None:
    labels = (DRAWN.random((N, 40)) < np.where(np.arange(40) == 7, 0.01, 0.4)).astype(np.int64)
    floats = labels * 0.8 + 0.1
    blind = floats.copy()
    blind[:, 7] = 0.1
    f1, values = judged(case(floats, labels), blind)
    assert f1.verdict == "holds" != values.verdict


@pytest.mark.parametrize("where", ["labels", "answers"])
def test_nan_is_named(where: str) -> None:
    labels, answers = DRAWN.normal(size=(2, N, 1))
    (labels if where == "labels" else answers)[7] = np.nan
    with pytest.raises(ContractError, match=r"(label|sample) 7 .*NaN"):
        telling.judging(case(answers, labels), "")


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


def test_a_few_values_far_outside_hide_no_loss_of_the_rest() -> None:
    floats = DRAWN.normal(size=(N, 3)).astype(np.float32)
    floats[:3] *= 1e5
    coarse = np.round(floats / 1000) * 1000  # one scale for all of it, by the largest
    assert judged(case(floats), coarse)[0].verdict == "fails"
    assert judged(case(floats), floats * 1.001)[0].verdict == "holds"


def test_what_is_mostly_nothing_is_held_to_what_there_is() -> None:
    sparse = np.where(DRAWN.random((N, 3)) < 0.006, DRAWN.uniform(0, 3, (N, 3)), 0.0)
    near = sparse + DRAWN.normal(0, 0.002, sparse.shape)
    assert judged(case(sparse), near)[0].verdict == "holds"


@pytest.mark.parametrize(("count", "verdict"), [(100, "cannot-tell"), (1000, "holds")])
def test_nothing_lost_among_few_is_not_shown_to_be_nothing(count: int, verdict: str) -> None:
    many = (DRAWN.random((count, 3)) < 0.6).astype(np.int64)
    (found, _) = judged(case(many * 0.8 + 0.1, many), many * 0.8 + 0.1)
    assert found.verdict == verdict and found.value == 1 and found.low < 1 and found.loss_high > 0


def test_lists_of_labels_of_any_length_are_refused_in_words() -> None:
    lists = ragged.of([np.flatnonzero(row > 0) for row in SCORES])
    with pytest.raises(ContractError, match="As multilabel this can't be judged"):
        telling.judging(case(SCORES, lists), "multilabel")


def test_labels_that_are_all_of_one_kind_are_named() -> None:
    given = DRAWN.normal(size=(N, 40))
    with pytest.raises(ContractError, match="All 1000 evaluation labels are usual") as told_so:
        telling.judging(case(given * 0.9, np.zeros(N, np.int64), {"x": given}), "anomaly")
    assert "Add samples that are odd" in (told_so.value.hint or "")


def test_a_task_that_was_told_wrongly_can_be_named() -> None:
    given = DRAWN.normal(size=(N, 40))
    odd = (DRAWN.random(N) < 0.2).astype(np.int64)
    rebuilt = case(given + odd[:, None] * DRAWN.normal(size=(N, 40)), odd, {"x": given})
    with pytest.raises(ContractError) as told_so:
        panel.check_float(telling.judging(rebuilt, ""), rebuilt.reference)
    assert "If it isn't for classification, name what it is for" in (told_so.value.hint or "")
    named = telling.judging(case(SCORES, np.roll(CLASSES, 1)), "classification")
    with pytest.raises(ContractError) as told_so:
        panel.check_float(named, {"y": SCORES})
    assert "name what it is for" not in (told_so.value.hint or "")


def test_class_numbers_from_one_are_noticed() -> None:
    with pytest.raises(ContractError) as told_so:
        told(SCORES, CLASSES + 1)
    assert "1 to 4 for 4 scores, one too high?" in (told_so.value.hint or "")


@pytest.mark.parametrize("axes", [(slice(None), slice(None), None, None), (slice(None), None, None, slice(None))])
@pytest.mark.parametrize("labels", [CLASSES, one_hot(CLASSES, 4), None])
def test_class_scores_may_stand_between_axes_of_one(axes: tuple[slice | None, ...], labels: Array | None) -> None:
    shares = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    given = case(shares[axes], labels)
    assert told(given.reference, labels) == "classification"
    assert {j.verdict for j in judged(given, shares[axes])} == {"holds"}
    assert "fails" in {j.verdict for j in judged(given, shares[:, [1, 0, 2, 3]][axes])}


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
        panel.budgets(0.5, None, SAME),
    )
    assert given.holds(wanted.reference) and given.keeps(wanted.reference)
    assert not given.holds({"y": spoilt}) and not given.keeps({"y": spoilt})
    first = int(np.flatnonzero(CLASSES == 0)[0])
    with pytest.raises(ContractError, match=f"evaluation sample {first + 7} and .* NaN, in y") as caught:
        labelled.check_artifact({"y": spoilt}, wanted.reference, lambda place: place + 7)
    assert caught.value.code == "accuracy-over-budget"
    labelled.check_artifact({"y": spoilt}, {"y": spoilt})  # float has none there, either


def test_a_mask_of_0_and_255_is_yes_and_no() -> None:
    labels = (MASK * 255).astype(np.uint8)
    scores = MASK[..., None] * 2.0 - 1
    first = judged(case(scores, labels), scores)[0]
    assert first.metric == "mean IoU" and first.value == 1
    panel.check_float(telling.judging(case(scores, labels), ""), {"y": scores})
    assert judged(case(scores, labels), np.full_like(scores, -1))[0].verdict == "fails"
    void = np.where(DRAWN.random(MASK.shape) < 0.1, 255, MASK)  # and beside 1 it is: not judged
    assert judged(case(scores, void), scores)[0].value == 1


def test_a_class_that_is_none_is_no_right_answer() -> None:
    assert judged(case(PIXELS, PIXELS), np.where(PIXELS == 2, 9, PIXELS))[0].verdict == "fails"
    assert judged(case(PIXELS, PIXELS), np.where(PIXELS == 0, -5, PIXELS))[0].verdict == "fails"


def test_a_unit_that_never_fires_may_be_touched_and_not_wake() -> None:
    floats = np.maximum(DRAWN.normal(size=(N, 20)), 0)
    floats[:, 3] = 0
    touched, awake = floats.copy(), floats.copy()
    touched[5, 3], awake[:, 3] = 1e-3, 0.5
    assert judged(case(floats), touched)[0].verdict == "holds"
    assert judged(case(floats), awake)[0].verdict == "fails"


def test_few_samples_are_said_to_be_few() -> None:
    labels = np.array([0] * 12 + [1] * 8)
    scores = one_hot(np.array([0] * 10 + [1] * 2 + [1] * 5 + [0] * 3), 2)
    with pytest.raises(ContractError, match="of 20 samples chance could make that much") as told_so:
        panel.check_float(telling.judging(case(scores, labels), ""), {"y": scores})
    assert "more samples" in (told_so.value.hint or "")


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


@pytest.mark.parametrize("task", ["", *telling.TASKS])
def test_labels_of_what_is_no_output_are_named(task: str) -> None:
    with pytest.raises(ContractError, match="labels of scores; the outputs are y"):
        telling.judging(case(SCORES, {"scores": CLASSES}), task)


@pytest.mark.parametrize("task", telling.TASKS)
def test_labels_and_outputs_of_every_kind_are_refused_in_words(task: str) -> None:
    boxes = {"boxes": ragged.of([np.zeros((1, 4))] * N), "labels": ragged.of([np.zeros(1, np.int64)] * N)}
    lists = ragged.of([np.arange(1 + k % 3) for k in range(N)])
    many = ragged.of([np.ones((1 + k % 3, 3)) for k in range(N)])
    texts = np.array(["a", "b"] * 500)
    for outputs, labels in ((SCORES, boxes), (SCORES, lists), (SCORES, texts), (many, CLASSES), (texts, CLASSES)):
        with pytest.raises(ContractError, match="can't be judged"):
            telling.judging(case(outputs, labels), task)


def test_an_answer_without_end_fails() -> None:
    right = DRAWN.normal(size=(N, 1))
    far = right.copy()
    far[5] = np.inf
    assert judged(case(right + 0.1, right), far)[0].verdict == "fails"


@pytest.mark.parametrize("count", [1, 2, 3, 29])
def test_of_a_few_samples_nothing_is_told_and_nothing_breaks(count: int) -> None:
    (found,) = judged(case(SCORES[:count]), SCORES[:count])
    assert found.verdict == "cannot-tell" and found.loss == 0 and found.samples_needed


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (SCORES, np.full(N, -100)),
        (one_hot(FRAMES, 5), np.full((80, 5), -1)),
        (one_hot(PIXELS, 3), np.full(PIXELS.shape, 255)),
    ],
)
def test_labels_of_which_none_counts_are_refused(outputs: Array, labels: Array) -> None:
    task = {1: "classification", 2: "sequence", 3: "segmentation"}[labels.ndim]
    with pytest.raises(ContractError, match=f"None of the {labels.size} evaluation labels is to be judged"):
        telling.judging(case(outputs, labels), task)


def test_a_weak_model_that_is_better_beyond_chance_is_no_constant() -> None:
    known, drawn = np.random.default_rng(0), np.random.default_rng(5)
    signal = known.normal(0, 0.3, (400, 1))
    noise = known.normal(0, 1, (400, 1))  # the error is 5 % below a constant's; by itself it is known to 8 %
    labels = signal + noise
    assert "MAE" in panel.check_float(telling.judging(case(signal, labels), ""), {"y": signal})
    with pytest.raises(ContractError, match="always giving one answer"):
        shuffled = drawn.permutation(labels)
        panel.check_float(telling.judging(case(signal, shuffled), ""), {"y": signal})


@pytest.mark.parametrize("axes", [(N, 32), (N, 32, 1, 1), (N, 1, 32)])
def test_a_vector_is_one_however_it_lies(axes: tuple[int, ...]) -> None:
    vectors = DRAWN.normal(size=axes)
    near = vectors + DRAWN.normal(0, 0.01, axes)
    for labels in (None, vectors):
        first = judged(case(vectors, labels), near, "embedding")[0]
        assert first.verdict == "holds" and first.value == pytest.approx(0.99995, abs=1e-5)


def test_several_labels_may_stand_between_axes_of_one() -> None:
    many = (SCORES > 1).astype(np.int64)
    assert told(SCORES[:, :, None, None], many) == "multilabel"
    assert told(FRAMES[..., None] * 1.0, FRAMES > 2) == "sequence"


def test_bytes_say_255_for_what_is_not_judged() -> None:
    scores = one_hot(FRAMES, 5)
    padded = np.where(np.arange(5) > 2, 255, FRAMES).astype(np.uint8)
    assert judged(case(scores, padded), scores, "sequence")[0].value == 1
