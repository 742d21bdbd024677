"""Regression on a sensor series: how fast a shaft turns, from a quarter of a second of vibration on three axes.

    edgelift build builder/examples/sensor.py:speed --target x86-64 --target rpi4

The series are made by numpy: a turning frequency, its first harmonics, a mount that sways, noise. A number comes out, in
turns per second, and labels are numbers: what is budgeted is the mean absolute error, by per cent of float's own.
"""

import numpy as np
import torch
from drawn import Array
from learning import train
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

LENGTH, RATE = 128, 512  # samples, and how many of them there are in a second
SLOWEST, FASTEST = 10.0, 60.0  # turns per second


def narrower(given: int, made: int) -> nn.Sequential:
    """A convolution along time that halves its length."""
    return nn.Sequential(nn.Conv1d(given, made, 7, 2, 3, bias=False), nn.BatchNorm1d(made), nn.ReLU())


class SpeedNet(nn.Module):
    """`x: float32[N, 3, 128]`, acceleration in g → turns per second `float32[N, 1]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(narrower(3, 16), narrower(16, 32), narrower(32, 32))
        self.hidden = nn.Linear(32 * 16, 64)
        self.out = nn.Linear(64, 1)
        self.middle, self.half = (SLOWEST + FASTEST) / 2, (FASTEST - SLOWEST) / 2

    def forward(self, x: Tensor) -> Tensor:
        """The speed. The last layer works in numbers around 0; its unit is put on here, not by every client."""
        return self.middle + self.half * self.out(F.relu(self.hidden(self.body(x).flatten(1))))


def speed() -> Source:
    """2,000 series that it never saw judge it."""
    torch.manual_seed(0)
    learnt, judged = record(3000, seed=1), record(2000, seed=2)
    x, y = torch.from_numpy(learnt[0]), torch.from_numpy(learnt[1])
    return Source(
        name="speed",
        model=train(SpeedNet(), x, y, epochs=10, rate=5e-3, loss=_loss),
        example_inputs=(x[:1],),
        evaluation_inputs=judged[0],
        evaluation_labels=judged[1],
        calibration_inputs=learnt[0][:300],
        task="regression",
        fine_tune=lambda changed: train(changed, x, y, epochs=3, rate=2e-3, loss=_loss),
    )


def record(count: int, seed: int) -> tuple[Array, Array]:
    """Series `float32[count, 3, 128]` and the speed of each, `float32[count, 1]`."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(SLOWEST, FASTEST, (count, 1))
    time = np.arange(LENGTH) / RATE
    series = rng.normal(0, 0.1, (count, 3, LENGTH))
    for harmonic, strength in ((1, 1.0), (2, 0.4), (3, 0.2)):
        phase = rng.uniform(0, 2 * np.pi, (count, 3, 1))
        loud = strength * rng.uniform(0.5, 1.5, (count, 3, 1))
        series += loud * np.sin(2 * np.pi * harmonic * turns[..., None] * time + phase)
    sway = rng.uniform(1, 5, (count, 1, 1))
    series += 0.3 * np.sin(2 * np.pi * sway * time + rng.uniform(0, 2 * np.pi, (count, 3, 1)))
    return series.astype(np.float32), turns.astype(np.float32)


def _loss(said: Tensor, right: Tensor) -> Tensor:
    return F.smooth_l1_loss(said, right, beta=0.5)
