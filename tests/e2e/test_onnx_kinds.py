"""ONNX files of every kind, from a file to a device: built, published, preflighted, served and asked over HTTP.

One agent serves all; what it answers is held against the file that was given, opened by onnxruntime alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from tests.builder import test_half_precision, test_own_quantised, test_scikit
from tests.builder.onnx_kinds import KINDS
from tests.builder.onnx_parts import COUNT, floats
from tests.builder.onnx_written import sequences
from tests.e2e.serving import Given, asked, served
from tests.simulators.device import Device

pytest.importorskip("tritonclient.http", reason="only in the developer's environment")
pytestmark = [pytest.mark.fleet, pytest.mark.builder, pytest.mark.onnx]

#: What differs on the way to a client: types, shapes, axes.
SERVED = (
    "booleans", "bytes_in_and_out", "pixels_channels_last", "state_behind", "no_sample_axis", "number_for_all",
    "free_height_and_width", "rows_found", "input_without_elements",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    for name in SERVED:
        kind = KINDS[name]()
        onnx.save(kind.model, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.npz", **kind.inputs)
    return {name: folder / f"{name}.onnx" for name in SERVED}


@pytest.fixture(scope="module")
def device(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    given = {name: Given(path, data=path.with_suffix(".npz")) for name, path in files.items()}
    with served(given, tmp_path_factory.mktemp("site")) as device:
        yield device


@pytest.mark.parametrize("name", SERVED)
def test_a_device_answers_as_the_file_does(files: dict[str, Path], device: Device, name: str) -> None:
    kind = KINDS[name]()
    session = ort.InferenceSession(str(files[name]), providers=["CPUExecutionProvider"])
    ranks = {port.name: len(port.shape) for port in session.get_inputs()}
    for index in (0, COUNT - 1):
        call = {n: _one(array, index, kind.axes[n], ranks[n]) for n, array in kind.inputs.items()}
        names, said = [port.name for port in session.get_outputs()], session.run(None, call)
        for binary in (True, False):
            _same(asked(device, name, call, binary=binary), names, said)


#: What else ends otherwise than in float32: files in 8 and 4 bits as they came, float16, a sequence.
OTHERS: dict[str, tuple[Callable[[Path], None], Any]] = {
    "own_dynamic": (test_own_quantised.dynamic, floats(COUNT, 32)),
    "own_four_bits": (test_own_quantised.four_bits, floats(COUNT, 32)),
    "own_float16": (test_half_precision.narrow, floats(COUNT, 64).astype(np.float16)),
    "sequences": (lambda path: onnx.save(sequences(), path), floats(COUNT, 8)),
}


@pytest.mark.slow
def test_all_the_others_are_served_too(tmp_path: Path) -> None:
    files, inputs = {}, {}
    for name in KINDS.keys() - set(SERVED):
        kind = KINDS[name]()
        if kind.runs:
            files[name], inputs[name] = _written(tmp_path, name, kind.model.SerializeToString(), kind.inputs)
    for name, (write, rows) in test_scikit.KINDS.items():
        files[name], inputs[name] = _written(tmp_path, name, write(), {"x": rows})
    for name, (save, rows) in OTHERS.items():
        save(tmp_path / f"{name}.onnx")
        files[name], inputs[name] = _written(tmp_path, name, (tmp_path / f"{name}.onnx").read_bytes(), {"x": rows})
    (tmp_path / "site").mkdir()
    given = {name: Given(path, data=path.with_suffix(".npz")) for name, path in files.items()}
    with served(given, tmp_path / "site") as device:
        for name, path in files.items():
            axis = KINDS[name]().axes if name in KINDS else {}
            call = {n: np.take(array, [3], axis.get(n) or 0) for n, array in inputs[name].items()}
            found = asked(device, name, call)
            if (session := test_scikit.opened(path)) is None:
                continue
            texts = {n: a.astype(object) if a.dtype.kind == "U" else a for n, a in call.items()}
            said = session.run(None, texts)
            if name == "sequences":  # what comes in pieces is one output
                said[1] = np.concatenate(said[1], axis=1)
            _same(found, list(found), test_scikit.flat(said), 1e-2 if name in OTHERS else 0)


def _written(folder: Path, name: str, model: bytes, inputs: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    (folder / f"{name}.onnx").write_bytes(model)
    np.savez(folder / f"{name}.npz", **inputs)
    return folder / f"{name}.onnx", inputs


def _same(found: dict[str, Any], names: list[str], expected: list[Any], near: float = 0) -> None:
    """`near`: how far apart they may be, as a share of all that there is between the least and the largest."""
    for name, array in zip(names, expected, strict=True):
        assert found[name].shape == array.shape
        if array.dtype.kind in "OU":
            assert found[name].tolist() == array.tolist()
            continue
        assert found[name].dtype == array.dtype
        spread = float(array.max()) - float(array.min()) if near else 0.0
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6 + near * spread)


def _one(array: Any, index: int, axis: int | None, rank: int) -> Any:
    if axis is not None:
        return np.take(array, [index], axis)
    return array if array.ndim == rank else array[index]
