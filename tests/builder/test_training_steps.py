"""Pruning, distillation and quantisation-aware training: what they change, and what they leave."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgelift_builder import data
from edgelift_builder.facts import CALIBRATION
from edgelift_builder.optimise import prune_channels, prune_layers, prune_weights, qat, training
from edgelift_builder.optimise.module_step import apply
from edgelift_builder.source import held
from edgelift_builder.source.given import Source
from edgelift_builder.source.samples import take
from edgelift_contract import ContractError
from tests.builder.conftest import BuiltFolder
from tests.builder.tiny import tiny

pytestmark = pytest.mark.builder


class Blocks(nn.Module):
    """Three residual blocks, the second of which does next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)) for _ in range(3)
        )
        self.wrapped = nn.Sequential(*(Residual(b) for b in self.blocks))
        self.blocks = nn.ModuleList()
        self.end = nn.Linear(16, 4)
        with torch.no_grad():
            for p in self.wrapped[1].parameters():
                p.mul_(1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.wrapped(x))


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Callable[[Source], Path]]:
    """Put a source where steps in the child find it; the folder of its data sets."""

    def hold(source: Source) -> Path:
        held.hold(source)
        samples = take(source, (), [])
        held.keep_example(samples.example, samples.axes)
        data.save(tmp_path / CALIBRATION, samples.calibration)
        return tmp_path

    yield hold
    held._current.clear()
    held._modules.clear()


def blocks() -> Source:
    x = np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32)
    model = Blocks().eval()
    return Source("b", model, (torch.zeros(1, 16),), evaluation_inputs=x, calibration_inputs=x)


@pytest.mark.parametrize(("pattern", "share"), [("global", 0.7), ("layer", 0.7), ("2:4", 0.5), ("1:4", 0.75)])
def test_a_mask_is_kept_through_training(holding: Any, pattern: str, share: float) -> None:
    source = tiny()
    before = copy.deepcopy(source.model.state_dict())
    apply(prune_weights.prune, "", "made", str(holding(source)), {"amount": 0.7, "pattern": pattern, "epochs": 2})
    made = held.module("made")
    found = prune_weights.zeros(made)
    assert found == pytest.approx(share, abs=0.08)  # a short last group stays whole
    assert "weight_mask" not in str(list(made.state_dict()))
    assert all(torch.equal(before[n], t) for n, t in source.model.state_dict().items())


def test_n_of_m_keeps_the_largest_of_each_group() -> None:
    weight = torch.tensor([[1.0, -5.0, 2.0, 0.5, 3.0, 0.0, 0.0, -4.0, 9.0]])
    wanted = [[0, 1, 1, 0, 1, 0, 0, 1, 1]]
    assert prune_weights.keep_n_of_m(weight, 2, 4).tolist() == wanted


def test_channels_are_really_removed_in_eights(holding: Any) -> None:
    source = tiny()
    source.model.conv, source.model.norm = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32)
    source.model.fc = nn.Linear(32 * 64, 4)
    source.model.eval()
    remarks = apply(prune_channels.prune, "", "made", str(holding(source)), {"amount": 0.5, "epochs": 1})
    made = held.module("made")
    assert made.conv.out_channels == made.norm.num_features == 16 and made.fc.in_features == 16 * 64
    assert made.fc.out_features == 4 and "50% of the parameters" in remarks[0]
    assert made(torch.zeros(3, 1, 8, 8)).shape == (3, 4) and source.model.conv.out_channels == 32


def test_what_cannot_be_narrowed_is_told(holding: Any) -> None:
    with pytest.raises(ContractError, match="No channel could be removed"):
        apply(
            prune_channels.prune, "", "made", str(holding(tiny())), {"amount": 0.3, "epochs": 1}
        )  # 8 channels only


def test_the_block_that_costs_least_goes(holding: Any) -> None:
    source = blocks()
    remarks = apply(prune_layers.prune, "", "made", str(holding(source)), {"count": 1, "epochs": 1})
    made = held.module("made")
    assert isinstance(made.wrapped[1], nn.Identity) and remarks[0] == "Left out: wrapped.1."
    assert not isinstance(source.model.wrapped[1], nn.Identity)
    with pytest.raises(ContractError, match="3 blocks that could be left out; 4 were to go"):
        apply(prune_layers.prune, "", "made", str(holding(source)), {"count": 4, "epochs": 1})


def test_distillation_brings_a_damaged_model_back(holding: Any) -> None:
    source = blocks()
    folder = holding(source)
    student = copy.deepcopy(source.model)
    with torch.no_grad():
        student.end.weight.add_(torch.randn_like(student.end.weight) * 0.2)
    x = torch.from_numpy(source.calibration_inputs)
    with torch.no_grad():
        damage = float(((student(x) - source.model(x)) ** 2).mean())
    taught = training.distil(student, data.load(folder / CALIBRATION), 40)
    with torch.no_grad():
        left = float(((taught(x) - source.model(x)) ** 2).mean())
    assert left < damage / 2


def test_rounding_is_simulated_while_training_and_gone_after(holding: Any) -> None:
    model = tiny().model
    x = torch.randn(8, 1, 8, 8)
    plain = model(x).detach()
    handles = qat.simulate(model)
    assert len(handles) == 2
    rounded = model(x)
    steps = (model.conv.weight / (model.conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127)).detach()
    assert float((steps - steps.round()).abs().max()) < 1e-3
    assert 0 < float((rounded - plain).detach().abs().max()) < 0.5
    rounded.sum().backward()
    assert float(model.conv.parametrizations.weight.original.grad.abs().sum()) > 0  # straight through
    qat.release(model, handles)
    assert torch.equal(model(x).detach(), plain) and not list(model.conv._forward_pre_hooks)


def test_a_fine_tuning_that_fails_is_told(holding: Any) -> None:
    source = tiny()
    source.fine_tune = lambda model: model.nothing
    with pytest.raises(ContractError, match=r"fine_tune raised .*nothing") as caught:
        apply(qat.train, "", "made", str(holding(source)), {"epochs": 1})
    assert caught.value.code == "source-raised"
    source.fine_tune = lambda model: None
    with pytest.raises(ContractError, match="returned NoneType, not the trained module"):
        apply(qat.train, "", "made", str(holding(source)), {"epochs": 1})


def test_zeros_that_make_nothing_smaller_do_not_ship(
    build_tiny: Callable[..., BuiltFolder], tmp_path: Path
) -> None:
    recipe = tmp_path / "sparse.toml"
    recipe.write_text(
        'name = "sparse"\naccuracy_drop_pp = 5.0\n'
        '[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
        '[[variant]]\nname = "sparse"\nformat = "onnx"\n'
        'steps = [{ step = "prune-weights", amount = 0.3, epochs = 2 }, "export-onnx"]\n'
        '[[variant]]\nname = "qat-int8"\nformat = "onnx"\n'
        'steps = [{ step = "quantisation-aware", epochs = 2 }, "export-onnx", "static-int8"]\n'
    )
    found = {c["variant"]: c for c in build_tiny("tiny", recipe, targets=["rpi4"]).report["candidates"]}
    assert (found["sparse"]["shipped"], found["sparse"]["code"]) == (False, "no-gain"), json.dumps(found["sparse"])
    assert found["qat-int8"]["shipped"] and found["qat-int8"]["steps"][0] == "quantisation-aware"
