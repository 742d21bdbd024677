"""A short, seeded training loop for the small sources here, and the arrays that they are made of."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


def network(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between, from one seed."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for given, made in pairwise(widths):
        layers += [nn.Linear(given, made), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def fit(
    model: nn.Module, x: Array, y: Array, loss: Callable[[Any, Tensor], Tensor], steps: int = 300
) -> nn.Module:
    """Trained on batches of 256 from one seed, on one thread: the same weights on every run."""
    torch.set_num_threads(1)
    drawn = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(steps):
        batch = torch.randint(0, len(x), (256,), generator=drawn)
        optimiser.zero_grad()
        loss(model(inputs[batch]), wanted[batch]).backward()
        optimiser.step()
    return model.eval()


def normal(count: int, *shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
