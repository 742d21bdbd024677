"""Small models that choose: classes however labels are written, rare ones, two heads, several labels."""

import numpy as np
import torch
from fitting import Array, fit, network, normal
from torch import Tensor, nn
from torch.nn import functional as F

from edgelift_builder import Source

WIDTH = 16
_CENTRES = np.random.default_rng(9).normal(size=(5, WIDTH)).astype(np.float32) * 0.8


def classes(count: int, seed: int) -> tuple[Array, Array]:
    """Five clouds: `float32[n, 16]`, `int64[n]`."""
    kinds = np.random.default_rng(seed).integers(0, 5, count)
    return _CENTRES[kinds] + normal(count, WIDTH, seed=seed + 1), kinds


def _five() -> nn.Module:
    return fit(network(WIDTH, 64, 5), *classes(4000, 1), F.cross_entropy)


def marked() -> Source:
    """Labels with one class of each row marked."""
    x, y = classes(1500, 10)
    return Source(
        "marked", _five(), (x[:1],), x, np.eye(5, dtype=np.float32)[y], calibration_inputs=classes(300, 20)[0]
    )


class Chosen(nn.Module):
    """The class is chosen inside: int64[n]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).argmax(-1)


def inside() -> Source:
    x, y = classes(1500, 10)
    return Source("inside", Chosen(_five()).eval(), (x[:1],), x, y, calibration_inputs=classes(300, 20)[0])


def unlabelled_logits() -> Source:
    x, _ = classes(1000, 10)
    return Source("logits", _five(), (x[:1],), x, calibration_inputs=classes(300, 20)[0])


def unlabelled_shares() -> Source:
    x, _ = classes(1000, 10)
    model = nn.Sequential(_five(), nn.Softmax(-1)).eval()
    return Source("shares", model, (x[:1],), x, calibration_inputs=classes(300, 20)[0])


def own_share() -> Source:
    """The source brings its metric: how likely the right class is said to be."""
    x, y = classes(1500, 10)

    def likelihood(outputs: dict[str, Array], labels: Array) -> Array:
        shares = torch.softmax(torch.from_numpy(outputs["output_0"]), -1).numpy()
        return shares[np.arange(len(labels)), labels]

    return Source(
        "likely", _five(), (x[:1],), x, y, calibration_inputs=classes(300, 20)[0], metric=likelihood,
        metric_name="likelihood",
    )  # fmt: skip


def sides(count: int, seed: int, rare: float = 0.5) -> tuple[Array, Array]:
    """Two kinds, one of them rare: `float32[n, 16]`, `int64[n]`."""
    drawn = np.random.default_rng(seed)
    yes = (drawn.random(count) < rare).astype(np.int64)
    return normal(count, WIDTH, seed=seed + 1) + 0.7 * yes[:, None].astype(np.float32), yes


def seldom(count: int, seed: int) -> tuple[Array, Array]:
    return sides(count, seed, rare=0.06)


def rare() -> Source:
    """One sample in sixteen is of the class that matters: accuracy would not see it go."""
    x, y = seldom(4000, 10)
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 8.0]))
    model = fit(network(WIDTH, 64, 2), *seldom(6000, 1), weighted)
    return Source("rare", model, (x[:1],), x, y, calibration_inputs=seldom(500, 20)[0])


def logit() -> Source:
    """One logit, labels -1 and 1."""
    x, y = sides(1500, 10)
    model = fit(
        network(WIDTH, 64, 1), *sides(4000, 1), lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t.float())
    )
    return Source("logit", model, (x[:1],), x, 2 * y - 1, calibration_inputs=sides(300, 20)[0])


class TwoHeads(nn.Module):
    """A class and a size, and the features that they are told from."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.kind, self.size = network(WIDTH, 64, 32), nn.Linear(32, 5), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = torch.relu(self.body(x))
        return self.kind(seen), self.size(seen), seen


def kinds_and_sizes(count: int, seed: int) -> tuple[Array, dict[str, Array]]:
    x, kinds = classes(count, seed)
    return x, {"output_0": kinds, "output_1": 20 + 5 * np.abs(x[:, :4]).sum(1)}


def two_heads() -> Source:
    """Labels of two outputs, by name; the third is held to float."""
    x, wanted = kinds_and_sizes(4000, 1)
    both = np.column_stack([wanted["output_0"], wanted["output_1"]]).astype(np.float32)

    def loss(said: tuple[Tensor, Tensor, Tensor], right: Tensor) -> Tensor:
        size = F.mse_loss(20 + 10 * said[1][:, 0], right[:, 1])
        return F.cross_entropy(said[0], right[:, 0].long()) + 0.02 * size

    model = fit(TwoHeads(), x, both, loss, 500)
    with torch.no_grad():
        model.size.weight.mul_(10)
        model.size.bias.mul_(10).add_(20)
    x, labels = kinds_and_sizes(1500, 10)
    return Source("heads", model, (x[:1],), x, labels, calibration_inputs=classes(300, 20)[0])
