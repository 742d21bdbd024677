"""Steps that cannot do what they are asked: which step, which operator, why, and the way on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgelift_builder.recipe import load_recipe
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import load_target
from edgelift_contract import ContractError
from tests.builder.conftest import BuiltFolder

pytestmark = pytest.mark.builder

FLOAT = 'name = "r"\n[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'


def variant(name: str, steps: str, format_name: str = "onnx") -> str:
    return f'[[variant]]\nname = "{name}"\nformat = "{format_name}"\nsteps = [{steps}]\n'


def test_steps_without_anything_to_do_say_so(build_tiny: Callable[..., BuiltFolder], tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        FLOAT
        + variant("dynamic", '"export-onnx", "dynamic-int8-onnx"')
        + variant("weights", '"export-onnx", "weight-only"')
        + variant("weights-again", '"export-onnx", "weight-only", "fp16"')
        + variant("twice", '"export-onnx", "static-int8", "static-int8"')
        + variant("late", '"export-onnx", "prune-channels"')
        + variant("float32", '"export-tflite"', "tflite")
    )
    built = build_tiny("convolutions", recipe)
    reasons = {(c["variant"], c["format"]): (c["code"], c["reason"]) for c in built.report["candidates"]}
    code, reason = reasons["dynamic", "onnx"]
    assert code == "conversion-failed" and "(Conv)" in reason and "dynamically" in reason
    code, reason = reasons["weights", "onnx"]
    assert code == "conversion-failed" and "worth narrowing" in reason
    # The failed step is shared: the next variant tries it again and hears the same, not of a folder in the way.
    assert reasons["weights-again", "onnx"] == (code, reason)
    code, reason = reasons["twice", "onnx"]
    assert code == "step-failed" and "static-int8 works on a float32 onnx, not on a int8 onnx" in reason
    code, reason = reasons["late", "onnx"]
    assert code == "step-failed" and "prune-channels works on a float32 source, not on a float32 onnx" in reason
    assert reasons["float32", "onnx"] == ("", "")


def test_an_operator_that_tflite_lacks_is_named(build_tiny: Callable[..., BuiltFolder], tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "r"\n[[variant]]\nname = "float32"\nformat = "tflite"\nrequired = true\nsteps = ["export-tflite"]\n'
    )
    with pytest.raises(ContractError) as caught:
        build_tiny("unsupported", recipe)
    assert caught.value.code == "unsupported-operator" and "bessel_j0" in caught.value.message, str(caught.value)
    assert "TFLite" in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('{ step = "static-int8", calibration = "guess" }', "step static-int8 can't be 'guess'"),
        ('{ step = "static-int8", granularity = "row" }', "It can be one of: target, tensor, channel"),
        ('{ step = "tflite-static-int8", calibration = "guess" }', "It can be one of: best, "),
        ('{ step = "weight-only", bits = 3 }', "bits of the step weight-only can't be 3"),
        ('{ step = "weight-only", group = 7 }', "group of the step weight-only can't be 7"),
        ('{ step = "prune-weights", pattern = "4:2" }', "no pattern '4:2'"),
        ('{ step = "prune-channels", amount = 1.5 }', "between 0 and 1"),
        ('{ step = "prune-layers", count = 0 }', "at least 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(tmp_path: Path, step: str, words: str) -> None:
    (tmp_path / "r.toml").write_text(FLOAT + variant("x", f'"export-onnx", {step}'))
    with pytest.raises(ContractError) as caught:
        check_recipe(load_recipe(str(tmp_path / "r.toml")), [load_target("x86-64")])
    assert caught.value.code == "unknown-recipe" and words in str(caught.value)


def test_a_weight_that_is_no_number_is_named(tmp_path: Path) -> None:
    from edgelift_builder.optimise import weight_only
    from tests.builder import files

    path = files.onnx_file(tmp_path / "net.onnx", external=False, width=256)
    proto = onnx.load(path)
    values = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values[3, 3] = np.nan
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, "w1"))
    onnx.save(proto, path)
    (tmp_path / "out").mkdir()
    with pytest.raises(ContractError, match="weight w1 holds NaN"):
        weight_only.quantise(str(path), {"bits": 8, "group": 32}, str(tmp_path / "out"))
