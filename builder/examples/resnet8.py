"""A small residual network, of the class that MLPerf Tiny uses for images (three stages of 16, 32, 64 channels).

edgelift build builder/examples/resnet8.py:digits --target x86-64 --target rpi5
"""

import torch
from learning import digit_source
from learning import digits as load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source


class Block(nn.Module):
    """Two 3×3 convolutions around which the input is added, through a 1×1 where shapes change."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`float32[N, before, H, W]` → `float32[N, after, H/stride, W/stride]`."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


class ResNet8(nn.Module):
    """`x: float32[N, 1, 32, 32]` → scores `float32[N, 10]`; 78 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, one for each digit."""
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


def digits() -> Source:
    """Trained on digits of 32×32."""
    torch.manual_seed(0)
    return digit_source("resnet8", ResNet8(), load(32), epochs=14)
