"""A source's own metric, of any range and way, for each sample or for all; and labels in all their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from torch import nn

from edgelift_builder import Source, data, ragged
from edgelift_builder.facts import EVALUATION, LABELS, REFERENCE
from edgelift_builder.judge import panel
from edgelift_builder.judge.budgets import Allowed
from edgelift_builder.judge.case import Case
from edgelift_builder.judge.judgement import Judgement
from edgelift_builder.source import held, held_out, own_metric
from edgelift_builder.source.labels import labels_of
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder

N = 400
DRAWN = np.random.default_rng(0)
LABELS_ = DRAWN.integers(0, 2, N)
FLOAT = {"y": LABELS_[:, None] + DRAWN.normal(0, 0.3, (N, 1))}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    yield
    held._current.clear()


def judged(
    metric: Any, outputs: data.DataSet, better: str = "", reference: data.DataSet = FLOAT, labels: Any = LABELS_
) -> Judgement:
    held.hold(Source("x", nn.Identity(), None, None, metric=metric, metric_name="own", metric_better=better))
    found = own_metric.judging(Case({}, reference, labels), "")
    return panel.Panel(found, reference, Allowed().judging).judge(outputs)[0]


def negative(outputs: Any, labels: Any) -> Any:
    return -np.abs(outputs["y"][:, 0] - labels) * 1000 - 5


def around_nothing(outputs: Any, labels: Any) -> Any:
    off = outputs["y"][:, 0] - labels
    return off - (FLOAT["y"][:, 0] - LABELS_).mean()


@pytest.mark.parametrize(("metric", "better"), [(negative, "higher"), (lambda o, y: -negative(o, y), "lower")])
def test_any_range_once_it_is_said_which_way_is_better(metric: Any, better: str) -> None:
    same = judged(metric, FLOAT, better)
    assert same.verdict == "holds" and same.unit == "percent" and same.loss == 0
    assert judged(metric, {"y": FLOAT["y"] + 0.5}, better).verdict == "fails"


def test_a_score_around_nothing_has_no_per_cent_of_itself() -> None:
    near = judged(around_nothing, {"y": FLOAT["y"] + 1e-6}, "lower")
    assert near.verdict == "holds" and abs(near.loss) < 1
    assert judged(around_nothing, {"y": FLOAT["y"] + 0.1}, "lower").verdict == "fails"


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
def test_right_or_wrong_may_be_yes_or_no(shape: tuple[int, ...]) -> None:
    found = judged(lambda o, y: ((o["y"][:, 0] > 0.5) == y).reshape(shape), FLOAT)
    assert found.method.startswith("Tango") and found.value > 0.9


def test_one_score_for_all_samples_is_drawn_again() -> None:
    def f1(outputs: Any, labels: Any) -> float:
        return float(metrics.f1_score(labels, outputs["y"][:, 0] > 0.5))

    same = judged(f1, FLOAT)
    assert same.value == f1(FLOAT, LABELS_) and same.low < same.value < same.high
    # 400 of which none moved may hide 3 that go wrong, at some 0.3 points each.
    assert same.loss == 0 and 0.6 < same.loss_high < 1.3 and same.verdict == "cannot-tell"
    noisy = judged(f1, {"y": FLOAT["y"] + DRAWN.normal(0, 0.5, (N, 1))})
    assert noisy.verdict == "fails" and noisy.loss_low > 0.5


def test_a_drawing_that_has_no_score_is_left_out() -> None:
    def often(outputs: Any, labels: Any) -> float:
        if not (labels == 1).any() or len(np.unique(outputs["y"])) < 253:
            raise ValueError("only one class")
        return float(((outputs["y"][:, 0] > 0.5) == labels).mean())

    found = judged(often, FLOAT)
    assert found.verdict != "fails" and found.low < found.value


RARE = (np.arange(N) < 12).astype(int)
RARE_FLOAT = {"y": RARE[:, None] * 1.0}


def f1_of_rare(outputs: Any, labels: Any) -> float:
    return float(metrics.f1_score(labels, outputs["y"][:, 0] > 0.5, zero_division=1.0))


@pytest.mark.parametrize("misses", [0, 1, 2])
def test_how_sure_a_score_is_goes_by_the_samples_that_it_is_about(misses: int) -> None:
    """12 positive ones of 400: three that go wrong unseen are a quarter of them, and no half a per cent."""
    moved = RARE_FLOAT["y"] * (np.arange(N)[:, None] >= misses)
    found = judged(f1_of_rare, {"y": moved}, reference=RARE_FLOAT, labels=RARE)
    assert found.loss_high > found.loss + 10 and found.verdict != "holds"
    assert found.samples_needed is None or found.samples_needed > 4000


def test_what_says_more_than_right_or_wrong_needs_few_samples() -> None:
    def cosine(outputs: Any, labels: Any) -> float:
        one, other = outputs["y"][:, 0], np.asarray(labels) + 0.0
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    near = judged(cosine, {"y": FLOAT["y"] + DRAWN.normal(0, 0.01, (N, 1))})
    assert near.verdict == "holds" and near.loss_high < 0.3


def test_an_error_of_which_nothing_moved_is_not_sure_either() -> None:
    def wrong(outputs: Any, labels: Any) -> float:
        return float(((outputs["y"][:, 0] > 0.5) != labels).mean())

    same = judged(wrong, FLOAT, "lower")
    errors = wrong(FLOAT, LABELS_)
    assert same.loss == 0 and same.loss_high == pytest.approx(100 * 3 / N / errors, rel=0.4)


def test_as_many_samples_as_numbers_were_drawn_are_no_scores_of_samples() -> None:
    count = own_metric.REDRAWN + 1
    some = {"y": FLOAT["y"][:count]}
    found = judged(
        lambda o, y: float(((o["y"][:, 0] > 0.5) == y).mean()), some, reference=some, labels=LABELS_[:count]
    )
    assert found.n == count and "bootstrap" in found.method


def test_a_score_that_most_drawings_have_none_of_tells_nothing() -> None:
    def picky(outputs: Any, labels: Any) -> float:
        if len(np.unique(outputs["y"])) < 300:
            raise ValueError("too few that differ")
        return 1.0

    found = judged(picky, FLOAT)
    assert found.verdict == "cannot-tell" and found.samples_needed is None and "have no score" in found.method


def test_shares_of_which_none_moved_are_no_proof() -> None:
    def half(outputs: Any, labels: Any) -> Any:
        return np.where((outputs["y"][:, 0] > 0.5) == labels, 1.0, 0.5)

    same = judged(half, FLOAT)
    assert same.loss == 0 and same.loss_high == pytest.approx(0.75, abs=0.01) and same.verdict == "cannot-tell"


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda o, y: np.full(N, np.nan), "NaN or infinite for the float model's answer to evaluation sample 0"),
        (lambda o, y: np.zeros(7), "returned float64[7] for 400 samples"),
        (lambda o, y: "good", "no numbers"),
        (lambda o, y: np.full(N, 1.5), "where shares from 0 to 1 are expected"),
        (lambda o, y: None, "no numbers"),
    ],
)
def test_what_is_no_score_is_refused(metric: Any, said: str) -> None:
    with pytest.raises(ContractError) as caught:
        judged(metric, FLOAT)
    assert said in caught.value.message and caught.value.code == "source-invalid" and caught.value.hint


def test_a_variant_whose_answers_have_no_score_is_rejected_and_the_build_goes_on(tmp_path: Path) -> None:
    def cosine(outputs: Any, labels: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return np.abs(outputs["y"][:, 0]) / np.linalg.norm(outputs["y"], axis=1)

    held.hold(Source("x", nn.Identity(), None, None, metric=cosine))
    for name, kept in ((EVALUATION, FLOAT), (LABELS, {"labels": LABELS_}), (REFERENCE, FLOAT)):
        data.save(tmp_path / name, kept)
    data.save(tmp_path / "zeros.npz", {"y": np.zeros((N, 1))})
    with pytest.raises(ContractError, match="400 of the scores of its 400 answers") as caught:
        own_metric.scores(str(tmp_path / "zeros.npz"), str(tmp_path))
    assert caught.value.code == "accuracy-over-budget"


def labels(given: Any, count: int = 3) -> data.DataSet:
    source = Source("x", nn.Identity(), None, None, evaluation_labels=given)
    return labels_of(source, {"x": np.zeros((count, 2))})


def test_labels_of_several_outputs_and_of_any_length() -> None:
    made = labels({"kind": [0, 1, 2], "age": np.array([1.5, 2, 3])})
    assert list(made) == ["kind", "age"] and made["age"].dtype == np.float64
    for given in ([[1, 2], [3], [4, 5, 6]], [np.array([1, 2]), np.array([3]), np.array([4, 5, 6])]):
        column = labels(given)["labels"]
        assert ragged.is_ragged(column) and [len(one) for one in column] == [2, 1, 3]
    assert labels([np.array([1, 2])] * 3)["labels"].shape == (3, 2)


@pytest.mark.parametrize("given", [{"kind": [0, 1, 2], "age": [1.0]}, {"kind": [0, 1]}, [[1], [2]], {}])
def test_labels_that_are_not_one_for_each_sample_are_refused(given: Any) -> None:
    with pytest.raises(ContractError, match="for 3 evaluation inputs"):
        labels(given)


@pytest.mark.parametrize("given", [7, {1, 2, 3}, [object()] * 3])
def test_labels_that_are_no_arrays_are_refused(given: Any) -> None:
    with pytest.raises(ContractError, match="no array of one type") as caught:
        labels(given)
    assert "output_0" in caught.value.hint


def test_an_output_that_a_metric_asks_for_and_is_none_is_named() -> None:
    with pytest.raises(ContractError, match="metric asked for 'scores'; the outputs are y"):
        judged(lambda outputs, labels: outputs["scores"][:, 0] == labels, FLOAT)


def test_a_variant_that_a_share_does_not_hold_of_is_rejected_and_the_build_goes_on(tmp_path: Path) -> None:
    def r2(outputs: Any, labels: Any) -> float:
        return float(1 - ((outputs["y"][:, 0] - labels) ** 2).mean() / labels.var())

    assert 0 < judged(r2, FLOAT).value < 1
    for name, kept in ((EVALUATION, FLOAT), (LABELS, {"labels": LABELS_}), (REFERENCE, FLOAT)):
        data.save(tmp_path / name, kept)
    data.save(tmp_path / "far.npz", {"y": FLOAT["y"] + 3})
    with pytest.raises(ContractError, match="where shares from 0 to 1 are expected") as caught:
        own_metric.scores(str(tmp_path / "far.npz"), str(tmp_path))
    assert caught.value.code == "accuracy-over-budget"


def test_a_sample_is_named_by_the_number_that_its_owner_knows_it_by() -> None:
    def first_is_none(outputs: Any, labels: Any) -> Any:
        return np.where(np.arange(N) == 4, np.nan, 1.0)

    held.hold(Source("x", nn.Identity(), None, None, metric=first_is_none))
    with pytest.raises(ContractError, match="evaluation sample 6"):
        own_metric.judging(Case({}, FLOAT, LABELS_), "", held_out.original)
    held.hold(Source("x", nn.Identity(), None, None))
    with pytest.raises(ContractError, match="Evaluation label 6 is NaN"):
        own_metric.judging(Case({}, FLOAT, np.where(np.arange(N) == 4, np.nan, LABELS_)), "", held_out.original)
