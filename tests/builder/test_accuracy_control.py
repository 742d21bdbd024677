"""Sensitive layers are found, put back to float, and named; where that cannot help, nothing is put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgelift_builder.optimise import accuracy_control
from edgelift_builder.optimise.static_int8 import StaticInt8
from edgelift_builder.piece import LayerLoss, Piece
from edgelift_builder.pipeline import StepOutput
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import FileRole
from tests.builder.conftest import BuiltFolder, stands

pytestmark = pytest.mark.builder

Build = Callable[..., BuiltFolder]


def int8(built: BuiltFolder) -> dict[str, Any]:
    return next(c for c in built.report["candidates"] if c["variant"] == "int8-static")


def recipe(path: Path, revert: int) -> Path:
    path.write_text(
        'name = "control"\naccuracy_drop_pp = 1.5\n'
        '[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
        '[[variant]]\nname = "int8-static"\nformat = "onnx"\n'
        f'steps = ["export-onnx", {{ step = "static-int8", granularity = "tensor", revert = {revert} }}]\n'
    )
    return path


@pytest.mark.parametrize(
    ("source", "by"),
    [("lossy_deep", "by the samples that judge it"), ("lossy_deep_apart", "by calibration samples")],
)
def test_the_layer_that_int8_breaks_goes_back_and_the_budget_holds(
    build_tiny: Build, tmp_path: Path, source: str, by: str
) -> None:
    before = int8(build_tiny(source, recipe(tmp_path / "r.toml", 0)))
    assert (before["verdict"], before["shipped"]) == ("fails", False)
    assert before["worst"]["error"] > 0 and before["worst"]["samples"]
    after = int8(build_tiny(source, recipe(tmp_path / "r.toml", 3), out=tmp_path / "other" / "r"))
    assert stands(after), after["reason"]
    back = [loss["layer"] for loss in after["sensitivity"] if loss["reverted"]]
    assert back and len(back) < len(after["sensitivity"])
    noises = [loss["noise"] for loss in after["sensitivity"]]
    assert noises == sorted(noises, reverse=True) and noises[0] > 10 * noises[-1]
    assert any(back[0] in remark and by in remark for remark in after["remarks"])


def test_with_too_few_samples_nothing_is_put_back(build_tiny: Build, tmp_path: Path) -> None:
    found = int8(build_tiny("few_samples", recipe(tmp_path / "r.toml", 3)))
    assert found["verdict"] == "cannot-tell" and not any(x["reverted"] for x in found["sensitivity"])


def test_noise_is_a_share_of_the_power() -> None:
    import numpy as np

    wanted = {"y": np.array([[3.0, 4.0]])}
    assert accuracy_control.noise(wanted, wanted) == 0.0
    assert accuracy_control.noise({"y": np.array([[3.0, 3.0]])}, wanted) == pytest.approx(1 / 25)


def test_what_keeps_its_budget_only_as_large_as_float_is_not_made(build_tiny: Build, tmp_path: Path) -> None:
    found = int8(build_tiny("lossy_shallow", recipe(tmp_path / "r.toml", 8)))
    assert (found["shipped"], found["code"]) == (False, "no-gain"), found["reason"]
    assert "(Gemm) would have to stay float" in found["reason"]
    # It loses all 100 points, where always saying one class would lose 50: no budget is the way on.
    assert "Take fp16 or weight-only, which lose less" in found["reason"] and "--budget" not in found["reason"]


def test_with_what_budget_nothing_had_to_go_back_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    files: tuple[tuple[str, FileRole], ...] = (("model.onnx", "model"),)
    wider = "give it more room with --budget 'box overlap=3'"
    made = Piece(
        "onnx", "k", tmp_path, files, sensitivity=(LayerLoss("a (Conv)", 1.0, reverted=True),), wider=wider
    )
    with pytest.raises(ContractError) as caught:
        StaticInt8().ensures(Piece("onnx", "k", tmp_path, files), StepOutput(made, changed=True))
    assert caught.value.hint.startswith(
        "Give it more room with --budget 'box overlap=3', take fp16 or weight-only"
    )
