"""`scripts/bench build` holds ours against the plain quantisers: right figures, whatever it measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.building import beside, ours, peers, plain
from benchmarks.building.bars import bars
from benchmarks.building.zoo import ZOO

from edgelift_builder.build import build
from edgelift_builder.recipe import load_recipe
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from tests.builder.conftest import TINY

pytestmark = pytest.mark.builder

RECIPE = """
name = "both"
accuracy_drop_pp = 2.0
[[variant]]
name = "float32"
format = "onnx"
steps = ["export-onnx"]
[[variant]]
name = "float32"
format = "tflite"
steps = ["export-tflite"]
[[variant]]
name = "int8-static"
format = "tflite"
steps = ["export-tflite", "tflite-static-int8"]
"""


def test_a_ratio_is_of_medians_within_sittings() -> None:
    drawn = np.random.default_rng(0)
    sittings = []
    for speed in (1, 2, 3, 5, 7, 8, 9, 10, 20):  # what a sitting shares cancels out
        base = speed * drawn.lognormal(0, 0.1, (200, 1))
        sittings.append(base * np.array([2.0, 1.0]) * drawn.lognormal(0, 0.01, (200, 2)))
    value, low, high = beside.ratio(sittings, 0, 1)
    assert low <= value <= high and value == pytest.approx(2, rel=0.02) and low > 1.9 and high < 2.1
    assert beside.ratio(sittings, 1, 1) == [1, 1, 1]


def test_sittings_that_disagree_make_the_interval_wide() -> None:
    sittings = [np.ones((100, 2)) * [ratio, 1] for ratio in (0.95, 0.97, 1.0, 1.02, 1.05)]
    value, low, high = beside.ratio(sittings, 0, 1)
    assert value == pytest.approx(1, abs=0.01) and low < 0.98 and high > 1.01


def test_models_as_fast_as_the_plain_recipes_are_not_called_slower_by_chance() -> None:
    """A per cent from sitting to sitting, as two sessions of one file differ; any of eleven below 1 fails a run."""
    drawn = np.random.default_rng(0)

    def slower(by: float) -> bool:
        sittings = [np.tile([by * drawn.lognormal(0, 0.01), 1.0], (2, 1)) for _ in range(beside.SITTINGS)]
        return beside.ratio(sittings, 0, 1)[2] < 1

    assert np.mean([any(slower(1.0) for _ in ZOO) for _ in range(200)]) < 0.06
    assert np.mean([slower(0.97) for _ in range(200)]) > 0.9


def _model(**changes: Any) -> dict[str, Any]:
    same = {
        "name": "m", "family": "cnn", "parameters": 2_000_000, "recipe": "int8-static", "unit": "points", "loss": 0.1,
        "loss_interval": [-0.1, 0.3], "budget": 0.5, "fastest_float_ratio": 2.0, "size_ratio": 3.9, "latency_ratio": 2.1,
        "cosine": 0.999, "peer": "plain-static", "peer_latency_ratio": [1.0, 0.99, 1.01], "peer_loss": 0.1,
        "default_latency_ratio": [1.0, 0.99, 1.01], "default_loss": 0.1, "default_loss_interval": [-0.1, 0.3],
    }  # fmt: skip
    return same | changes


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({}, 0),
        ({"peer_latency_ratio": [0.99, 0.97, 0.999]}, 1),  # slower beyond chance
        ({"peer_latency_ratio": [0.96, 0.9, 1.02]}, 1),  # slower by more than two runs differ
        ({"default_latency_ratio": [0.9, 0.8, 0.95]}, 1),
        ({"peer_loss": 0.5}, 1),  # more than the 0.4 that its interval is wide
        ({"latency_ratio": 1.5}, 1),
    ],
)
def test_what_is_slower_or_worse_than_a_plain_recipe_misses_a_bar(changes: dict[str, Any], unmet: int) -> None:
    assert sum(not bar.met for bar in bars([_model(**changes)], "x86-64-vnni")) == unmet


def test_a_host_without_vnni_has_bars_of_its_own() -> None:
    found = [_model(latency_ratio=1.5), _model(family="transformer", latency_ratio=1.6)]
    assert all(bar.met for bar in bars(found, "x86-64-avx2"))
    assert not all(bar.met for bar in bars([*found, _model(family="transformer", cosine=0.9)], "x86-64-avx2"))
    assert not all(bar.met for bar in bars(found, "x86-64-vnni"))


@pytest.mark.parametrize("entry", ZOO, ids=lambda e: e.name)
def test_the_zoo_has_the_default_recipe_s_variants_and_more(entry: Any, tmp_path: Path) -> None:
    for extra in (False, True):
        file = tmp_path / f"{extra}.toml"
        file.write_text(ours.recipe_text(entry, extra=extra), encoding="utf-8")
        recipe = load_recipe(str(file))
        named = {(v.name, v.format) for v in recipe.variants}
        assert recipe.accuracy_drop_pp == entry.budget_pp
        assert named >= ours.default_names(entry)
        assert {(name, form) for name, (form, _) in entry.extra.items()} <= named or not extra


def test_ours_is_held_against_every_plain_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "both.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    (tmp_path / "data").mkdir()
    request = Request(f"{TINY}:tiny", [ours.target()], str(recipe), out=tmp_path / "release")
    built = build(request, Quiet(), tmp_path / "data")
    found = peers.compare(built, ours.first(built.report), tmp_path, seconds=0.5, points=2.0)
    made = {p["name"]: p for p in found["peers"]}
    assert not found["peers_not_made"]
    assert set(made) == {"ours", "float onnx", "float tflite", *plain.FORMATS}
    assert made["ours"]["latency_ratio"] == [1, 1, 1]
    assert all(p["loss"] == 0 and p["cosine"] > 0.99 for p in made.values())  # four kinds, far apart
    assert made["plain-static"]["size_bytes"] < made["float onnx"]["size_bytes"]
    fastest = min(made.values(), key=lambda p: p["p50_us"])
    low = found["peer_latency_ratio"][1]
    assert low <= found["peer_latency_ratio"][0] and fastest["p50_us"] > 0
    assert found["peer_loss"] == 0 and found["peer"] != "ours"
