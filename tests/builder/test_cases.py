"""What a person brings, built; each artifact opened by its runtime alone, on inputs that the build never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.alone import Arrays, alone, ask, shipped

from edgelift_contract.errors import ContractError
from tests.builder.conftest import BuiltFolder
from tests.builder.shared_cases import CASES, SharedCase, named, needs_cases, sources

pytestmark = [pytest.mark.builder, needs_cases]

Build = Callable[..., BuiltFolder]


def own_answers(case: SharedCase, inputs: Arrays) -> Arrays:
    """What the module itself says, one sample at a time, in float32."""
    model = getattr(sources(), case.function)().model.float()
    if type(model).__name__ == "Sequential":
        (x,) = inputs.values()
        inputs = {"input": x}

    def run(call: Arrays) -> Arrays:
        with torch.no_grad():
            found = model(**{name: torch.from_numpy(array) for name, array in call.items()})
        listed = found if isinstance(found, tuple) else (found,)
        return {f"output_{k}": tensor.numpy() for k, tensor in enumerate(listed)}

    return ask(run, inputs, case.axes)


def check(case: SharedCase, built: BuiltFolder, folder: Path) -> set[tuple[str, str]]:
    """Every artifact of a release; which (format, variant) it held."""
    given = case.fresh(4711)
    own, seen = own_answers(case, given), set()
    for manifest in shipped(built.folder):
        names = [spec["name"] for spec in manifest["inputs"]]
        assert len(names) == len(given) and (len(names) == 1 or set(names) == set(given)), "inputs by their names"
        # Of one input there is one name; of several, those of `forward`'s parameters.
        inputs = given if len(names) > 1 else dict(zip(names, given.values(), strict=True))
        found = ask(alone(built.folder, manifest, folder / manifest["artifact"]), inputs, case.axes)
        figure = case.right(found, own, inputs)
        assert figure >= case.least, f"{case.function}, {manifest['variant']} {manifest['format']}: {figure}"
        if manifest["variant"] == "float32":
            claim = manifest["evidence"][0]["value"]
            assert claim == pytest.approx(case.claimed[0], abs=case.claimed[1]), manifest["evidence"]
        seen.add((manifest["format"], manifest["variant"]))
    return seen


#: Which of them lose no more than their budget in int8, on any processor; whether that ships is for size and time to say.
_INT8 = {"constant_mask", "batch_of_one", "bfloat16_weights"}


#: What is quickly built; the test below does all.
_QUICK = _INT8 | {"text_by_name", "regression_float_labels", "embedding_cosine"}


@pytest.mark.parametrize("case", [c for c in CASES if c.function in _QUICK], ids=lambda case: case.function)
def test_onnx_says_what_is_right(case: SharedCase, build_tiny: Build, onnx_recipe: Path, tmp_path: Path) -> None:
    built = build_tiny(named(case.function), onnx_recipe)
    assert ("onnx", "float32") in check(case, built, tmp_path / "laid-out")
    (int8,) = (c for c in built.report["candidates"] if c["variant"] == "int8-static")
    assert int8["value"] is not None, "int8 is made"
    assert int8["verdict"] == "holds" or case.function not in _INT8


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.function)
def test_every_format_on_every_target_says_what_is_right(
    case: SharedCase, build_tiny: Build, tmp_path: Path
) -> None:
    built = build_tiny(named(case.function), Path("default"), targets=["rpi4", "x86-64"])
    formats = {kind for kind, _ in check(case, built, tmp_path / "laid-out")}
    assert {"onnx", "tflite"} <= formats
    assert {c["target"] for c in built.report["candidates"] if c["shipped"]} == {"rpi4", "x86-64"}


@pytest.mark.parametrize(
    ("function", "said", "hint"),
    [
        ("regression_integer_labels", "can't be told from labels", 'task="regression"'),
        ("returns_nothing", "forward returns nothing", "return"),
        ("nan_in_evaluation", "Evaluation sample 5 of the input x holds NaN", "Leave it out"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_is_made(
    function: str, said: str, hint: str, build_tiny: Build, onnx_recipe: Path, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match=said) as caught:
        build_tiny(named(function), onnx_recipe)
    assert hint in caught.value.hint and not (tmp_path / "out" / "release").exists()


@pytest.fixture
def as_regression(tmp_path: Path) -> str:
    """`regression_integer_labels`, its task named; half of the float model's own answers are its labels, whole numbers."""
    file = tmp_path / "counted.py"
    file.write_text(
        "import numpy as np, torch\n"
        "from edgelift_builder import Source\n"
        "from torch import nn\n"
        "def count() -> Source:\n"
        "    torch.manual_seed(0)\n"
        "    x = np.random.default_rng(1).normal(size=(900, 16)).astype(np.float32)\n"
        "    model = nn.Linear(16, 1).eval()\n"
        "    with torch.no_grad():\n"
        "        model.weight.mul_(40)\n"
        "        y = model(torch.tensor(x)).numpy().round().astype(int)[:, 0]\n"
        "    return Source('count', model, (x[:1],), x, y, task='regression')\n"
    )
    return f"{file}:count"


def test_whole_numbers_are_judged_as_regression_where_it_is_named(
    as_regression: str, build_tiny: Build, float_recipe: Path
) -> None:
    built = build_tiny(as_regression, float_recipe)
    (manifest,) = shipped(built.folder)
    assert manifest["evidence"][0]["metric"] == "MAE" and "accuracy" not in manifest["judged"]
    assert manifest["evidence"][0]["value"] == pytest.approx(0.25, abs=0.02)  # rounding's own mean
    assert np.isclose(manifest["evidence"][0]["value"], manifest["evidence"][0]["baseline"], atol=1e-3)
