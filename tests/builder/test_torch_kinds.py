"""Modules, `torch.export` archives and TorchScript of the kinds that people bring: free lengths, state, other precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgelift_builder.convert import export_refusal, tflite
from edgelift_contract import ContractError
from tests.builder.taking import exported, taken

pytestmark = [
    pytest.mark.builder, pytest.mark.onnx,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:# The axis name"),
]  # fmt: skip


class Wave(nn.Module):
    """`[n, 4, any] → [n, 8, half of it]`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 8, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Listener(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.GRU(3, 4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard, state = self.layers(x, state)
        return self.out(heard[:, -1]), state


def shapes(specs: list[Any]) -> list[tuple[str, str, list[int]]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in specs]


def test_what_an_archive_leaves_free_stays_free(tmp_path: Path) -> None:
    model = Wave().eval()
    dims = ({0: torch.export.Dim("n"), 2: torch.export.Dim("length", min=3, max=1000)},)
    torch.export.save(
        torch.export.export(model, (torch.zeros(2, 4, 9),), dynamic_shapes=dims), tmp_path / "wave.pt2"
    )
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(40, 4, 20)).astype(np.float32))
    facts = taken(tmp_path / "wave.pt2", tmp_path / "sets", tmp_path / "data.npz")
    assert shapes(facts.inputs) == [("x", "FP32", [-1, 4, -1])]
    assert shapes(facts.outputs) == [("output_0", "FP32", [-1, 8, -1])]  # not 10, as all samples have it
    session = exported(facts, tmp_path / "made")
    for count, length in ((1, 20), (3, 7)):
        x = torch.randn(count, 4, length)
        (found,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-5)
    with pytest.raises(ContractError, match="x of the model may have any length"):
        tflite.export("", facts, str(tmp_path / "model.tflite"))


RAGGED = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.out = nn.Embedding(50, 8), nn.Linear(8, 3)
    def forward(self, ids, mask):
        weights = mask.unsqueeze(-1).float()
        return self.out((self.table(ids) * weights).sum(1) / weights.sum(1))

def words():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 50, n) for n in rng.integers(3, 12, 40)]
    masks = [np.ones_like(i) for i in ids]
    example = {"ids": ids[0][None], "mask": masks[0][None]}
    return Source("words", Words().eval(), example, {"ids": ids, "mask": masks})
