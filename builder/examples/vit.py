"""A small vision transformer: two layers of 256, 36 tokens.

    edgelift build builder/examples/vit.py:digits --target x86-64 --recipe quantised

A. Dosovitskiy et al., "An image is worth 16×16 words", arXiv 2010.11929; with convolutions in place of the cut into
patches, without which so few images teach it little: T. Xiao et al., arXiv 2106.14881.
"""

import torch
from learning import digit_source
from learning import digits as load
from torch import Tensor, nn
from transformer import Layer

from edgelift_builder import Source

SIZE, WIDTH, HEADS, DEPTH = 24, 256, 4, 2


class VisionTransformer(nn.Module):
    """`x: float32[N, 1, 24, 24]` → scores `float32[N, 10]`; 1.6 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(*_halve(1, 32), *_halve(32, 64), nn.Conv2d(64, WIDTH, 1))
        self.places = nn.Parameter(torch.randn(1, (SIZE // 4) ** 2, WIDTH) * 0.02)
        self.layers = nn.ModuleList(Layer(WIDTH, HEADS, 4 * WIDTH, first_norm=True) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, one for each digit."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(dim=1))


def digits() -> Source:
    """Trained on digits of 24×24."""
    torch.manual_seed(0)
    return digit_source("vit", VisionTransformer(), load(SIZE), epochs=11, rate=1e-3)


def _halve(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, 2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
