"""The reference CNN on real handwritten digits: small enough to train while you wait.

    edgelift build builder/examples/simplecnn.py:digits --target x86-64 --target rpi4

The data is scikit-learn's `load_digits` (1,797 scans of 8×8, in its wheel, so no download), enlarged to 24×24.
A third of it trains the model; the other 1,200 images judge every artifact that is built, because a budget of
half a percentage point cannot be told from chance with fewer. Seeded: the same weights on every run.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

SIZE = 24  # 24 → 12 → 6 through two poolings, hence the 64·6·6 of the first linear layer
EVALUATION = 1200
EPOCHS = 16


class SimpleCNN(nn.Module):
    """Two convolutions, two linear layers. `x: float32[N, 1, 24, 24]` → scores `float32[N, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 6 * 6, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores, one for each digit."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        return self.fc2(x)


def digits(epochs: int = EPOCHS) -> Source:
    """The trained model, its example input, and the images it never saw."""
    images, labels = _load()
    train, held_out = slice(EVALUATION, None), slice(0, EVALUATION)
    model = _train(images[train], labels[train], epochs=epochs)
    return Source(
        name="digits",
        model=model,
        example_inputs=(images[:1],),
        evaluation_inputs=images[held_out].numpy(),
        evaluation_labels=labels[held_out].numpy(),
        calibration_inputs=images[train][:200].numpy(),
        fine_tune=lambda pruned: _train(images[train], labels[train], pruned, epochs=5),
    )


def digits_32() -> Source:
    """The same with an example input of the wrong size: see what the builder says."""
    source = digits(epochs=1)  # nobody will ask it anything
    source.example_inputs = (torch.zeros(1, 1, 32, 32),)
    return source


def _load() -> tuple[Tensor, Tensor]:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    small = torch.tensor(data.images[order] / 16.0, dtype=torch.float32)[:, None]
    images = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    return images.contiguous(), torch.tensor(data.target[order])


def _train(images: Tensor, labels: Tensor, model: nn.Module | None = None, epochs: int = EPOCHS) -> nn.Module:
    torch.set_num_threads(1)  # a model this small gains nothing from more, and sums in one order everywhere
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = model if model is not None else SimpleCNN()
    steps = epochs * -(-len(images) // 32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images), generator=generator).split(32):
            optimiser.zero_grad()
            F.cross_entropy(model(_shifted(images[batch], generator)), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    # Scans are never quite centred: moving them by up to two pixels stands in for more data.
    dx, dy = (int(n) for n in torch.randint(-2, 3, (2,), generator=generator))
    return torch.roll(images, (dy, dx), dims=(2, 3))
