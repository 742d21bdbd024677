"""A small transformer that was really trained: what a sentence says, with its negations.

    edgelift build builder/examples/sentence.py:votes --target x86-64 --target rpi4

Words each speak for one of ten kinds, `not` takes the next word's voice away, the rest mean nothing; a sentence is of
the kind that most of its words speak for. Nothing is downloaded: sentences are drawn. Weights that were learnt have
outliers that random ones lack, so that what 8 bits cost shows here and not on random weights.
"""

import numpy as np
import torch
from learning import Digits, digit_source
from torch import Tensor, nn
from transformer import Layer

from edgelift_builder import Source

KINDS, EACH, EMPTY = 10, 16, 80  # words that speak for each kind, and that mean nothing
NOT = KINDS * EACH + EMPTY
WORDS, LENGTH = NOT + 1, 32
WIDTH, HEADS, DEPTH = 192, 4, 2
TRAINING, EVALUATION = 4000, 1200


class SentenceReader(nn.Module):
    """`tokens: int64[N, 32]` → scores `float32[N, 10]`; 0.95 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList(Layer(WIDTH, HEADS, 4 * WIDTH, first_norm=True) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, KINDS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores, one for each kind."""
        x = self.words(tokens) + self.places(torch.arange(LENGTH))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(dim=1))


def votes() -> Source:
    """Trained on 4,000 drawn sentences, judged by 1,200 others."""
    torch.manual_seed(0)
    tokens, kinds = sentences(TRAINING + EVALUATION)
    data = Digits(tokens[:TRAINING], kinds[:TRAINING], tokens[TRAINING:], kinds[TRAINING:])
    return digit_source("sentence", SentenceReader(), data, epochs=5, rate=2e-3, move=False)


def sentences(count: int) -> tuple[Tensor, Tensor]:
    """`int64[count, 32]` and their kinds `int64[count]`; a kind never wins by less than two words."""
    rng = np.random.default_rng(0)
    made, kinds = [], []
    while len(made) < count:
        kind = rng.integers(KINDS)
        speaks = np.where(rng.random(LENGTH) < 0.35, kind, rng.integers(0, KINDS, LENGTH))
        tokens = speaks * EACH + rng.integers(0, EACH, LENGTH)
        empty = rng.random(LENGTH) < 0.4
        tokens[empty] = KINDS * EACH + rng.integers(0, EMPTY, empty.sum())
        tokens[rng.random(LENGTH) < 0.15] = NOT
        heard = (tokens < KINDS * EACH) & np.concatenate([[True], tokens[:-1] != NOT])
        counts = np.bincount(tokens[heard] // EACH, minlength=KINDS)
        first, second = np.sort(counts)[::-1][:2]
        if first > second + 1:
            made.append(tokens)
            kinds.append(counts.argmax())
    return torch.from_numpy(np.array(made)), torch.from_numpy(np.array(kinds))
