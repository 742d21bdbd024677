"""TFLite files of every kind, from a file to a device: built, published, preflighted, served and asked over HTTP.

One agent serves all; what it answers is held against the file that was given, opened by LiteRT alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.builder import tflite_kinds
from tests.e2e.serving import Given, asked, served
from tests.simulators.device import Device

pytestmark = [pytest.mark.fleet, pytest.mark.builder, pytest.mark.onnx]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    made = {kind: make().write(folder / f"{kind}.tflite") for kind, (make, _) in tflite_kinds.SERVED.items()}
    made["window"] = tflite_kinds.free_length().write(folder / "window.tflite")
    return made


@pytest.fixture(scope="module")
def device(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """An agent that serves them all."""
    folder = tmp_path_factory.mktemp("site")
    windows = np.random.default_rng(5).normal(size=(40, 12, 8)).astype(np.float32)
    np.savez(folder / "window.npz", x=windows)
    data = {"window": folder / "window.npz"}
    with served({name: Given(path, "tflite", data.get(name)) for name, path in files.items()}, folder) as started:
        yield started


def by_runtime_alone(path: Path, inputs: dict[str, Any]) -> list[Any]:
    """Outputs of the file as it was given, in the order of its graph, or of its one usual signature."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    if "serving_default" in interpreter.get_signature_list():
        return [*interpreter.get_signature_runner("serving_default")(**inputs).values()]
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs.values(), strict=True):
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail, array in zip(details, inputs.values(), strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


@pytest.mark.parametrize("kind", tflite_kinds.SERVED)
def test_a_device_answers_as_the_file_does(files: dict[str, Path], device: Device, kind: str) -> None:
    rng = np.random.default_rng(7)
    _, draw = tflite_kinds.SERVED[kind]
    for _ in range(3):
        inputs = draw(rng)
        found, expected = asked(device, kind, inputs), by_runtime_alone(files[kind], inputs)
        _same(sorted(found.values(), key=_order), sorted(expected, key=_order))


def test_a_free_length_may_be_any(files: dict[str, Path], device: Device) -> None:
    rng = np.random.default_rng(8)
    for length in (12, 4, 30):
        inputs = {"x": rng.normal(size=(1, length, 8)).astype(np.float32)}
        _same([*asked(device, "window", inputs).values()], by_runtime_alone(files["window"], inputs))


def _order(array: Any) -> tuple[int, str]:
    return array.size, array.dtype.name


def _same(found: list[Any], expected: list[Any]) -> None:
    for got, want in zip(found, expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
