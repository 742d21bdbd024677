"""A newcomer's own model: a small net on 1,000 of scikit-learn's digits; the other 797 judge it, and no recipe is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builder.conftest import BuiltFolder

pytestmark = [pytest.mark.builder, pytest.mark.slow]

#: As written by somebody who has read the README alone.
SOURCE = """
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from edgelift_builder import Source

def mine():
    data = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    x = torch.tensor(data.images[order] / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(data.target[order])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(40):
        for batch in torch.randperm(1000).split(50):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimiser.step()
    return Source("mine", model.eval(), (x[:1],), x[1000:], y[1000:].numpy(), calibration_inputs=x[:200])
"""


def test_int8_ships_of_a_newcomers_model(tmp_path: Path, build_tiny) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    built: BuiltFolder = build_tiny(f"{tmp_path / 'mine.py'}:mine", Path("default"), targets=["rpi4"])
    small = {
        artifact: manifest
        for artifact, manifest in built.manifests.items()
        if manifest.variant.startswith("int8") and manifest.format in ("onnx", "tflite")
    }
    assert small, [(one["variant"], one.get("reason")) for one in built.report["candidates"]]
    x, y = _judged()
    for artifact, manifest in small.items():
        folder = tmp_path / artifact
        built.unpack(artifact, folder)
        (model,) = [folder / file.path for file in manifest.files if file.role == "model"]
        run = _onnx(model) if manifest.format == "onnx" else _tflite(model)
        right = np.mean([run(x[i : i + 1]).argmax() == y[i] for i in range(797)])
        assert right == pytest.approx(manifest.evidence[0].value, abs=0.003), manifest.variant
        assert right > 0.95


def _judged() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data, order = load_digits(), np.random.default_rng(0).permutation(1797)[1000:]
    return (data.images[order] / 16).astype(np.float32)[:, None], data.target[order]


def _onnx(model: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(model))
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def _tflite(model: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(os.fspath(model))
    runner = interpreter.get_signature_runner()
    (name,) = runner.get_input_details()
    return lambda x: next(iter(runner(**{name: x}).values()))
