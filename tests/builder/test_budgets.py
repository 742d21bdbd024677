"""Every metric can be given a budget by its name, and a refusal says with which words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_builder.judge import advice, budgets, panel, telling
from edgelift_builder.judge.budgets import Allowed, Named
from edgelift_builder.judge.judgement import Judgement
from edgelift_builder.pipeline import StepContext, _plan
from edgelift_builder.recipe import StepCall
from edgelift_builder.request import parse_budgets
from edgelift_builder.steps import STEPS
from edgelift_builder.targets import load_target
from edgelift_contract.errors import ContractError
from tests.builder.conftest import BuiltFolder, edgelift
from tests.builder.judging import case

pytestmark = pytest.mark.builder

DRAWN = np.random.default_rng(0)
N = 2000
LABELS = DRAWN.integers(0, 2, N)
TWO_HEADS = {
    "kind": np.eye(2)[LABELS] * 4 - 2,
    "size": DRAWN.normal(size=(N, 3)),
    "pose": DRAWN.normal(size=(N, 2)),
}
JUDGING = telling.judging(case(TWO_HEADS, {"kind": LABELS}), "")
METRICS = budgets.named(JUDGING.metrics)


def test_metrics_are_called_by_their_outputs_where_several_have_one() -> None:
    assert [m.called for m in METRICS] == ["accuracy", "relative error of size", "relative error of pose"]


@pytest.mark.parametrize(
    ("main", "asked", "found"),
    [
        (2.0, {}, [2, 10, 10]),
        (None, {"Accuracy": 2.0}, [2, 10, 10]),
        (None, {"relative error of pose": 30.0}, [0.5, 10, 30]),
        (1.0, {"relative error": 20.0}, [1, 20, 20]),
        (None, {"relative error of pose": 30.0, "relative error": 20.0}, [0.5, 20, 30]),
    ],
)
def test_a_budget_is_of_the_metric_that_is_named(
    main: float | None, asked: dict[str, float], found: list[float]
) -> None:
    allowed = budgets.resolve(METRICS, 0.5, main, asked)
    assert [allowed.judging(metric) for metric in JUDGING.metrics] == found
    held = panel.Panel(JUDGING, TWO_HEADS, allowed.judging).judge(TWO_HEADS)
    assert [j.budget for j in held] == found and [j.name for j in held] == [m.called for m in METRICS]
    # What chooses has no labels, so the first output's values are looked at, too.
    by_values = telling.judging(case(TWO_HEADS), "").metrics
    assert [allowed.choosing(metric) for metric in by_values][1:] == found[1:]


def test_what_chooses_detections_is_given_what_is_asked_of_them() -> None:
    labelled = [Named("box overlap", "box overlap", "box overlap of boxes, scores", "points")]
    alone = replace(
        JUDGING.metrics[0], measure=replace(JUDGING.metrics[0].measure, name="box overlap"), looks_at=()
    )
    assert budgets.resolve(labelled, 0.5, None, {"box overlap": 7.0}).choosing(alone) == 7


@pytest.mark.parametrize(("main", "asked"), [(1.0, {"accuracy": 2.0}), (None, {"accuracy": 1.0, "Accuracy": 2.0})])
def test_one_metric_has_one_budget(main: float | None, asked: dict[str, float]) -> None:
    with pytest.raises(ContractError, match="The budget of accuracy is asked to be 1 and 2"):
        budgets.resolve(METRICS, 0.5, main, asked)


def test_a_metric_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ContractError, match="There is no metric 'mAP'") as caught:
        budgets.resolve(METRICS, 0.5, None, {"mAP": 2.0})
    assert caught.value.code == "unknown-metric"
    assert "accuracy (points), relative error of size (%), relative error of pose (%)" in caught.value.hint


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], (None, {})),
        (["2"], (2.0, {})),
        (["box overlap=3", "1.5"], (1.5, {"box overlap": 3.0})),
        (["a=b=3"], (None, {"a=b": 3.0})),
    ],
)
def test_budgets_are_read(texts: list[str], found: tuple[float | None, dict[str, float]]) -> None:
    assert parse_budgets(texts) == found


@pytest.mark.parametrize(
    "texts", [["much"], ["accuracy="], ["accuracy"], ["-1"], ["101"], ["nan"], ["F1=inf"], ["1", "2"]]
)
def test_what_is_no_budget_is_refused(texts: list[str]) -> None:
    with pytest.raises(ContractError, match=r"budget") as caught:
        parse_budgets(texts)
    assert caught.value.code == "malformed"


def key(allowed: Allowed, step: str) -> str:
    nothing: Any = None
    context = StepContext(nothing, nothing, Path(), load_target("x86-64"), allowed)
    return _plan("source", [StepCall("export-onnx"), StepCall(step)], STEPS, context)[-1][2]


def test_no_result_made_for_one_budget_is_found_for_another() -> None:
    """Whichever metric it is of; and what says the same in other words is the same."""
    same = [budgets.resolve(METRICS, 0.5, 2.0), budgets.resolve(METRICS, 0.5, None, {"Accuracy": 2.0})]
    other = [
        Allowed(), budgets.resolve(METRICS, 0.5, 1.0), budgets.resolve(METRICS, 0.5, 2.0, {"relative error": 20.0}),
        budgets.resolve(METRICS, 0.5, 2.0, {"relative error of pose": 20.0}),
    ]  # fmt: skip
    keys = [key(allowed, "static-int8") for allowed in (*same, *other)]
    assert keys[0] == keys[1] and len(set(keys)) == 1 + len(other)
    assert len({key(allowed, "fp16") for allowed in (*same, *other)}) == 1


HOLDS = Judgement("accuracy", "points", N, 0.9, 0.89, 0.91, 0.9, 0.1, 0.0, 0.2, 0.5, 3, 1, "", "holds")
UNSURE = replace(HOLDS, loss_high=0.711, verdict="cannot-tell", samples_needed=2600)
BOXES = replace(
    HOLDS, metric="box overlap", loss=1.9, loss_low=1.1, loss_high=3.125, budget=2, verdict="cannot-tell",
    samples_needed=9000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("judgements", "words"),
    [
        ((UNSURE, HOLDS), "--budget 0.72"),
        ((HOLDS, BOXES), "--budget 'box overlap=3.13'"),
        ((UNSURE, BOXES), "--budget 0.72 --budget 'box overlap=3.13'"),
        ((replace(UNSURE, called="accuracy of y"),), "--budget 'accuracy of y=0.72'"),
    ],
)
def test_the_way_on_is_the_words_that_help(judgements: tuple[Judgement, ...], words: str) -> None:
    said = advice.too_few(judgements)
    assert f"give it more room with {words}, or ship" in said
    main, named = parse_budgets(shlex.split(words)[1::2])
    for judged in judgements:
        budget = named.get(judged.name, main if judged is judgements[0] else None)
        assert judged.loss_high <= (judged.budget if budget is None else budget)


@pytest.mark.parametrize(
    "judged",
    [
        replace(UNSURE, n=20),
        replace(UNSURE, room=0.7),
        replace(BOXES, loss_high=120.0),
        replace(UNSURE, loss=np.inf, loss_high=np.inf),
    ],
)
def test_no_budget_is_advised_that_would_not_help(judged: Judgement) -> None:
    assert "--budget" not in advice.too_few([judged])
    assert "No budget would help" in advice.too_few([replace(judged, samples_needed=None)])


def test_as_many_samples_are_asked_for_as_all_metrics_need() -> None:
    assert advice.samples_needed([HOLDS, HOLDS]) is None
    assert advice.samples_needed([UNSURE, BOXES]) == 9000
    assert "About 9000 samples would tell" in advice.too_few([UNSURE, BOXES])
    assert advice.samples_needed([UNSURE, replace(BOXES, samples_needed=None)]) is None
    assert advice.samples_needed([UNSURE, replace(BOXES, verdict="fails")]) is None


def test_every_broken_budget_is_told() -> None:
    broken = [
        replace(HOLDS, verdict="fails", loss=3.0),
        HOLDS,
        replace(BOXES, verdict="fails", called="box overlap of b"),
    ]
    said = advice.failed(broken)
    assert "points of accuracy" in said and "+1.90 points of box overlap of b" in said


def int8(report: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in report["candidates"] if c["variant"] == "int8-static")


def values_error(built: BuiltFolder, found: dict[str, Any], to: Path) -> float:
    """By onnxruntime alone: of the worst of the two values, per cent of how much float's vary."""
    import onnxruntime as ort
    import torch

    from tests.builder.tiny import two_heads

    built.unpack(found["artifact"], to)
    session = ort.InferenceSession(next(to.glob("*.onnx")), providers=["CPUExecutionProvider"])
    source = two_heads()
    images: Any = source.evaluation_inputs
    model: Any = source.model
    with torch.no_grad():
        wanted = model(torch.from_numpy(images))["values"].numpy()
    answers = np.concatenate([session.run(["values"], {"x": one[None]})[0] for one in images])
    off = np.sqrt(((answers - wanted) ** 2).mean(0)) / wanted.std(0)
    return 100 * float(off.max())