"""


def test_samples_of_several_lengths_make_the_artifacts_axis_free(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(RAGGED)
    facts = taken(tmp_path / "words.py", tmp_path / "sets", function="words")
    assert shapes(facts.inputs) == [("ids", "INT64", [1, -1]), ("mask", "INT64", [1, -1])]
    session = exported(facts, tmp_path / "made")
    for length in (3, 11):
        ids = np.arange(length)[None]
        (found,) = session.run(None, {"ids": ids, "mask": np.ones_like(ids)})
        assert found.shape == (1, 3) and np.isfinite(found).all()


def test_a_state_in_torchscript_has_its_samples_where_they_are(tmp_path: Path) -> None:
    torch.jit.script(Listener().eval()).save(str(tmp_path / "listener.pt"))
    rng = np.random.default_rng(0)
    x, state = rng.normal(size=(40, 5, 3)).astype(np.float32), np.zeros((2, 40, 4), np.float32)
    np.savez(tmp_path / "data.npz", x=x, state=state)
    facts = taken(tmp_path / "listener.pt", tmp_path / "sets", tmp_path / "data.npz")
    assert (facts.axes["x"], facts.axes["state"], facts.axes["output_1"]) == (0, 1, 1) and facts.batch_free
    assert shapes(facts.inputs)[1] == ("state", "FP32", [2, -1, 4])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_an_archive_of_another_precision_is_asked_in_float32(kind: torch.dtype, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 3)).to(kind).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 8, dtype=kind),)), tmp_path / "net.pt2")
    facts = taken(tmp_path / "net.pt2", tmp_path / "sets")
    assert facts.inputs[0].dtype == "FP32" and any("was made float32" in said for said in facts.remarks)


def test_a_script_in_bfloat16_becomes_float32(tmp_path: Path) -> None:
    torch.jit.script(nn.Sequential(nn.Linear(8, 3)).bfloat16().eval()).save(str(tmp_path / "net.pt"))
    np.savez(tmp_path / "data.npz", input=np.zeros((40, 8), np.float32) + np.arange(40, dtype=np.float32)[:, None])
    facts = taken(tmp_path / "net.pt", tmp_path / "sets", tmp_path / "data.npz")
    assert facts.outputs[0].dtype == "FP32" and any(
        "holds bfloat16, which was made" in said for said in facts.remarks
    )


class Choosing(nn.Linear):
    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, more: torch.Tensor | None = None
    ) -> torch.Tensor:
        made = super().forward(x if mask is None else x * mask)
        return made if more is None else made + more


class Boxed(nn.Linear):
    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return super().forward(batch["x"])


class Named(nn.Module):
    @torch.jit.export
    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_what_a_device_could_not_call_is_refused_in_words(tmp_path: Path) -> None:
    program = torch.export.export(Boxed(8, 3).eval(), ({"x": torch.zeros(1, 8)},))
    torch.export.save(program, tmp_path / "boxed.pt2")
    with pytest.raises(ContractError, match="takes tensors inside of batch, a dict or a list"):
        taken(tmp_path / "boxed.pt2", tmp_path / "boxed")
    program = torch.export.export(Choosing(8, 3).eval(), (torch.zeros(1, 8), None, torch.zeros(1, 3)))
    torch.export.save(program, tmp_path / "chosen.pt2")
    with pytest.raises(ContractError, match="was exported with None or a constant for mask"):
        taken(tmp_path / "chosen.pt2", tmp_path / "chosen")
    torch.jit.script(Named().eval()).save(str(tmp_path / "named.pt"))
    with pytest.raises(ContractError, match=r"named\.pt has no forward"):
        taken(tmp_path / "named.pt", tmp_path / "named")


def test_a_script_may_be_called_pth(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(8, 3).eval()).save(str(tmp_path / "net.pth"))
    np.savez(tmp_path / "data.npz", input=np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    assert taken(tmp_path / "net.pth", tmp_path / "sets", tmp_path / "data.npz").formats == ("torchscript",)


REFUSED = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)

class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1e-4 * torch.randn(1, 3)

class Complex(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x)

class Narrow(nn.Linear):
    def forward(self, x):
        return super().forward(x).bfloat16()

def bfloat16(): return Source("n", Narrow(8, 3), (X[:1],), X)
def noise(): return Source("n", Noisy(8, 3).eval(), (X[:1],), X)
def complex_numbers(): return Source("n", Complex(), (X[:1],), X)
def float64(): return Source("n", nn.Linear(8, 3), (X[:1].astype(np.float64),), X.astype(np.float64))
def objects(): return Source("n", nn.Linear(8, 3), (X[:1],), X.astype(object))
def loader(): return Source("n", nn.Linear(8, 3), (X[:1],), torch.utils.data.TensorDataset(torch.from_numpy(X)))
def yielded(): return Source("n", nn.Linear(8, 3), (X[:1],), (x for x in X))
def program():
    return Source("n", torch.export.export(nn.Linear(8, 3), (torch.zeros(1, 8),)), (X[:1],), X)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noise", "answers the same sample otherwise each time"),
        ("bfloat16", "answers in bfloat16, which no client can be given"),
        ("complex_numbers", "answers in complex64, which no client can be given"),
        ("float64", r"input float64\[1, 8\] is of another type than the model computes in"),
        ("objects", "came as an array of Python objects"),
        ("loader", "Samples came as TensorDataset, not as arrays"),
        ("yielded", "are a generator, not arrays"),
        ("program", "is ExportedProgram, not a torch.nn.Module"),
    ],
)
def test_what_cannot_be_asked_or_judged_is_refused_in_words(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(REFUSED)
    with pytest.raises(ContractError, match=words):
        taken(tmp_path / "odd.py", tmp_path / "sets", function=name)


class Packing(nn.Module):
    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True).data


def test_why_a_converter_failed_is_told_by_what_the_model_does() -> None:
    with pytest.raises(RuntimeError, match="length") as caught:
        Packing()(torch.zeros(2, 5, 8), torch.tensor([5, 9]))
    assert "packs its sequences" in export_refusal.explain(caught.value, "ONNX").message
    lacking = ValueError(
        "Failed: /some/where.py:1: error: failed to legalize operation 'mhlo.convolution' that was"
    )
    assert "TFLite has no operator for mhlo.convolution" in export_refusal.explain(lacking, "TFLite").message
    assert "in complex numbers" in export_refusal.explain(KeyError("torch.complex64"), "TFLite").message
