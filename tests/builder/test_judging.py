"""Told good from bad by what a model is for: each task on data where the right figure is known, and fooled in vain."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import budgets, layouts, panel, telling
from edgelift_builder.judge.case import Case
from edgelift_builder.judge.judgement import Judgement, judge
from edgelift_builder.judge.measure import Measure
from edgelift_builder.judge.scored import PerSample, RankedBy, Sums, value
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder

N = 2000
DRAWN = np.random.default_rng(0)


def one_hot(classes: Array, count: int) -> Array:
    return np.eye(count, dtype=np.float32)[classes]


def case(outputs: DataSet | Array, labels: object = None, inputs: DataSet | None = None) -> Case:
    return Case(inputs or {}, outputs if isinstance(outputs, dict) else {"y": outputs}, labels)


def judged(given: Case, outputs: DataSet | Array, task: str = "", asked: float | None = None) -> list[Judgement]:
    found = telling.judging(given, telling.check_task(task))
    allowed = budgets.resolve(budgets.named(found.metrics), 0.5, asked)
    outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
    return list(panel.Panel(found, given.reference, allowed.judging).judge(outputs))


CLASSES = DRAWN.integers(0, 5, N)
SCORES = one_hot(CLASSES, 5) + DRAWN.normal(0, 0.2, (N, 5)).astype(np.float32)
PIXELS = DRAWN.integers(0, 3, (40, 8, 8))
TOKENS = DRAWN.integers(0, 4, (100, 12))
MANY = DRAWN.integers(0, 2, (N, 6))


@pytest.mark.parametrize(
    ("outputs", "labels", "task"),
    [
        (SCORES, CLASSES, "classification"),
        (SCORES, one_hot(CLASSES, 5).astype(np.int64), "classification"),
        (SCORES[:, :1], CLASSES % 2, "binary"),
        (SCORES[:, 0], (CLASSES % 2).astype(np.float32), "binary"),
        (SCORES[:, :1], CLASSES % 2 * 2 - 1, "binary"),
        (MANY.astype(np.float32), MANY, "multilabel"),
        (SCORES[:, :1], SCORES[:, 1], "regression"),
        (SCORES, SCORES[::-1], "regression"),
        (np.moveaxis(one_hot(PIXELS, 3), -1, 1), PIXELS, "segmentation"),
        (one_hot(PIXELS, 3), PIXELS, "segmentation"),
        (one_hot(TOKENS, 4), TOKENS, "sequence"),
        (np.array(["a", "b"] * 50), np.array(["a", "b"] * 50), "classification"),
    ],
)
def test_a_task_is_told_from_outputs_and_labels(outputs: Array, labels: Array, task: str) -> None:
    found = telling.judging(case(outputs, labels), "")
    assert found.task == task and task in found.words


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (SCORES[:, :1], DRAWN.integers(0, 80, N)),  # an age, a count: never accuracy
        (SCORES, np.full(N, 7)),  # no such class
        (SCORES, CLASSES[:, None] * np.ones((1, 3), np.int64)),
        ({"y": np.zeros((N, 3, 4), np.float32)}, CLASSES),
    ],
)
def test_what_cannot_be_told_is_asked(outputs: DataSet | Array, labels: Array) -> None:
    with pytest.raises(ContractError, match="can't be told") as caught:
        telling.judging(case(outputs, labels), "")
    assert 'task="regression"' in caught.value.hint


def test_a_column_of_two_classes_is_judged_at_its_threshold() -> None:
    right = DRAWN.integers(0, 2, N)
    shares = np.where(DRAWN.random(N) < 0.9, right, 1 - right)[:, None] * 0.6 + 0.2
    (same,) = judged(case(shares, right), shares)
    assert same.value == pytest.approx(0.9, abs=0.03) and same.verdict == "holds"
    (constant,) = judged(case(shares, right), np.full_like(shares, 0.9))
    assert constant.verdict == "fails" and constant.loss > 30
    (logits,) = judged(case(shares * 10 - 5, right), shares * 10 - 5)
    assert logits.value == same.value  # beyond [0, 1] the threshold is 0


def detector() -> Array:
    box = DRAWN.random((100, 50, 4)) * np.array([600, 600, 40, 40])
    scores = DRAWN.random((100, 50, 3)) ** 8
    return np.concatenate([box, scores], axis=-1).astype(np.float32)


def test_a_detector_that_detects_nothing_fails_though_its_boxes_are_right() -> None:
    floats = detector()
    quantum = floats.max() / 255
    crushed = np.round(floats / quantum) * quantum
    crushed[..., 4:] = np.minimum(crushed[..., 4:], 0.2)
    found = {j.metric: j for j in judged(case(floats), crushed)}
    assert found["detection agreement"].verdict == "fails" and found["detection agreement"].value == 0
    assert found["relative error"].verdict == "fails"
    fine = floats + DRAWN.normal(0, 1e-3, floats.shape).astype(np.float32)
    assert {j.verdict for j in judged(case(floats), fine)} == {"holds"}


@pytest.mark.parametrize("axis", [1, 2])
def test_detections_are_held_against_labels(axis: int) -> None:
    floats = detector()
    objects = [{"boxes": rows, "labels": kinds} for rows, kinds in map(_objects, floats)]
    labels = {name: ragged.of([picture[name] for picture in objects]) for name in ("boxes", "labels")}
    given = floats if axis == 2 else np.moveaxis(floats, 2, 1)
    same, exact = judged(case(given, labels), given)
    assert exact.metric == "box overlap" and exact.verdict == "holds"
    assert same.metric == "detection F1" and same.value > 0.97
    moved = given.copy()
    np.moveaxis(moved, axis, 2)[..., :2] += 60
    off, _ = judged(case(given, labels), moved)
    assert off.value < 0.2 and off.verdict == "fails"


def _objects(rows: Array) -> tuple[Array, Array]:
    layout = layouts.likeliest({"y": detector()}, known=False)
    assert layout is not None
    found = layouts.detections({"y": rows[None]}, layout)[0]
    return found.boxes, found.classes


@pytest.mark.parametrize("output", ["first", "second", "third"])
def test_every_output_is_judged(output: str) -> None:
    floats = {name: DRAWN.normal(size=(300, 8)).astype(np.float32) for name in ("first", "second", "third")}
    noisy = floats | {output: DRAWN.permutation(floats[output])}
    verdicts = {j.verdict for j in judged(case(floats), noisy)}
    assert "fails" in verdicts and {j.verdict for j in judged(case(floats), floats)} == {"holds"}


@pytest.mark.parametrize("shape", [(300, 8), (300, 8, 5), (300, 5, 8), (100, 8, 6, 6), (100, 6, 6, 8)])
def test_every_channel_is_judged_by_its_own_range(shape: tuple[int, ...]) -> None:
    channels = shape.index(8)
    scales = 10.0 ** np.arange(-3, 5).reshape([8 if k == channels else 1 for k in range(len(shape))])
    floats = (DRAWN.normal(size=shape) * scales).astype(np.float32)
    noisy = floats.copy()
    least = tuple(0 if k == channels else slice(None) for k in range(len(shape)))
    noisy[least] = DRAWN.permutation(floats[least])
    (lost,) = judged(case(floats), noisy)
    assert lost.verdict == "fails" and lost.value == pytest.approx(2**0.5, rel=0.1)
    (kept,) = judged(case(floats), floats * 1.01)
    assert kept.verdict == "holds" and kept.value == pytest.approx(0.01, rel=0.2)


def test_a_class_that_never_occurs_is_no_reason_to_reject() -> None:
    shares = DRAWN.dirichlet([1, 1, 1], N).astype(np.float32)
    shares = np.column_stack([shares * 0.9999, np.full(N, 1e-4) + DRAWN.random(N) * 1e-6]).astype(np.float32)
    noisy = np.abs(shares + DRAWN.normal(0, 1e-3, shares.shape)).astype(np.float32)
    values = next(j for j in judged(case(shares), noisy) if j.metric == "relative error")
    assert values.verdict == "holds"


def test_arg_max_counts_beside_values_and_for_class_scores_alone() -> None:
    shares = DRAWN.dirichlet([1, 1, 1, 1], N).astype(np.float32)
    assert [j.metric for j in judged(case(shares), shares)] == ["agreement", "relative error"]
    numbers = DRAWN.normal(size=(N, 4)).astype(np.float32)
    assert [j.metric for j in judged(case(numbers), numbers)] == ["relative error"]
    assert [j.metric for j in judged(case(numbers), numbers, "classification")] == ["agreement", "relative error"]


def test_rows_that_the_model_chose_are_compared_as_they_are() -> None:
    rows = ragged.of([np.arange(k % 4 * 3).reshape(-1, 3) for k in range(400)])
    other = ragged.of(
        [r if k % 10 else r[:-1] if len(r) else np.ones((1, 3), np.int64) for k, r in enumerate(rows)]
    )
    (same,) = judged(case({"rows": rows}), {"rows": rows})
    assert same.value == 1
    (off,) = judged(case({"rows": rows}), {"rows": other})
    assert off.value == pytest.approx(0.9) and off.verdict == "fails"


def test_regression_loses_per_cent_of_its_error() -> None:
    right = DRAWN.normal(size=(N, 1)).astype(np.float32)
    floats = right + DRAWN.normal(0, 0.1, (N, 1)).astype(np.float32)
    (worse,) = judged(case(floats, right), right + (floats - right) * 1.5)
    assert worse.metric == "MAE" and worse.unit == "percent"
    assert worse.loss == pytest.approx(50, abs=1e-3) and worse.verdict == "fails"
    assert judged(case(floats, right), floats, asked=60.0)[0].budget == 60.0
    exact = judged(case(right, right), right + np.float32(1e-6))[0]
    assert exact.baseline == 0 and exact.verdict == "holds"  # no per cent of nothing


def test_mean_iou_is_of_all_pixels_and_passes_over_void() -> None:
    labels = np.zeros((40, 4, 4), np.int64)
    labels[:, :, 2:] = 1
    labels[:, 0, 0] = 255
    scores = np.moveaxis(one_hot(np.where(labels == 255, 1, labels), 2), -1, 1)
    (same,) = judged(case(scores, labels), scores)
    assert same.value == 1
    half = scores.copy()
    half[:, :, :, 2] = half[:, ::-1, :, 2]  # a column of class 1 is called 0
    (off,) = judged(case(scores, labels), half)
    # class 0: 7 of 7 + 4; class 1: 4 of 8
    assert off.value == pytest.approx((7 / 11 + 4 / 8) / 2)


def test_one_mask_is_segmented_at_its_threshold() -> None:
    mask = DRAWN.integers(0, 2, (50, 8, 8))
    found = judged(case(mask[:, None] * 0.8 + 0.1, mask), mask[:, None] * 0.8 + 0.1, "segmentation")
    assert found[0].value == 1


def test_places_without_a_label_are_not_judged() -> None:
    labels = TOKENS.copy()
    labels[:, 6:] = -100
    scores = one_hot(TOKENS, 4)
    scores[:, 6:] = 0
    assert judged(case(scores, labels), scores)[0].value == 1


def test_f1_of_several_labels() -> None:
    floats = MANY.astype(np.float32)
    none, blind = judged(case(floats, MANY), np.zeros_like(floats))
    assert none.value == 0 and none.verdict == blind.verdict == "fails"
    half = floats.copy()
    half[: N // 2] = 0
    recall = MANY[N // 2 :].sum() / MANY.sum()
    assert judged(case(floats, MANY), half)[0].value == pytest.approx(2 * recall / (1 + recall))


def test_an_autoencoder_is_judged_by_what_it_tells_apart() -> None:
    inputs = {"x": DRAWN.normal(size=(400, 30)).astype(np.float32)}
    odd = (np.arange(400) % 4 == 0).astype(np.int64)
    rebuilt = inputs["x"] + DRAWN.normal(size=(400, 30)).astype(np.float32) * np.where(odd, 2, 1)[:, None] * 0.1
    (same,) = judged(case(rebuilt, odd, inputs), rebuilt, "anomaly")
    assert same.metric == "ROC AUC" and same.value > 0.99
    (blind,) = judged(case(rebuilt, odd, inputs), inputs["x"] * 0.9, "anomaly")
    assert blind.verdict == "fails"


def test_auc_is_as_scikit_learn_has_it() -> None:
    from sklearn.metrics import roc_auc_score

    scores, odd = DRAWN.integers(0, 9, 300).astype(np.float64), DRAWN.integers(0, 2, 300).astype(np.float64)
    weights = DRAWN.integers(0, 4, (3, 300)).astype(np.float64)
    ranked = RankedBy(scores, odd)
    assert value(ranked) == pytest.approx(roc_auc_score(odd, scores))
    wanted = [roc_auc_score(odd, scores, sample_weight=row) for row in weights]
    assert ranked.under(weights) == pytest.approx(wanted)


def test_embeddings_by_their_cosine_with_labels_and_without() -> None:
    vectors = DRAWN.normal(size=(300, 16)).astype(np.float32)
    for labels in (vectors, None):
        found = judged(case(vectors, labels), vectors * 3, "embedding")
        assert found[0].metric == "cosine" and found[0].value == pytest.approx(1)
        assert judged(case(vectors, labels), vectors[::-1], "embedding")[0].verdict == "fails"


def test_keypoints_by_the_size_of_what_they_mark() -> None:
    points = DRAWN.random((300, 5, 2)).astype(np.float32) * 100
    near = points + DRAWN.normal(0, 1, points.shape).astype(np.float32)
    (same,) = judged(case(near, points), near, "keypoints")
    assert same.metric == "NME" and 0.005 < same.value < 0.03
    (off,) = judged(case(near, points), points.mean(axis=0, keepdims=True) + np.zeros_like(points), "keypoints")
    assert off.verdict == "fails"


@pytest.mark.parametrize(
    ("outputs", "labels", "task"),
    [
        (SCORES, DRAWN.permutation(CLASSES), ""),
        (np.zeros((N, 5), np.float32), CLASSES, ""),
        (DRAWN.normal(size=(N, 1)).astype(np.float32), DRAWN.normal(5, 1, N), ""),
        (DRAWN.random((N, 1)).astype(np.float32), (DRAWN.random(N) < 0.9).astype(np.int64), ""),
        (DRAWN.normal(size=(300, 16)), DRAWN.normal(1, 0.1, (300, 16)), "embedding"),
    ],
)
def test_a_float_model_that_a_constant_answer_equals_is_refused(outputs: Array, labels: Array, task: str) -> None:
    given = case(outputs, labels)
    with pytest.raises(ContractError, match="always giving one answer would get"):
        panel.check_float(telling.judging(given, task), given.reference)


@pytest.mark.parametrize("task", [*telling.TASKS, "guess"])
def test_a_task_that_does_not_fit_is_refused_with_what_it_needs(task: str) -> None:
    given = case({"y": np.zeros((10, 3, 3, 3, 3), np.float32)}, np.zeros((10, 7, 7, 7)))
    with pytest.raises(ContractError) as caught:
        telling.judging(given, telling.check_task(task))
    assert caught.value.code == "source-invalid" and caught.value.hint


def test_few_samples_cannot_tell() -> None:
    scores = np.ones(20)
    found = judge(Measure("cosine"), PerSample(scores * 0.9), PerSample(scores), 0.5)
    assert found.verdict == "cannot-tell"


def test_a_bootstrap_and_students_t_agree_where_both_hold() -> None:
    floats, own = DRAWN.random(500), DRAWN.random(500)
    by_t = judge(Measure("score"), PerSample(own), PerSample(floats), 0.5)
    sums = [Sums(np.column_stack([s, np.ones(500)]), lambda t: t[:, 0] / t[:, 1]) for s in (own, floats)]
    drawn = judge(Measure("score"), *sums, 0.5)
    assert drawn.loss == pytest.approx(by_t.loss)
    assert (drawn.loss_low, drawn.loss_high) == pytest.approx((by_t.loss_low, by_t.loss_high), abs=0.6)


def test_samples_needed_are_enough() -> None:
    def of(n: int) -> Judgement:
        rng = np.random.default_rng(1)
        floats = rng.random(n)
        noise = rng.normal(0, 0.05, n)
        own = floats - 0.05 * (noise - noise.mean()) / noise.std() - 0.002
        return judge(Measure("score"), PerSample(own), PerSample(floats), 0.5)

    first = of(200)
    assert first.verdict == "cannot-tell" and first.samples_needed
    assert of(first.samples_needed).verdict == "holds"


def test_samples_needed_are_no_more_than_it_takes_where_nothing_was_seen_to_move() -> None:
    def of(n: int) -> Judgement:
        rare = np.tile([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], n // 10 + 1)[:n]
        return judged(case(one_hot(1 - rare, 2), 1 - rare), one_hot(1 - rare, 2))[0]

    first = of(400)  # 80 rare ones, of which none was lost
    assert first.metric == "balanced accuracy" and first.loss == 0 and first.verdict == "cannot-tell"
    assert first.samples_needed and of(first.samples_needed).verdict == "holds"
    assert of(int(0.85 * first.samples_needed)).verdict == "cannot-tell"
