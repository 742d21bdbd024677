"""An LSTM with a projection, in operators that ONNX has: its own `LSTM` has none for `proj_size`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from edgelift_contract.errors import ContractError


class ProjectedLstm(TorchFunctionMode):  # type: ignore[misc]  # mypy sees no types of torch
    """As a context: an LSTM with `proj_size` is computed step by step; one without stays one operator."""

    def __torch_function__(
        self, function: Any, _types: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        """The function's answer, in one operator or by steps."""
        # Of a packed sequence the second argument is a tensor; else the state (h, c), its sizes alike without projection.
        if function is torch._VF.lstm and isinstance(given[1], tuple | list):
            h, c = given[1]
            if h.shape[2] != c.shape[2]:
                return _lstm(*given)
        return function(*given, **(named or {}))


def _lstm(
    given: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], bias: bool, layers: int,
    _dropout: float, _train: bool, bidirectional: bool, batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    length = given.shape[1 if batch_first else 0]
    if isinstance(length, torch.SymInt):
        raise ContractError(
            "conversion-failed",
            "ONNX has no LSTM with a projection (proj_size), and step by step it has one length: the samples have several.",
            hint="Give samples of one length, or use an LSTM without proj_size and a Linear behind it.",
        )
    steps = list(given.unbind(1 if batch_first else 0))
    directions = 2 if bidirectional else 1
    each = (4 if bias else 2) + 1  # w_ih, w_hh, their biases, w_hr
    last_h, last_c = [], []
    for layer in range(layers):
        answers = []
        for direction in range(directions):
            place = layer * directions + direction
            ordered = steps[::-1] if direction else steps
            made, h, c = _direction(
                ordered, state[0][place], state[1][place], weights[each * place : each * (place + 1)]
            )
            answers.append(made[::-1] if direction else made)
            last_h.append(h)
            last_c.append(c)
        steps = [torch.cat(both, -1) for both in zip(*answers, strict=True)] if bidirectional else answers[0]
    return torch.stack(steps, 1 if batch_first else 0), torch.stack(last_h), torch.stack(last_c)


def _direction(
    steps: Sequence[Tensor], h: Tensor, c: Tensor, weights: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor, Tensor]:
    """One layer in one direction: h(t) = W_hr · o ⊙ tanh(c(t)), as torch.nn.LSTM documents it."""
    w_ih, w_hh, *biases, w_hr = weights
    b_ih, b_hh = biases or (None, None)
    made = []
    for x in steps:
        i, f, g, o = (functional.linear(x, w_ih, b_ih) + functional.linear(h, w_hh, b_hh)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = functional.linear(torch.sigmoid(o) * torch.tanh(c), w_hr)
        made.append(h)
    return made, h, c
