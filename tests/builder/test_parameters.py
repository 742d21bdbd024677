"""A source's arrays reach the parameters of their names, however forward takes them and the source gives them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgelift_builder.source.parameters import parameters
from edgelift_contract.errors import ContractError

pytestmark = pytest.mark.builder


class Mixed(nn.Module):
    def forward(self, ids, kinds=None, mask=None, *, scale=None):
        return ids


class Anything(nn.Module):
    def forward(self, *arrays, **named):
        return arrays


@pytest.mark.parametrize(
    ("given", "bound", "call"),
    [
        (1, {"ids": 1}, ([1], {})),
        ((1, 2, 3), {"ids": 1, "kinds": 2, "mask": 3}, ([1, 2, 3], {})),
        ((1, None, 3), {"ids": 1, "mask": 3}, ([1], {"mask": 3})),
        ({"mask": 3, "ids": 1}, {"ids": 1, "mask": 3}, ([1], {"mask": 3})),
        ({"scale": 4, "mask": 3, "ids": 1}, {"ids": 1, "mask": 3, "scale": 4}, ([1], {"mask": 3, "scale": 4})),
        ((1, {"scale": 4, "kinds": 2}), {"ids": 1, "kinds": 2, "scale": 4}, ([1, 2], {"scale": 4})),
    ],
)  # fmt: skip
def test_what_goes_where(given: object, bound: dict[str, int], call: tuple[list[int], dict[str, int]]) -> None:
    takes = parameters(Mixed())
    found = takes.bind(given, "example inputs")
    assert list(found.items()) == list(bound.items())  # in forward's order, whatever the source's
    assert takes.arguments(found) == call


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mask": 1}, "nothing for ids"),
        ((1, {"ids": 2}), "'ids' twice"),
        ({"ids": 1, "masks": 2}, "'masks', which"),
        ((1, 2, 3, 4), "4 arrays; the model's forward takes 3: ids, kinds, mask"),
    ],
)
def test_what_fits_nowhere_is_named(given: object, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        parameters(Mixed()).bind(given, "example inputs")


def test_a_name_that_is_nearly_right_is_guessed() -> None:
    with pytest.raises(ContractError) as caught:
        parameters(Mixed()).bind({"ids": 1, "masks": 2}, "example inputs")
    assert caught.value.hint == "Did you mean mask?"


def test_a_forward_that_takes_anything_is_given_it_in_order() -> None:
    takes = parameters(Anything())
    assert takes.bind((1, 2), "example inputs") == {"input_0": 1, "input_1": 2}
    assert takes.arguments({"input_0": 1, "input_1": 2}) == ([1, 2], {})
    assert takes.bind({"b": 1, "a": 2}, "example inputs") == {"b": 1, "a": 2}


def test_scripts_and_programs_say_what_they_take() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, by: float = 2.0) -> torch.Tensor:
            return x * by

    takes = parameters(torch.jit.script(Scaled()))
    assert takes.arguments(takes.bind((1,), "")) == ([1], {})

    class Shifted(nn.Module):
        def forward(self, x: torch.Tensor, left_out: None = None, *, by: torch.Tensor) -> torch.Tensor:
            return x + by

    program = torch.export.export(Shifted(), (torch.ones(2),), {"by": torch.ones(2)}).module()
    takes = parameters(program)
    listed, named = takes.arguments(takes.bind({"by": torch.ones(2), "x": torch.ones(2)}, ""))
    assert program(*listed, **named).tolist() == [2.0, 2.0]
