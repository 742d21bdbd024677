"""Anomaly detection: an autoencoder that knows how a sound pump sounds, and rebuilds nothing else well.

    edgelift build builder/examples/pump.py:sound --target x86-64 --target rpi4

It is trained on healthy spectra alone. Judged by labels, 1 where something is odd: what is budgeted is the ROC AUC of
how far its output is from its input; no threshold has to be chosen for that. The spectra are made by numpy.
"""

import numpy as np
import torch
from drawn import Array
from learning import train
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

BANDS = 64


class Autoencoder(nn.Sequential):
    """`x: float32[N, 64]`, loudness by frequency band → the same as far as eight numbers can tell, `float32[N, 64]`."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(BANDS, 128),
            nn.ReLU(),
            nn.Linear(128, 8),
            nn.Linear(8, 128),
            nn.ReLU(),
            nn.Linear(128, BANDS),
        )


def sound() -> Source:
    """3,000 spectra judge it, one in five of an odd pump."""
    torch.manual_seed(0)
    healthy, _ = listen(4000, seed=1, odd_share=0)
    heard, odd = listen(3000, seed=2, odd_share=0.2)
    x = torch.from_numpy(healthy)
    return Source(
        name="pump",
        model=train(Autoencoder(), x, x, epochs=25, rate=5e-3, loss=F.mse_loss),
        example_inputs=(x[:1],),
        evaluation_inputs=heard,
        evaluation_labels=odd,
        calibration_inputs=healthy[:300],
        task="anomaly",
        fine_tune=lambda changed: train(changed, x, x, epochs=6, rate=2e-3, loss=F.mse_loss),
    )


def listen(count: int, seed: int, odd_share: float) -> tuple[Array, Array]:
    """Spectra `float32[count, 64]` and which are odd, `int64[count]`: a whistle, or a band that fell silent."""
    rng = np.random.default_rng(seed)
    bands = np.arange(BANDS)
    load, wear = rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(-3, 3, (count, 1))
    spectra = load * np.exp(-bands / 24) + rng.normal(0, 0.03, (count, BANDS))
    for harmonic in (1, 2, 3):
        spectra += load / harmonic * np.exp(-(((bands - harmonic * (14 + wear / 3)) / 1.5) ** 2))
    odd = (rng.uniform(size=count) < odd_share).astype(np.int64)
    place, strength = rng.integers(4, BANDS - 4, (count, 1)), rng.choice([-1.0, 1.0], (count, 1))
    whistle = strength * rng.uniform(0.1, 0.5, (count, 1)) * np.exp(-(((bands - place) / 1.5) ** 2))
    return (spectra + odd[:, None] * whistle).astype(np.float32), odd
