"""Search: proposes only what the target can run, ends in time, keeps what nothing beats and tells the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from edgelift_builder.recipe import Recipe, Variant
from edgelift_builder.search import propose
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import load_target
from tests.builder.conftest import BuiltFolder, edgelift

pytestmark = pytest.mark.builder


class Dice:
    """Draws proposals at random, as Optuna does at first."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_categorical(self, _name: str, choices: Any) -> Any:
        return self._random.choice(list(choices))


@pytest.mark.parametrize("name", ["rpi4", "jetson-nano", "x86-64-vnni"])
def test_whatever_is_proposed_is_a_valid_recipe(name: str) -> None:
    target, proposed = load_target(name), set()
    for seed in range(300):
        format_name, calls = propose(Dice(seed), target, ("onnx", "tflite", "torchscript"))
        variant = Variant("search-01", format_name, calls)  # type: ignore[arg-type]  # one of its literals
        check_recipe(Recipe("search", "", "", 0.5, [variant]), [target])
        proposed.add(calls[-1].step)
    quantised = {"static-int8", "dynamic-int8-onnx"}
    assert proposed >= {"fp16", "weight-only", "tflite-static-int8"}
    assert (quantised <= proposed) == (name != "jetson-nano")


def test_only_what_the_source_can_become_is_proposed() -> None:
    for seed in range(100):
        format_name, calls = propose(Dice(seed), load_target("rpi4"), ("onnx",))
        assert format_name == "onnx" and all(c.step != "prune-channels" for c in calls)


@pytest.mark.timeout(240)
def test_a_search_adds_what_is_worth_having(build_tiny: Callable[..., BuiltFolder], float_recipe: Path) -> None:
    float_recipe.write_text("accuracy_drop_pp = 2.0\n" + float_recipe.read_text())
    started = monotonic()
    built = build_tiny("tiny", float_recipe, search_s=6.0)
    assert monotonic() - started < 200
    trials = built.report["search"]
    assert len(trials) >= 2 and len({tuple(t["steps"]) for t in trials}) == len(trials)
    kept = {t["variant"] for t in trials if t["kept"]}
    assert kept and kept == {c["variant"] for c in built.report["candidates"]} - {"float32"}
    for trial in trials:
        assert trial["kept"] or trial["reason"] or trial["drop_pp"] is not None
    assert "Search" in (built.folder / "report.html").read_text()


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    done = edgelift("build", "x.py:f", "--target", "rpi4", "--search", "soon", "--out", tmp_path / "r")
    assert done.returncode == 1 and "'soon' is not a time" in done.stderr and not (tmp_path / "r").exists()
