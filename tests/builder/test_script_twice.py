"""A module that can't be scripted fails for a reason that helps, and for the next target by the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgelift_builder.convert.torchscript import script
from edgelift_builder.optimise import dynamic_int8
from edgelift_builder.source import held
from edgelift_builder.source.given import Source
from edgelift_contract import ContractError

pytestmark = [
    pytest.mark.builder,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning"),
]  # torch's, of its int8
TIMES = 3  # a global: scripts can't see it


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Scaled(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * TIMES


class Tries(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            return self.layer(x)
        except RuntimeError:
            return x


class Varied(Base):
    """In a part of it: what takes any arguments itself is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.part = Anything()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.part(x))


class Anything(nn.Module):
    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return given[0]


class Holder(Base):
    def __init__(self) -> None:
        super().__init__()
        self.keep = {1, 2}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * len(self.keep)


class Untyped(Base):
    def forward(self, x: torch.Tensor, count=2) -> torch.Tensor:
        return self.layer(x) * torch.zeros([count, 1, 1])


class Commented(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)  # type: that of x


class Indexed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[x.shape[0]](x)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class ByFunction(Base):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": Doubled.apply(self.layer(x))}


def refused(model: nn.Module, path: Path) -> ContractError:
    held.keep_example({"x": np.zeros((1, 2), np.float32)}, {"x": 0})
    with pytest.raises(ContractError) as caught:
        script(model.eval(), path)
    return caught.value


@pytest.mark.parametrize(
    ("model", "place", "reason"),
    [
        (Scaled, "`return self.layer(x) * TIMES`", "a name there stands for Python's int"),
        (Tries, "`try:`", "TorchScript has no try blocks"),
        (Varied, "`def forward(self, *given", "it takes *args"),
        (Holder, "`return self.layer(x) * len(self.keep)`", "the attribute keep of Holder is a Python set"),
        (Untyped, "`return self.layer(x) * torch.zeros([count, 1, 1])`", "is taken for a Tensor"),
        (Commented, "", "a comment in it that begins with `type:`"),
        (Indexed, "`return self.layers[x.shape[0]](x)`", "a ModuleList is indexed there by a variable"),
        (ByFunction, "", "the Python function Doubled"),
    ],
)
def test_the_reason_says_where_and_why(model: type[nn.Module], place: str, reason: str, tmp_path: Path) -> None:
    error = refused(model(), tmp_path / "model.pt")
    assert reason in error.message and place in error.message and error.hint
    assert not place or " of test_script_twice.py, " in error.message
    assert ":." not in error.message and str(Path(__file__).parent) not in error.message
    assert error.message.endswith(".") and "\n" not in error.message


def test_what_is_not_known_is_told_in_torchs_words(tmp_path: Path) -> None:
    class Text(Base):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = [self.layer(x), "none"]
            return made[0]

    message = refused(Text(), tmp_path / "model.pt").message
    assert "line " in message and message.count(".") >= 2 and ":." not in message


def test_the_reason_is_the_same_every_time(tmp_path: Path) -> None:
    said = {refused(Scaled(), tmp_path / f"{number}.pt").message for number in range(3)}
    assert len(said) == 1


def quantised(model: nn.Module, layers: list[str], folder: Path) -> ContractError:
    x = np.zeros((1, 2), np.float32)
    held.keep_example({"x": x}, {"x": 0})
    held.hold(Source("net", model.eval(), (x,), x))
    with pytest.raises(ContractError) as caught:
        dynamic_int8.quantise("", layers, str(folder / "model.pt"), False)
    return caught.value


class Reader(Base):
    """Reads its layer's weights, which a quantised layer does not have as a tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.layer.weight.sum()


class Linear(nn.Module):
    """Of another kind than torch's, under the same name."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.w


def test_dynamic_int8_says_why_not(tmp_path: Path) -> None:
    convolutions = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 1, 1))
    error = quantised(convolutions, ["Linear", "Conv1d"], tmp_path)
    assert (
        "no Linear layer, which torch could quantise" in error.message
        and "its layers: Flatten, Unflatten, Conv1d" in error.message
    )
    assert "its layers: none" in quantised(nn.Sequential(Linear()), ["Linear"], tmp_path).message
    error = quantised(torch.jit.script(Scaledless()), ["Linear"], tmp_path)
    assert "is TorchScript already" in error.message and "quantize_dynamic" in error.hint
    error = quantised(Reader(), ["Linear"], tmp_path)
    assert "no longer runs: AttributeError" in error.message and "its weights" in error.hint


class Scaledless(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)
