"""Torch modules that came in 8 bits are known as such, ship as they came, and answer as they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source.torch_quantised import is_quantised

pytestmark = [
    pytest.mark.builder,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


class Listener(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hear, self.say = nn.LSTM(32, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heard, _ = self.hear(x)
        return self.say(heard[:, -1])


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).eval()


def dynamic(model: nn.Module | None = None, *kinds: type[nn.Module]) -> Any:
    return torch.ao.quantization.quantize_dynamic(model or dense(), {*(kinds or (nn.Linear,))}, dtype=torch.qint8)


def statically() -> Any:
    model = torch.ao.quantization.QuantWrapper(dense())
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    torch.ao.quantization.prepare(model, inplace=True)
    model(X)
    return torch.ao.quantization.convert(model)


def decomposed() -> Any:
    """A `torch.export` program as its quantisers leave it: pairs of quantize and dequantize around float layers."""
    import torch.ao.quantization.fx._decomposed

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = dense()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = torch.ops.quantized_decomposed.quantize_per_tensor(x, 0.03, 0, -128, 127, torch.int8)
            return self.inside(
                torch.ops.quantized_decomposed.dequantize_per_tensor(small, 0.03, 0, -128, 127, torch.int8)
            )

    return torch.export.export(Rounded().eval(), (X[:1],))


X = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32))
SERIES = X.reshape(4, 16, 32)


@pytest.mark.parametrize(
    ("make", "narrow"),
    [
        (lambda: torch.jit.script(dynamic()), True),
        (lambda: torch.jit.trace(dynamic(), X[:1]), True),
        (lambda: torch.jit.freeze(torch.jit.script(dynamic())), True),
        (lambda: torch.jit.script(dynamic(Listener().eval(), nn.LSTM)), True),
        (lambda: torch.jit.script(statically()), True),
        (dynamic, True),
        (statically, True),
        (lambda: decomposed().module(), True),
        (dense, False),
        (lambda: torch.jit.script(dense()), False),
        (lambda: torch.jit.freeze(torch.jit.script(Listener().eval())), False),
        (lambda: torch.export.export(dense(), (X[:1],)).module(), False),
        (lambda: torch.ao.quantization.prepare_qat(_trainable()), False),  # rounding is only played there
    ],
)
def test_what_came_in_8_bits_is_known(make: Callable[[], Any], narrow: bool) -> None:
    assert is_quantised(make()) == narrow


def _trainable() -> nn.Module:
    model = dense().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    return model


@pytest.mark.parametrize("kind", ["dense", "recurrent"])
def test_a_script_ships_as_it_came(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = dynamic() if kind == "dense" else dynamic(Listener().eval(), nn.LSTM, nn.Linear)
    torch.jit.script(model).save(str(tmp_path / "given.pt"))
    shape = (200, 32) if kind == "dense" else (200, 8, 32)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.savez(tmp_path / "data.npz", **{"input" if kind == "dense" else "x": x})
    request = Request(
        str(tmp_path / "given.pt"), ["x86-64"], data=str(tmp_path / "data.npz"), out=tmp_path / "release"
    )
    (candidate,) = build(request, Quiet()).report.candidates
    assert (candidate.shipped, candidate.variant, candidate.format) == (True, "int8-as-it-came", "torchscript")
    made, given = (
        torch.jit.load(str(_unpacked(tmp_path / "release", tmp_path / "made"))),
        torch.jit.load(str(tmp_path / "given.pt")),
    )
    assert is_quantised(made)
    for row in np.random.default_rng(9).normal(size=(20, *shape[1:])).astype(np.float32):
        one, other = (net(torch.from_numpy(row[None])).numpy() for net in (made, given))
        np.testing.assert_allclose(one, other, atol=np.ptp(other) / 255)


SOURCE = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

def eager():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    net = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    x = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    return Source("eager", net, (x[:1],), x)
"""


def test_a_module_that_was_quantised_in_its_source_ships_as_it_came(tmp_path: Path) -> None:
    """ONNX and TFLite have no form for its layers, which is told."""
    (tmp_path / "net.py").write_text(SOURCE)
    request = Request(f"{tmp_path / 'net.py'}:eager", ["x86-64"], out=tmp_path / "release")
    candidates = build(request, Quiet()).report.candidates
    assert {(c.variant, c.format, c.shipped) for c in candidates} == {
        ("int8-as-it-came", "torchscript", True),
        ("int8-as-it-came", "onnx", False),
        ("int8-as-it-came", "tflite", False),
    }


def _unpacked(release: Path, folder: Path) -> Path:
    folder.mkdir()
    (manifest,) = (release / "manifests").iterdir()
    for file in json.loads(manifest.read_text())["files"]:
        (folder / file["path"]).write_bytes((release / "blobs" / file["sha256"]).read_bytes())
    return folder / "model.pt"


def test_an_archive_of_a_quantised_program_becomes_quantised_files(tmp_path: Path) -> None:
    """ONNX and TFLite have forms for its rounding; it is not rounded again."""
    torch.export.save(decomposed(), tmp_path / "net.pt2")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(2).normal(size=(60, 32)).astype(np.float32))
    request = Request(
        str(tmp_path / "net.pt2"), ["x86-64"], data=str(tmp_path / "data.npz"), out=tmp_path / "release"
    )
    candidates = build(request, Quiet()).report.candidates
    assert {c.variant for c in candidates} == {"int8-as-it-came"}
    assert ("onnx", True) in {(c.format, c.shipped) for c in candidates}
