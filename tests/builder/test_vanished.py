"""A class that an artifact says no more is seen, however rare it is; and what chance takes is not taken for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_builder import ragged
from edgelift_builder.data import Array, DataSet
from edgelift_builder.judge import budgets, panel, telling, vanished
from edgelift_builder.judge.case import Case
from edgelift_builder.judge.panel import Opinion
from edgelift_builder.judge.vanished import ClassLoss, Right
from tests.builder.conftest import BuiltFolder
from tests.builder.judging import case, one_hot

pytestmark = pytest.mark.builder

N, KINDS, RARE = 2000, 100, 7
DRAWN = np.random.default_rng(0)
LABELS = np.arange(N) % KINDS
SCORES = one_hot(LABELS, KINDS)
#: Sentences of 10 words, of which one in 20 has one of the rare kind.
WORDS = np.where((np.arange(N)[:, None] % 20 == 0) & (np.arange(10) == 3), RARE, np.arange(10) % 5)
SHARES = (SCORES * 0.95 + 0.05 / KINDS).astype(np.float64)
MANY = (np.arange(10) == np.arange(N)[:, None] % 5).astype(np.int64)
MANY[::100, RARE] = 1


def of_pictures() -> tuple[Case, DataSet]:
    """One object of each picture, of the rare kind in every fiftieth; and as if that was never found."""
    kinds = np.where(np.arange(500) % 25 == 0, RARE, np.arange(500) % 3)
    boxes = np.tile(np.array([[10.0, 10, 30, 30]]), (500, 1, 1)) + np.arange(500)[:, None, None] % 60
    found = {"boxes": boxes, "scores": np.full((500, 1), 0.9), "classes": kinds[:, None].astype(np.float32)}
    labels = {"boxes": ragged.stack(list(boxes)), "labels": ragged.stack([np.array([k]) for k in kinds])}
    return case(found, labels), found | {"scores": np.where(kinds[:, None] == RARE, 0.0, 0.9)}


def without(scores: Array) -> Array:
    lost = scores.copy()
    lost[..., RARE] = scores.min()
    return lost


def opinion(given: Case, outputs: DataSet | Array, asked: float | None = 3.0, task: str = "") -> Opinion:
    judging = telling.judging(given, task)
    allowed = budgets.resolve(budgets.named(judging.metrics), 0.5, asked)
    return panel.Panel(judging, given.reference, allowed.judging).opinion(
        outputs if isinstance(outputs, dict) else {"y": outputs}
    )


@pytest.mark.parametrize(
    ("given", "outputs"),
    [
        (case(SCORES, LABELS), without(SCORES)),
        (case(SHARES), without(SHARES)),
        (case(one_hot(WORDS, 8), WORDS), without(one_hot(WORDS, 8))),
        (case(MANY * 0.8 + 0.1, MANY), without(MANY * 0.8 + 0.1)),
        of_pictures(),
    ],
    ids=["classification", "without labels", "words", "several labels", "detection"],
)
def test_a_rare_class_that_is_gone_is_named_though_the_budget_is_kept(
    given: Case, outputs: DataSet | Array
) -> None:
    found = opinion(given, outputs, asked=6.0)
    assert found.judgements[0].verdict == "holds" and found.a_class_is_gone
    (lost,) = found.classes
    assert (lost.label, lost.ours, lost.gone) == (RARE, 0, True) and lost.theirs >= 20
    same = opinion(given, given.reference)
    assert not same.classes


def test_neither_does_what_chooses_keep_it_nor_what_judges_hold_it() -> None:
    judging = telling.judging(case(SCORES, LABELS), "")
    allowed = budgets.resolve(budgets.named(judging.metrics), 0.5, 3.0)
    held = panel.Panel(judging, {"y": SCORES}, allowed.judging)
    assert held.keeps({"y": SCORES}) and held.holds({"y": SCORES})
    assert not held.keeps({"y": without(SCORES)}) and not held.holds({"y": without(SCORES)})


def test_hard_classes_are_lost_by_chance_as_in_any_quantised_model() -> None:
    """A tenth of the classes is hard: 15 % of its samples are lost; a hundredth of all others."""
    refused = 0
    for _ in range(200):
        moved = DRAWN.random(N) < np.where(LABELS < 10, 0.15, 0.01)
        ours = np.flatnonzero(~moved)
        refused += any(
            one.gone for one in vanished.find("a", Right(LABELS, np.arange(N)), Right(LABELS[ours], ours), 3.0)
        )
    assert refused <= 4


@pytest.mark.parametrize(
    ("samples", "lost", "told", "gone"),
    [(3, 3, True, False), (4, 1, False, False), (12, 12, True, True), (40, 26, True, True)],
)
def test_what_few_samples_say_is_told_and_no_proof(samples: int, lost: int, told: bool, gone: bool) -> None:
    theirs = np.concatenate([np.repeat(np.arange(10), 50), np.full(samples, 10)])
    there = np.arange(len(theirs))
    ours = there[: len(theirs) - lost]
    found = tuple(vanished.find("a", Right(theirs, there), Right(theirs[ours], ours), 2.0))
    assert bool(found) == told and any(one.gone for one in found) == gone
    assert bool(vanished.remark(found)) == (told and not gone) and bool(vanished.refusal(found)) == gone


def test_what_stands_in_one_sample_counts_once() -> None:
    """30 words of a rare kind, all in two sentences: chance may have taken both."""
    classes = np.repeat([0, 1], [1000, 30])
    samples = np.concatenate([np.arange(1000), np.repeat([0, 1], 15)])
    (found,) = vanished.find("a", Right(classes, samples), Right(classes[:1000], samples[:1000]), 0.5)
    assert (found.label, found.theirs, found.samples, found.gone) == (1, 30, 2, False)


def test_what_a_person_asked_for_may_be_lost_of_every_class() -> None:
    classes = np.repeat(np.arange(4), 100)
    half = np.flatnonzero(np.arange(400) % 20 >= 9)
    theirs, ours = Right(classes, np.arange(400)), Right(classes[half], half)
    assert any(one.gone for one in vanished.find("a", theirs, ours, 5.0))
    assert not any(one.gone for one in vanished.find("a", theirs, ours, 50.0))


def test_many_are_told_in_a_few_words() -> None:
    lost = [ClassLoss("accuracy", k, 20, 20, k % 2, gone=True) for k in range(5)]
    assert vanished.refusal(tuple(lost)).startswith(
        "Of class 0 it has 0 right where float has 20 (accuracy); of class 1 "
    )
    assert "; and so on in 2 more classes: more than chance" in vanished.refusal(tuple(lost))
    assert not vanished.remark(tuple(lost)) and vanished.remark((replace(lost[0], gone=False),))


def test_a_class_that_eight_bits_lose_refuses_them(
    build_tiny: Callable[..., BuiltFolder], onnx_recipe: Path, tmp_path: Path
) -> None:
    import onnxruntime as ort

    from tests.builder.tiny import rare_class

    kept: dict[str, Any] = {"targets": ["rpi4"], "budget": 20.0}
    refused = build_tiny("rare_class", onnx_recipe, **kept)
    found = next(c for c in refused.report["candidates"] if c["variant"] == "int8-static")
    assert (found["shipped"], found["code"], found["verdict"]) == (False, "accuracy-over-budget", "fails"), found[
        "reason"
    ]
    assert found["reason"].startswith("Of class 4 it has 0 right where float has 20 (accuracy): more than chance")
    assert [j["verdict"] for j in found["judgements"]] == ["holds"]
    assert "Classes that are lost" in (refused.folder / "report.html").read_text()
    accepted = build_tiny("rare_class", onnx_recipe, accept=True, out=tmp_path / "accepted", **kept)
    shipped = next(c for c in accepted.report["candidates"] if c["variant"] == "int8-static")
    accepted.unpack(shipped["artifact"], tmp_path / "own")
    session = ort.InferenceSession(next((tmp_path / "own").glob("*.onnx")), providers=["CPUExecutionProvider"])
    source: Any = rare_class()
    said = [int(session.run(None, {"x": one[None]})[0].argmax()) for one in source.evaluation_inputs[::20]]
    assert 4 not in said and len(said) == 20
