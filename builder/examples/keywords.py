"""Keyword spotting: which of six words, or none, is in half a second of sound.

    edgelift build builder/examples/keywords.py:tones --target x86-64 --target rpi-zero2w

The words are synthesised: two tones, each rising, falling or level, in any pitch and at any moment, under noise. The model
takes a log spectrogram as voice front ends make it; `spectrogram` is that front end, and a client has to make the same.
The network is of the class that MLPerf Tiny uses for keywords (`dscnn.py`).
"""

import numpy as np
import torch
from drawn import Array
from dscnn import separable
from learning import train
from torch import Tensor, nn

from edgelift_builder import Meaning, Source

RATE, LENGTH = 4000, 2000  # samples per second, and in half a second
FRAME, STEP = 128, 64  # samples
WORDS = ("none", "up-up", "up-down", "up-level", "down-up", "down-down", "level-up")
_SLOPES = {"up": 1.0, "down": -1.0, "level": 0.0}
CHANNELS = 24


class KeywordNet(nn.Module):
    """`x: float32[N, 1, 30, 64]`, frame by frequency → scores `float32[N, 7]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, CHANNELS, 5, 2, 2, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU())
        self.blocks = nn.Sequential(*(separable(CHANNELS) for _ in range(2)))
        self.pool = nn.AvgPool2d((1, 8))
        self.head = nn.Linear(CHANNELS * 15 * 4, len(WORDS))

    def forward(self, x: Tensor) -> Tensor:
        """Scores, one for each of `WORDS`."""
        return self.head(self.pool(self.blocks(self.stem(x))).flatten(1))


def tones() -> Source:
    """1,000 sounds that it never heard judge it."""
    torch.manual_seed(0)
    learnt, judged = synthesise(1500, seed=1), synthesise(1000, seed=2)
    x, y = torch.from_numpy(spectrogram(learnt[0])), torch.from_numpy(learnt[1])
    return Source(
        name="keywords",
        model=train(KeywordNet(), x, y, epochs=6, rate=1e-2),
        example_inputs=(x[:1],),
        evaluation_inputs=spectrogram(judged[0]),
        evaluation_labels=judged[1],
        calibration_inputs=x[:200].numpy(),
        fine_tune=lambda changed: train(changed, x, y, epochs=3, rate=5e-3),
        outputs=Meaning(labels=WORDS),
        metadata={"rate_hz": RATE, "length": LENGTH, "frame": FRAME, "step": STEP},
    )


def spectrogram(sounds: Array) -> Array:
    """`float32[n, 2000]` → log magnitudes `float32[n, 1, 30, 64]`, centred."""
    starts = np.arange(0, LENGTH - FRAME + 1, STEP)
    frames = sounds[:, starts[:, None] + np.arange(FRAME)] * np.hanning(FRAME)
    loud = np.abs(np.fft.rfft(frames, axis=-1))[..., : FRAME // 2]
    return (np.log(loud + 1e-2)[:, None] / 2).astype(np.float32)


def synthesise(count: int, seed: int) -> tuple[Array, Array]:
    """Sounds `float32[count, 2000]` and the word in each, `int64[count]`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(WORDS), count)
    sounds = rng.normal(0, 1, (count, LENGTH)) * rng.uniform(0.05, 0.3, (count, 1))
    for sound, label in zip(sounds, labels, strict=True):
        start = int(rng.integers(0, 600))
        for slope in WORDS[label].split("-") if label else ():
            length = int(rng.integers(500, 650))
            time = np.arange(length) / RATE
            pitch = rng.uniform(600, 1200) + _SLOPES[slope] * 400 * (time / time[-1] - 0.5)
            tone = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.hanning(length)
            sound[start : start + length] += rng.uniform(0.5, 1.0) * tone
            start += length
    return sounds.astype(np.float32), labels
