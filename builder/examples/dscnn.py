"""A depthwise-separable network, of the class that MLPerf Tiny uses for keywords (four blocks of 64 channels).

    edgelift build builder/examples/dscnn.py:digits --target x86-64 --target rpi-zero2w

Y. Zhang, N. Suda, L. Lai and V. Chandra, "Hello Edge", arXiv 1711.07128: DS-CNN.
"""

import torch
from learning import digit_source
from learning import digits as load
from torch import Tensor, nn

from edgelift_builder import Source

CHANNELS = 64


def separable(channels: int) -> nn.Sequential:
    """A 3×3 convolution for each channel alone, then a 1×1 across channels."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class DepthwiseCNN(nn.Module):
    """`x: float32[N, 1, 32, 32]` → scores `float32[N, 10]`; 21 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, CHANNELS, 5, 2, padding=2, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(separable(CHANNELS) for _ in range(4)))
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, one for each digit."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


def digits() -> Source:
    """Trained on digits of 32×32."""
    torch.manual_seed(0)
    return digit_source("dscnn", DepthwiseCNN(), load(32), epochs=20, rate=5e-3)
