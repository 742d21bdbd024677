"""A model of tokens: int64 in, scores and int64 out, as modules of text have them."""

from __future__ import annotations

import numpy as np
import torch

from edgelift_builder import Source


class Tokens(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 5)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = self.last(torch.relu(self.table(ids)).mean(1))
        return scores, scores.argmax(-1), ids + 1


def tokens() -> Source:
    torch.manual_seed(0)
    ids = np.random.default_rng(0).integers(0, 50, (80, 7))
    return Source("tokens", Tokens().eval(), (ids[:1],), ids, calibration_inputs=ids[:20])
