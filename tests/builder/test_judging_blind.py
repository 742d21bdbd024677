"""No artifact passes that is blind to something: to what is rare, small, one of many, or beside the labels."""

from __future__ import annotations

import numpy as np
import pytest

from edgelift_builder.data import Array
from edgelift_builder.judge import panel, telling
from edgelift_contract.errors import ContractError
from tests.builder.judging import CLASSES, SCORES, N, case, judged, one_hot

pytestmark = pytest.mark.builder

DRAWN = np.random.default_rng(22)


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


def test_a_weak_model_that_is_better_beyond_chance_is_no_constant() -> None:
    known, drawn = np.random.default_rng(0), np.random.default_rng(5)
    signal = known.normal(0, 0.3, (400, 1))
    noise = known.normal(0, 1, (400, 1))  # the error is 5 % below a constant's; by itself it is known to 8 %
    labels = signal + noise
    assert "MAE" in panel.check_float(telling.judging(case(signal, labels), ""), {"y": signal})
    with pytest.raises(ContractError, match="always giving one answer"):
        shuffled = drawn.permutation(labels)
        panel.check_float(telling.judging(case(signal, shuffled), ""), {"y": signal})


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


@pytest.mark.parametrize("spoilt", ["box", "features"])
def test_outputs_without_labels_are_judged_too(spoilt: str) -> None:
    outputs = {"logits": SCORES, "features": DRAWN.normal(size=(N, 8)), "box": DRAWN.normal(size=(N, 4)) * 300}
    noisy = outputs | {spoilt: DRAWN.permutation(outputs[spoilt])}
    assert {j.verdict for j in judged(case(outputs, CLASSES), outputs)} == {"holds"}
    assert "fails" in {j.verdict for j in judged(case(outputs, CLASSES), noisy)}


def test_a_unit_that_never_fires_may_be_touched_and_not_wake() -> None:
    floats = np.maximum(DRAWN.normal(size=(N, 20)), 0)
    floats[:, 3] = 0
    touched, awake = floats.copy(), floats.copy()
    touched[5, 3], awake[:, 3] = 1e-3, 0.5
    assert judged(case(floats), touched)[0].verdict == "holds"
    assert judged(case(floats), awake)[0].verdict == "fails"


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


def test_few_samples_are_said_to_be_few() -> None:
    labels = np.array([0] * 12 + [1] * 8)
    scores = one_hot(np.array([0] * 10 + [1] * 2 + [1] * 5 + [0] * 3), 2)
    with pytest.raises(ContractError, match="of 20 samples chance could make that much") as told_so:
        panel.check_float(telling.judging(case(scores, labels), ""), {"y": scores})
    assert "more samples" in (told_so.value.hint or "")


@pytest.mark.parametrize("count", [1, 2, 3, 29])
def test_of_a_few_samples_nothing_is_told_and_nothing_breaks(count: int) -> None:
    (found,) = judged(case(SCORES[:count]), SCORES[:count])
    assert found.verdict == "cannot-tell" and found.loss == 0 and found.samples_needed
