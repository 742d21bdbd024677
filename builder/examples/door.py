"""Two classes, one score: did somebody go through the door, from a second of a motion sensor.

    edgelift build builder/examples/door.py:motion --target x86-64 --target rpi4

One sigmoid says how likely *yes* is, `[n, 1]`, and labels are 0 and 1. It is held against a half; what is budgeted is
accuracy, and the ROC AUC stands beside it. The series are made by numpy.
"""

import numpy as np
import torch
from drawn import Array
from learning import train
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

LENGTH = 64  # samples in a second


def network() -> nn.Sequential:
    """`x: float32[N, 64]` → how likely it is yes, `float32[N, 1]` from 0 to 1."""
    return nn.Sequential(
        nn.Linear(LENGTH, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 1), nn.Sigmoid()
    )


def motion() -> Source:
    """3,000 seconds that it never saw judge it."""
    torch.manual_seed(0)
    learnt, judged = sense(4000, seed=1), sense(3000, seed=2)
    x, y = torch.from_numpy(learnt[0]), torch.from_numpy(learnt[1])[:, None].float()
    return Source(
        name="door",
        model=train(network(), x, y, epochs=15, rate=5e-3, loss=F.binary_cross_entropy),
        example_inputs=(x[:1],),
        evaluation_inputs=judged[0],
        evaluation_labels=judged[1],
        calibration_inputs=learnt[0][:300],
        task="binary",
        fine_tune=lambda changed: train(changed, x, y, epochs=4, rate=2e-3, loss=F.binary_cross_entropy),
    )


def sense(count: int, seed: int) -> tuple[Array, Array]:
    """Series `float32[count, 64]` and whether somebody went through, `int64[count]`: a swing, not one that came back."""
    rng = np.random.default_rng(seed)
    time = np.arange(LENGTH) / LENGTH
    yes = rng.integers(0, 2, count)
    middle, width = rng.uniform(0.25, 0.6, (count, 1)), rng.uniform(0.04, 0.09, (count, 1))
    first = np.exp(-(((time - middle) / width) ** 2))
    second = np.exp(-(((time - middle - 2.5 * width) / width) ** 2))
    loud = rng.uniform(0.4, 1.2, (count, 1))
    back = np.where(yes[:, None] == 1, -1.0, 1.0) * rng.uniform(0.2, 1.0, (count, 1))
    return (loud * (first + back * second) + rng.normal(0, 0.15, (count, LENGTH))).astype(np.float32), yes
