"""The ONNX files of `../shared/cases/builder`, built with data and without; each artifact opened by onnxruntime alone, on
inputs that the build never saw, beside the file as it was given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from benchmarks.alone import Arrays, alone, shipped

from tests.builder.conftest import BuiltFolder
from tests.builder.shared_cases import SOURCES, needs_cases

pytestmark = [pytest.mark.builder, pytest.mark.onnx, needs_cases]

Build = Callable[..., BuiltFolder]


def images(rng: np.random.Generator, count: int) -> Arrays:
    return {"x": rng.normal(size=(count, 3, 32, 32)).astype(np.float32)}


def rows(rng: np.random.Generator, count: int) -> Arrays:
    return {"x": rng.normal(size=(count, 16)).astype(np.float32)}


def pictures(rng: np.random.Generator, count: int) -> Arrays:
    return {"x": rng.normal(size=(count, 3, 64, 64)).astype(np.float32)}


def voice(rng: np.random.Generator, count: int) -> Arrays:
    sound, state = rng.normal(size=(count, 64)), rng.normal(size=(2, count, 16)) / 10
    return {"input": sound.astype(np.float32), "state": state.astype(np.float32), "rate": np.array(16000)}


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        draw: inputs of so many samples, by name.
        ships: variants that are in the release.
        accept: ship what is made, whatever it costs: how much that is differs from processor to processor.
        axes: the sample axis of inputs where it is not the first; None where there is none.
        ranged: what the manifest must say of onnxruntime's versions.
    """

    draw: Callable[[np.random.Generator, int], Arrays]
    ships: set[str] = field(default_factory=lambda: {"float32"})
    accept: bool = False
    axes: dict[str, int | None] = field(default_factory=dict)
    ranged: str = ">=1.17"


BOTH = {"float32", "int8-static"}
CASES = {
    "minus_one_axis": Case(rows, BOTH, accept=True),
    "opset24_swish": Case(rows, BOTH, accept=True, ranged=">=1.24"),
    "opset7": Case(images, BOTH, accept=True),
    "cnn": Case(images, BOTH, accept=True),
    "cnn_opset11": Case(images, BOTH, accept=True),
    "quantised_qdq": Case(images, ships={"int8-as-it-came"}),
    "quantised_qoperator": Case(images, ships={"int8-as-it-came"}),
    "rows_chosen_inside": Case(pictures),
    "map_output": Case(rows),
    "state_and_scalar": Case(voice, axes={"state": 1, "rate": None}),
}

#: What is built in every run of the tests; the others are alike.
QUICK = ("opset24_swish", "opset7", "quantised_qdq", "map_output", "state_and_scalar")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files, as make_onnx.py writes them."""
    assert SOURCES is not None
    folder = tmp_path_factory.mktemp("cases")
    # In a process of its own: it silences all of logging, for whatever test came after it in this one.
    subprocess.run([sys.executable, SOURCES.with_name("make_onnx.py"), folder], check=True, capture_output=True)
    return folder


def check(file: Path, case: Case, built: BuiltFolder, folder: Path) -> None:
    """Every artifact says what the file says: float to the bit, int8 within a tenth of the outputs' range."""
    own = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in own.get_outputs()]
    fresh = case.draw(np.random.default_rng(4711), 20)
    for manifest in shipped(built.folder):
        run = alone(built.folder, manifest, folder / manifest["artifact"])
        assert manifest["runtime_range"] == case.ranged
        for index in range(20):
            call = {n: _one(a, index, case.axes.get(n, 0)) for n, a in fresh.items()}
            expected, found = dict(zip(names, own.run(None, call), strict=True)), run(call)
            assert set(found) == set(names)
            for name in names:
                _near(found[name], _tensor(expected[name]), exact=not manifest["variant"].startswith("int8-s"))


def _one(array: Any, index: int, axis: int | None) -> Any:
    return array if axis is None else np.take(array, [index], axis)


def _tensor(answer: Any) -> Any:
    """A list of {class: probability} as the tensor that it was made of."""
    return answer if isinstance(answer, np.ndarray) else np.array([[*one.values()] for one in answer], np.float32)


def _near(found: Any, expected: Any, *, exact: bool) -> None:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if expected.size:
        span = float(np.ptp(expected)) or 1.0
        np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-5 if exact else 0.15) * span)


def _variants(built: BuiltFolder) -> set[str]:
    return {manifest["variant"] for manifest in shipped(built.folder)}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_with_data(name: str, files: Path, build_tiny: Build, onnx_recipe: Path, tmp_path: Path) -> None:
    case = CASES[name]
    drawn = case.draw(np.random.default_rng(0), 1000), case.draw(np.random.default_rng(1), 100)
    np.savez(tmp_path / "data.npz", **drawn[0], **{f"calibration:{n}": a for n, a in drawn[1].items()})
    built = build_tiny(
        str(files / f"{name}.onnx"), onnx_recipe, data=str(tmp_path / "data.npz"), accept=case.accept
    )
    assert case.ships <= _variants(built)
    check(files / f"{name}.onnx", case, built, tmp_path / "laid-out")


@pytest.mark.parametrize(
    "name", [n if n == "state_and_scalar" else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_without_data(name: str, files: Path, build_tiny: Build, onnx_recipe: Path, tmp_path: Path) -> None:
    case = CASES[name]
    built = build_tiny(str(files / f"{name}.onnx"), onnx_recipe)
    # Nothing that calibrates is made of drawn inputs; what came in 8 bits is shipped as it came.
    assert _variants(built) == case.ships - {"int8-static"}
    check(files / f"{name}.onnx", case, built, tmp_path / "laid-out")
