"""Search: proposes only what the target computes in, ends in time, keeps what nothing beats and tells the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgelift_builder.candidate import Examined
from edgelift_builder.choose import conditions
from edgelift_builder.judge.panel import Opinion
from edgelift_builder.recipe import Recipe, Variant
from edgelift_builder.search import explore, families, propose
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import load_target, names
from tests.builder.conftest import BuiltFolder, edgelift
from tests.builder.test_family import facts
from tests.builder.test_gates import TARGET, candidate

pytestmark = pytest.mark.builder


class Dice:
    """Draws proposals at random, as Optuna does at first."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_categorical(self, _name: str, choices: Any) -> Any:
        return self._random.choice(list(choices))


FORMATS = ("onnx", "tflite", "torchscript")


@pytest.mark.parametrize("name", names())
def test_only_what_the_target_computes_is_proposed(name: str) -> None:
    target, proposed = load_target(name), set()
    kinds = families(target, FORMATS, conditions(target, facts()))
    for seed in range(300):
        format_name, calls = propose(Dice(seed), kinds, FORMATS)
        check_recipe(Recipe("search", "", "", 0.5, [Variant("search-01", format_name, calls)]), [target])
        proposed.add(calls[-1].step)
    int8 = {"static-int8", "dynamic-int8-onnx", "tflite-static-int8", "weight-only"}
    assert proposed == (int8 if "int8" in target.precisions else set()) | (
        {"fp16"} if "float16" in target.precisions else set()
    )


def test_only_what_the_source_can_become_is_proposed() -> None:
    target = load_target("rpi4")
    kinds = families(target, ("onnx",), conditions(target, facts()))
    for seed in range(100):
        format_name, calls = propose(Dice(seed), kinds, ("onnx",))
        assert format_name == "onnx" and all(c.step != "prune-channels" for c in calls)


def test_a_target_that_computes_nothing_else_has_nothing_to_search() -> None:
    nano = load_target("jetson-nano")  # float16, which a TFLite file is not made in

    def attempt(variant: Variant) -> Examined:
        raise AssertionError(variant)

    assert explore(nano, ("tflite",), conditions(nano, facts()), attempt, seconds=3600) == ([], [])
    assert families(nano, ("onnx",), conditions(nano, facts(1_000_000_000))) == ["weight-only", "fp16"]


def test_a_search_adds_what_is_worth_having(build_tiny: Callable[..., BuiltFolder], float_recipe: Path) -> None:
    float_recipe.write_text("accuracy_drop_pp = 2.0\n" + float_recipe.read_text())
    built = build_tiny("tiny", float_recipe, search_s=4.0)
    trials = built.report["search"]
    assert trials and len({tuple(t["steps"]) for t in trials}) == len(trials)
    kept = {t["variant"] for t in trials if t["kept"]}
    assert kept == {c["variant"] for c in built.report["candidates"]} - {"float32"}
    for trial in trials:  # how many there were, and so whether one was worth keeping, is the machine's speed
        assert trial["kept"] or trial["reason"] or trial["loss"] is not None
    assert "Search" in (built.folder / "report.html").read_text()


def test_it_keeps_what_nothing_beats_and_ends_when_there_is_nothing_new() -> None:
    def attempt(variant: Variant) -> Examined:
        """Each step has a size and a loss of its own: no model is needed to tell which are beaten."""
        made = candidate(variant.name, SIZES.get(variant.steps[-1].step, 900), None)
        lost_pp = 0.0 if variant.steps[-1].step == "fp16" else 0.1
        return replace(made, variant=variant, opinion=Opinion((replace(made.judgement, loss=lost_pp),)))

    kept, trials = explore(TARGET, ("onnx",), {"int8", "float16"}, attempt, seconds=3600)
    assert {c.variant.steps[-1].step for c in kept} == {"fp16", "static-int8"}
    assert {t.variant for t in trials if t.kept} == {c.variant.name for c in kept}
    assert len({tuple(t.steps) for t in trials}) == len(trials) > 5


SIZES = {"fp16": 500, "static-int8": 250, "dynamic-int8-onnx": 260}


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    done = edgelift("build", "x.py:f", "--target", "rpi4", "--search", "soon", "--out", tmp_path / "r")
    assert done.returncode == 1 and "'soon' is not a time" in done.stderr and not (tmp_path / "r").exists()
