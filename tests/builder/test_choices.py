"""Shipped or rejected, by figures: budgets, few samples, metrics of one's own, wrong recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelift_builder.recipe import load_recipe, names
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import load_target
from edgelift_builder.targets import names as target_names
from edgelift_contract import ContractError, DeviceError
from tests.builder.conftest import BuiltFolder, edgelift

pytestmark = pytest.mark.builder

Build = Callable[..., BuiltFolder]


def only(built: BuiltFolder, variant: str) -> dict[str, Any]:
    (found,) = [c for c in built.report["candidates"] if c["variant"] == variant]
    return found


def test_what_loses_too_much_is_rejected_with_its_figures(build_tiny: Build, onnx_recipe: Path) -> None:
    built = build_tiny("lossy", onnx_recipe)
    int8 = only(built, "int8-static")
    assert (int8["shipped"], int8["code"], int8["verdict"]) == (False, "accuracy-over-budget", "fails")
    assert int8["loss_low"] > 0.5 and int8["size_bytes"] > 0 and "over the budget of 0.5 points" in int8["reason"]
    assert only(built, "float32")["shipped"]
    assert {m.variant for m in built.manifests.values()} == {"float32"}


def test_accept_ships_it_all_the_same_and_says_so(build_tiny: Build, onnx_recipe: Path) -> None:
    built = build_tiny("lossy", onnx_recipe, accept=True)
    int8 = only(built, "int8-static")
    assert int8["shipped"] and int8["code"] == "accuracy-over-budget"
    (manifest,) = [m for m in built.manifests.values() if m.variant == "int8-static"]
    assert {e.verdict for e in manifest.evidence} == {"fails"}


def test_too_few_samples_cannot_tell(build_tiny: Build, onnx_recipe: Path) -> None:
    int8 = only(build_tiny("few_samples", onnx_recipe), "int8-static")
    assert (int8["shipped"], int8["code"], int8["verdict"]) == (False, "not-enough-data", "cannot-tell")
    assert int8["loss"] == 0.0 and int8["n"] == 50


def test_without_labels_agreement_is_measured(build_tiny: Build, onnx_recipe: Path) -> None:
    onnx_recipe.write_text("accuracy_drop_pp = 2.0\n" + onnx_recipe.read_text())
    built = build_tiny("unlabelled", onnx_recipe)
    assert (built.report["metric"], built.report["unit"]) == ("relative error", "percent")
    assert "there are no labels" in built.report["judged"]
    assert any("calibration" in remark for remark in built.report["remarks"])
    assert only(built, "float32")["value"] < 1e-4
    assert 0.001 < only(built, "int8-static")["value"] < 0.1


def test_a_metric_of_ones_own_is_used(build_tiny: Build, onnx_recipe: Path) -> None:
    built = build_tiny("own_metric", onnx_recipe)
    int8 = only(built, "int8-static")
    assert (built.report["metric"], int8["method"]) == ("likelihood", "paired t interval")
    assert 0.9 < int8["value"] <= 1.0
    assert int8["loss_low"] <= int8["loss"] <= int8["loss_high"]


def test_boards_of_one_class_share_an_artifact(build_tiny: Build, float_recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "myboard.toml"
    shipped = Path(__file__).parent.parent.parent / "builder/edgelift_builder/targets/rpi4.toml"
    other.write_text(shipped.read_text())
    built = build_tiny("tiny", float_recipe, targets=["rpi4", str(other)])
    (artifact,) = built.release["artifacts"]
    assert artifact["targets"] == ["myboard", "rpi4"]


def _recipe(steps: str, *, first: str = "", name: str = "float32", format_name: str = "onnx") -> str:
    return f'name = "x"\n{first}\n[[variant]]\nname = "{name}"\nformat = "{format_name}"\nsteps = [{steps}]'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "name"),
        ("name = ", "not valid"),
        (_recipe('"bake"'), "unknown step 'bake'"),
        (_recipe('"export-onx"'), "mean export-onnx"),
        (_recipe('"export-onnx"', first="budget = 1"), "budget"),
        (_recipe('"export-onnx"', first="accuracy_drop_pp = -1"), "accuracy_drop_pp"),
        (_recipe('"export-onnx"', format_name="png"), "png"),
        (_recipe('"export-onnx"', name="int8"), "no float32"),
        (_recipe("{ x = 1 }"), "has no name"),
        (_recipe('{ step = "export-onnx", opset = 9 }'), "no option 'opset'"),
        (_recipe('"export-onnx"', name="float16"), "what float32 is called"),
    ],
)
def test_a_wrong_recipe_is_refused_by_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ContractError) as caught:
        check_recipe(load_recipe(str(path)), [load_target("x86-64")])
    assert caught.value.code == "unknown-recipe" and words in str(caught.value)


def test_every_recipe_and_target_that_ships_is_valid() -> None:
    targets = [load_target(name) for name in target_names()]
    assert {"x86-64", "x86-64-vnni", "rpi4"} <= set(target_names())
    assert {"default", "float32", "int8-static"} <= set(names())
    for name in names():
        assert load_recipe(name).name == name
        check_recipe(load_recipe(name), targets)
    for target in targets:
        assert all(target.sources.values())


@pytest.mark.parametrize("name", ["armv7", "armhf", "rpi2", "rpi-zero", "armv6l", "i686"])
def test_32_bit_boards_are_refused_early_with_advice(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        load_target(name)
    assert caught.value.code == "unsupported-platform" and "64-bit" in caught.value.hint


def test_targets_are_listed() -> None:
    done = edgelift("targets")
    assert done.returncode == 0 and "rpi4" in done.stdout and "arm64-neon" in done.stdout
    assert "issue 31573" in edgelift("targets", "--json").stdout
