"""Sentence embedding: sentences that mean the same lie near one another, whatever words they are made of.

    edgelift build builder/examples/sentences.py:meaning --target x86-64 --target rpi4

A small transformer over token numbers and a mask, as tokenisers give them, trained on pairs of sentences: in each batch
the partner has to be the nearest (A. van den Oord, Y. Li and O. Vinyals, "Representation Learning with Contrastive
Predictive Coding", 2018). Words are numbers here, four words for each meaning. Without labels, what is budgeted is the
cosine to the float model's own embedding: what a search over stored embeddings sees of a loss.
"""

import numpy as np
import torch
from drawn import Array
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

MEANINGS, WORDS_EACH = 60, 4
VOCABULARY, LENGTH, WIDTH = 1 + MEANINGS * WORDS_EACH, 16, 64
PADDING = 0


class SentenceEncoder(nn.Module):
    """Tokens `int64[N, 16]` and their mask `int64[N, 16]`, 1 for a word → unit vectors `float32[N, 64]`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True)
            for _ in range(2)
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean over words, of length 1."""
        states = self.words(input_ids)
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=attention_mask == 0)
        mask = attention_mask.to(states.dtype).unsqueeze(-1)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def meaning() -> Source:
    """600 sentences that it never read judge it."""
    torch.manual_seed(0)
    judged = _tokens(write(600, seed=2)[0])
    return Source(
        name="sentences",
        model=_train(SentenceEncoder(), steps=100),
        example_inputs={name: array[:1] for name, array in judged.items()},
        evaluation_inputs=judged,
        calibration_inputs=_tokens(write(200, seed=3)[0]),
        task="embedding",
        fine_tune=lambda changed: _train(changed, steps=40),
    )


def write(count: int, seed: int) -> tuple[Array, Array]:
    """Pairs of sentences of one meaning, `int64[count, 16]` each: the meanings are said in other words and order."""
    rng = np.random.default_rng(seed)
    pairs = np.full((2, count, LENGTH), PADDING)
    for k in range(count):
        said = rng.choice(MEANINGS, int(rng.integers(4, LENGTH + 1)), replace=False)
        for sentence in pairs[:, k]:
            words = 1 + said * WORDS_EACH + rng.integers(0, WORDS_EACH, len(said))
            sentence[: len(said)] = rng.permutation(words)
    return pairs[0], pairs[1]


def _tokens(sentences: Array) -> dict[str, Array]:
    return {"input_ids": sentences, "attention_mask": (sentences != PADDING).astype(np.int64)}


def _train(model: nn.Module, steps: int, batch: int = 64) -> nn.Module:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    ones, others = (torch.from_numpy(pairs) for pairs in write(steps * batch, seed=1))
    model.train()
    for one, other in zip(ones.split(batch), others.split(batch), strict=True):
        near = _embed(model, one) @ _embed(model, other).T
        optimiser.zero_grad()
        F.cross_entropy(near / 0.05, torch.arange(len(near))).backward()
        optimiser.step()
    return model.eval()


def _embed(model: nn.Module, sentences: Tensor) -> Tensor:
    return model(sentences, (sentences != PADDING).long())
