"""A recurrent network of the kind that onnxruntime has integer kernels for: two layers that read a digit row by row.

edgelift build builder/examples/lstm.py:digits --target x86-64 --target rpi4
"""

import torch
from learning import Digits, digit_source
from learning import digits as load
from torch import Tensor, nn

from edgelift_builder import Source

SIZE, WIDTH = 16, 128


class RowReader(nn.Module):
    """`x: float32[N, 16, 16]`, a row at a time → scores `float32[N, 10]`; 0.2 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores after the last row."""
        states, _ = self.lstm(x)
        return self.head(states[:, -1])


def digits() -> Source:
    """Trained on digits of 16×16, given as sequences of rows."""
    torch.manual_seed(0)
    data = load(SIZE)
    rows = Digits(data.train_images[:, 0], data.train_labels, data.images[:, 0], data.labels)
    return digit_source("lstm", RowReader(), rows, epochs=25, rate=5e-3, move=False)
