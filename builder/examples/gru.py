"""A recurrent network that reads a digit row by row.

edgelift build builder/examples/gru.py:digits --target x86-64 --target rpi4
"""

import torch
from learning import Digits, digit_source
from learning import digits as load
from torch import Tensor, nn

from edgelift_builder import Source

SIZE, WIDTH = 16, 96


class RowReader(nn.Module):
    """`x: float32[N, 16, 16]`, a row at a time → scores `float32[N, 10]`; 33 thousand parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(SIZE, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores after the last row."""
        states, _ = self.gru(x)
        return self.head(states[:, -1])


def digits() -> Source:
    """Trained on digits of 16×16, given as sequences of rows."""
    torch.manual_seed(0)
    data = load(SIZE)
    rows = Digits(data.train_images[:, 0], data.train_labels, data.images[:, 0], data.labels)
    return digit_source("gru", RowReader(), rows, epochs=30, rate=5e-3, move=False)
