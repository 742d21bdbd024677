"""A task is told however labels are written, or asked; labels that can't be judged are refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.data import Array
from edgelift_builder.judge import panel, telling
from edgelift_contract.errors import ContractError
from tests.builder.judging import CLASSES, FRAMES, MASK, PIXELS, SCORES, N, case, judged, one_hot, told

pytestmark = pytest.mark.builder

DRAWN = np.random.default_rng(21)


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


def test_labels_of_several_outputs_go_by_name() -> None:
    age = DRAWN.normal(40, 10, N)
    outputs = {"sex": SCORES[:, :2] - SCORES[:, 2:], "age": (age + DRAWN.normal(0, 1, N))[:, None]}
    labels = {"sex": (outputs["sex"].argmax(1)), "age": age}
    first, second = judged(case(outputs, labels), outputs)
    assert (first.metric, second.metric) == ("accuracy", "MAE")
    blind = judged(case(outputs, labels), outputs | {"age": np.full((N, 1), 40.0)})
    assert [j.verdict for j in blind] == ["holds", "fails"]


@pytest.mark.parametrize("axes", [(slice(None), slice(None), None, None), (slice(None), None, None, slice(None))])
@pytest.mark.parametrize("labels", [CLASSES, one_hot(CLASSES, 4), None])
def test_class_scores_may_stand_between_axes_of_one(axes: tuple[slice | None, ...], labels: Array | None) -> None:
    shares = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    given = case(shares[axes], labels)
    assert told(given.reference, labels) == "classification"
    assert {j.verdict for j in judged(given, shares[axes])} == {"holds"}
    assert "fails" in {j.verdict for j in judged(given, shares[:, [1, 0, 2, 3]][axes])}


def test_several_labels_may_stand_between_axes_of_one() -> None:
    many = (SCORES > 1).astype(np.int64)
    assert told(SCORES[:, :, None, None], many) == "multilabel"
    assert told(FRAMES[..., None] * 1.0, FRAMES > 2) == "sequence"


def test_a_mask_of_0_and_255_is_yes_and_no() -> None:
    labels = (MASK * 255).astype(np.uint8)
    scores = MASK[..., None] * 2.0 - 1
    first = judged(case(scores, labels), scores)[0]
    assert first.metric == "mean IoU" and first.value == 1
    panel.check_float(telling.judging(case(scores, labels), ""), {"y": scores})
    assert judged(case(scores, labels), np.full_like(scores, -1))[0].verdict == "fails"
    void = np.where(DRAWN.random(MASK.shape) < 0.1, 255, MASK)  # and beside 1 it is: not judged
    assert judged(case(scores, void), scores)[0].value == 1


def test_bytes_say_255_for_what_is_not_judged() -> None:
    scores = one_hot(FRAMES, 5)
    padded = np.where(np.arange(5) > 2, 255, FRAMES).astype(np.uint8)
    assert judged(case(scores, padded), scores, "sequence")[0].value == 1


def test_class_numbers_from_one_are_noticed() -> None:
    with pytest.raises(ContractError) as told_so:
        told(SCORES, CLASSES + 1)
    assert "1 to 4 for 4 scores, one too high?" in (told_so.value.hint or "")


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


def test_labels_that_are_all_of_one_kind_are_named() -> None:
    given = DRAWN.normal(size=(N, 40))
    with pytest.raises(ContractError, match="All 1000 evaluation labels are usual") as told_so:
        telling.judging(case(given * 0.9, np.zeros(N, np.int64), {"x": given}), "anomaly")
    assert "Add samples that are odd" in (told_so.value.hint or "")


def test_lists_of_labels_of_any_length_are_refused_in_words() -> None:
    lists = ragged.of([np.flatnonzero(row > 0) for row in SCORES])
    with pytest.raises(ContractError, match="As multilabel this can't be judged"):
        telling.judging(case(SCORES, lists), "multilabel")


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


@pytest.mark.parametrize("where", ["labels", "answers"])
def test_nan_is_named(where: str) -> None:
    labels, answers = DRAWN.normal(size=(2, N, 1))
    (labels if where == "labels" else answers)[7] = np.nan
    with pytest.raises(ContractError, match=r"(label|sample) 7 .*NaN"):
        telling.judging(case(answers, labels), "")
