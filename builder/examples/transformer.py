"""One layer of a transformer encoder, for the examples. Not a source itself.

Written as the exporters and fusions know it: three projections, scaled dot products, softmax.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere


class Layer(nn.Module):
    """Self-attention and a two-layer perceptron, each with its residual. `float32[N, tokens, width]` in and out.

    `first_norm` normalises before each part (ViT) instead of after it (BERT).
    """

    def __init__(self, width: int, heads: int, hidden: int, *, first_norm: bool) -> None:
        super().__init__()
        self.heads, self.width, self.first_norm = heads, width, first_norm
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens, having looked at each other."""
        if self.first_norm:
            x = x + self._attend(self.norm1(x))
            return x + self._think(self.norm2(x))
        x = self.norm1(x + self._attend(x))
        return self.norm2(x + self._think(x))

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / (self.width // self.heads) ** 0.5
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        return self.out(mixed.transpose(1, 2).reshape(x.shape[0], x.shape[1], self.width))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.width // self.heads).transpose(1, 2)

    def _think(self, x: Tensor) -> Tensor:
        return self.shrink(F.gelu(self.grow(x)))