def test_a_named_budget_ships_what_its_lack_refused(
    build_tiny: Callable[..., BuiltFolder], tmp_path: Path, onnx_recipe: Path
) -> None:
    before = int8(build_tiny("two_heads", onnx_recipe, targets=["rpi4"], budget=2.0).report)
    assert (before["shipped"], before["code"]) == (False, "accuracy-over-budget"), before["reason"]
    assert "% of relative error" in before["reason"]
    out = tmp_path / "again"
    budget = ["--budget", "2", "--budget", "Relative error=90"]
    source = Path(__file__).parent / "tiny.py"
    done = edgelift(
        "build", f"{source}:two_heads", "-t", "rpi4", "-r", onnx_recipe, *budget, "--out", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    built = BuiltFolder(out, json.loads((out / "report.json").read_bytes()), "")
    after = int8(built.report)
    assert after["shipped"], after["reason"]
    first, second = after["judgements"]
    assert (first["name"], first["budget"], second["name"], second["budget"]) == (
        "accuracy",
        2,
        "relative error",
        90,
    )
    assert second["value"] * 100 == pytest.approx(values_error(built, after, tmp_path / "own"), rel=0.02)
    page = (out / "report.html").read_text()
    assert "Every metric" in page and "90 %" in page


def test_a_budget_of_no_metric_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    source = Path(__file__).parent / "tiny.py"
    done = edgelift("build", f"{source}:two_heads", "-t", "rpi4", "--budget", "mAP=3", "--out", tmp_path / "r")
    assert done.returncode and "unknown-metric" in done.stderr and "relative error (%)" in done.stderr
    assert "Making" not in done.stderr and not (tmp_path / "r").exists()
