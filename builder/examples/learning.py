"""What the examples share: scikit-learn's handwritten digits, and a short, seeded training loop for any loss.

Not a source itself. The data is `load_digits` (1,797 scans of 8×8, in scikit-learn's wheel, so no download). A
third of it trains; the other 1,200 images judge every artifact that is built, because a budget of half a
percentage point cannot be told from chance with fewer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

EVALUATION = 1200
BATCH = 32


class Digits(NamedTuple):
    """Images `float32[N, 1, size, size]` between 0 and 1, and labels `int64[N]`."""

    train_images: Tensor
    train_labels: Tensor
    images: Tensor
    labels: Tensor


def digits(size: int) -> Digits:
    """The digits enlarged to `size`×`size`, always in the same order."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = torch.tensor(data.images[order] / 16.0, dtype=torch.float32)[:, None]
    if size != images.shape[-1]:
        images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False).contiguous()
    labels = torch.tensor(data.target[order])
    return Digits(images[EVALUATION:], labels[EVALUATION:], images[:EVALUATION], labels[:EVALUATION])


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """A batch of images moved by up to two pixels: scans are never quite centred, and data is short."""
    dx, dy = (int(n) for n in torch.randint(-2, 3, (2,), generator=generator))
    return torch.roll(images, (dy, dx), dims=(2, 3))


def train(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rate: float = 2e-3,
    change: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    loss: Callable[..., Tensor] = F.cross_entropy,
) -> nn.Module:
    """Train a model and return it in evaluation mode.

    On one thread and from one seed: the same weights on every run.

    Args:
        model: for a classifier, returns scores `float32[N, classes]`.
        inputs: the training data, axis 0 the sample.
        labels: what is right for each: `int64[N]` for a classifier, else what `loss` takes.
        epochs: how often each sample is seen.
        rate: highest learning rate of the cycle.
        change: applied to every batch before it is learnt, as `shifted`.
        loss: (what the model returned, labels) → what is made small.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    steps = epochs * -(-len(inputs) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(BATCH):
            optimiser.zero_grad()
            given = inputs[batch] if change is None else change(inputs[batch], generator)
            loss(model(given), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def digit_source(
    name: str, model: nn.Module, data: Digits, *, epochs: int, rate: float = 2e-3, move: bool = True
) -> Source:
    """Train `model` on `data` and make it a source that can be fine-tuned for a quarter as long."""
    torch.manual_seed(0)

    def teach(changed: nn.Module, times: int) -> nn.Module:
        change = shifted if move else None
        return train(changed, data.train_images, data.train_labels, epochs=times, rate=rate, change=change)

    return Source(
        name=name,
        model=teach(model, epochs),
        example_inputs=(data.images[:1],),
        evaluation_inputs=data.images.numpy(),
        evaluation_labels=data.labels.numpy(),
        calibration_inputs=data.train_images[:200].numpy(),
        fine_tune=lambda changed: teach(changed, max(1, epochs // 4)),
    )
