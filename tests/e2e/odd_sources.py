"""Modules that take and answer as people's do, each as a source: rows, dicts, bytes, state, numbers, names of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from edgelift_builder import Source

COUNT = 40


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Rows of a normal distribution, always the same."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, Y = floats(COUNT, 8), floats(COUNT, 8, seed=1)


@dataclass
class Found:
    """As transformers answers."""

    logits: Any
    loss: Any = None
    states: Any = ()


class Named(nn.Linear):
    def forward(self, x: torch.Tensor) -> Any:
        made = super().forward(x)
        return {"heads": Found(made, states=(made.sigmoid(), made.argmax(-1)))}, made > 0


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 4, 3)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen = self.see(image.permute(0, 3, 1, 2).float() / 255).amax((2, 3))
        return seen, seen.argmax(-1).to(torch.int32), (seen.abs() * 50).to(torch.uint8)


class Listener(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.GRU(3, 4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heard, state = self.layers(x, state)
        return self.out(heard[:, -1]), state


class Summary(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.abs().mean(), x.argmax()


class Summing(nn.Linear):
    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return super().forward(given[0] + 2 * given[1])


class Keyed(nn.Linear):
    def forward(self, **named: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"a.b/c:0": super().forward(named["class"] + 2 * named["a-b"])}


class Choosing(nn.Linear):
    def forward(self, x: torch.Tensor, mask: Any = None, more: Any = None) -> torch.Tensor:
        made = super().forward(x if mask is None else x * mask)
        return made if more is None else made + more


class Precise(nn.Linear):
    """Takes what is wider or narrower than its weights, and answers so."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.to(torch.float32)).to(x.dtype)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x * 2
        return x - 5


class Wave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(4, 8, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def _source(model: nn.Module, example: Any, samples: Any) -> Source:
    torch.manual_seed(0)
    for part in model.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return Source("odd", model.eval(), example, samples)


def named() -> Source:
    return _source(Named(8, 3), X[:1], X)


def pixels() -> Source:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 6, 3)).astype(np.uint8)
    return _source(Pixels(), images[:1], images)


def state() -> Source:
    x, before = floats(COUNT, 5, 3), floats(2, COUNT, 4)
    return _source(Listener(), (x[:1], before[:, :1]), (x, before))


def numbers() -> Source:
    return _source(Summary(), X[0], X)


def row() -> Source:
    return _source(Summing(8, 3), (X[:1], Y[:1]), (X, Y))


def keyed() -> Source:
    return _source(Keyed(8, 3), {"class": X[:1], "a-b": Y[:1]}, {"class": X, "a-b": Y})


def chosen() -> Source:
    return _source(Choosing(8, 3), {"x": X[:1], "more": Y[:1, :3]}, {"x": X, "more": Y[:, :3]})


def double() -> Source:
    return _source(Precise(8, 3), X[:1].astype(np.float64), X.astype(np.float64) / 3)


def half() -> Source:
    return _source(Precise(8, 3), X[:1].astype(np.float16), X.astype(np.float16))


def branching() -> Source:
    return _source(Branching(), X[:1], X)


def waves() -> Source:
    lengths = np.random.default_rng(2).integers(4, 20, COUNT)
    samples = [floats(4, int(n), seed=k) for k, n in enumerate(lengths)]
    return _source(Wave(), samples[0][None], samples)
