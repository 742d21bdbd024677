"""Small models that say numbers: targets in units of their own, counts, points, vectors, a score of oddity."""

import numpy as np
import torch
from fitting import Array, fit, network, normal
from torch import Tensor, nn
from torch.nn import functional as F

from edgelift_builder import Source

WIDTH = 12
_UNITS = np.array([1000.0, 1.0, 0.01], np.float32)


def weather(count: int, seed: int) -> tuple[Array, Array]:
    """`float32[n, 12]` → pressure, temperature, humidity: `float32[n, 3]`, in units far from each other."""
    x = normal(count, WIDTH, seed=seed)
    made = np.column_stack([x[:, :3].sum(1), np.abs(x[:, 3:6]).sum(1), x[:, 6] * x[:, 7]])
    noise = normal(count, 3, seed=seed + 1) * 0.3
    return x, (made + noise) * _UNITS + np.array([100000, 0, 0], np.float32)


class InUnits(nn.Module):
    """The last layer works in numbers around 0; units are put on after it."""

    def __init__(self, model: nn.Module, units: Array, least: float) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("units", torch.from_numpy(units))
        self.register_buffer("least", torch.tensor([least] + [0.0] * (len(units) - 1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.units + self.least


def stations() -> Source:
    x, y = weather(4000, 1)
    small = ((y - np.array([100000, 0, 0])) / _UNITS).astype(np.float32)
    model = InUnits(fit(network(WIDTH, 64, 64, 3), x, small, F.mse_loss, 600), _UNITS, 100000.0)
    x, y = weather(1500, 10)
    return Source("stations", model.eval(), (x[:1],), x, y, calibration_inputs=weather(300, 20)[0])


def visits(count: int, seed: int) -> tuple[Array, Array]:
    """How many come, a whole number."""
    x = normal(count, WIDTH, seed=seed)
    return x, np.random.default_rng(seed + 1).poisson(np.exp(1.5 + 0.5 * x[:, 0] + 0.3 * np.abs(x[:, 1])))


def counts() -> Source:
    """Whole numbers as labels: the task has to be named."""
    x, y = visits(4000, 1)
    model = fit(network(WIDTH, 64, 1), x, y.astype(np.float32), lambda o, t: F.l1_loss(o[:, 0], t), 500)
    x, y = visits(1500, 10)
    return Source("counts", model, (x[:1],), x, y, calibration_inputs=visits(300, 20)[0], task="regression")


def own_error() -> Source:
    """The source brings its metric: a pinball loss, of any range, where lower is better."""
    x, y = visits(4000, 1)

    def pinball(outputs: dict[str, Array], labels: Array) -> Array:
        off = labels - outputs["output_0"][:, 0]
        return np.maximum(0.9 * off, -0.1 * off)

    def loss(said: Tensor, right: Tensor) -> Tensor:
        off = right - said[:, 0]
        return torch.maximum(0.9 * off, -0.1 * off).mean()

    model = fit(network(WIDTH, 64, 1), x, y.astype(np.float32), loss, 500)
    x, y = visits(1500, 10)
    return Source(
        "pinball", model, (x[:1],), x, y, calibration_inputs=visits(300, 20)[0], metric=pinball, metric_name="pinball",
        metric_better="lower",
    )  # fmt: skip


def stars(count: int, seed: int) -> tuple[Array, Array]:
    """Pictures `float32[n, 1, 16, 16]` of three bright points, brightest first, and where they are, `float32[n, 3, 2]`."""
    drawn = np.random.default_rng(seed)
    corner = np.array([[2, 2], [9, 2], [5, 9]], np.float32)
    points = corner + drawn.uniform(0, 4, (count, 3, 2)).astype(np.float32)
    rows, columns = np.mgrid[0:16, 0:16]
    image = drawn.normal(0, 0.05, (count, 1, 16, 16))
    for k in range(3):
        far = (columns - points[:, k, 0, None, None]) ** 2 + (rows - points[:, k, 1, None, None]) ** 2
        image[:, 0] += np.exp(-far / 2)
    return image.astype(np.float32), points


class Finder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.ReLU(), nn.Flatten(), network(8 * 256, 64, 6))

    def forward(self, x: Tensor) -> Tensor:
        return 8 + 4 * self.body(x).reshape(-1, 3, 2)


def points() -> Source:
    torch.manual_seed(0)
    model = fit(Finder(), *stars(3000, 1), F.l1_loss, 400)
    x, y = stars(600, 10)
    return Source("points", model, (x[:1],), x, y, calibration_inputs=stars(200, 20)[0], task="keypoints")


_MEANT = np.random.default_rng(5).normal(size=(WIDTH, 24)).astype(np.float32)


def vectors(count: int, seed: int) -> tuple[Array, Array]:
    """What a teacher says of each: vectors that mostly point one way, `float32[n, 24]`."""
    x = normal(count, WIDTH, seed=seed)
    return x, (np.tanh(x @ _MEANT / 2) + 2).astype(np.float32)


def pupil() -> Source:
    model = fit(network(WIDTH, 96, 24), *vectors(4000, 1), F.mse_loss, 600)
    x, y = vectors(1000, 10)
    return Source("pupil", model, (x[:1],), x, y, calibration_inputs=vectors(300, 20)[0], task="embedding")


def odd_ones(count: int, seed: int) -> tuple[Array, Array]:
    odd = (np.random.default_rng(seed).random(count) < 0.2).astype(np.int64)
    return normal(count, WIDTH, seed=seed + 1) * (1 + 0.6 * odd[:, None]).astype(np.float32), odd


def oddity() -> Source:
    """The model's own score of how odd a sample is."""
    x, _ = odd_ones(4000, 1)
    size = (x**2).mean(1, keepdims=True)
    model = fit(network(WIDTH, 96, 1), x, size, F.mse_loss, 600)
    x, y = odd_ones(1500, 10)
    return Source("oddity", model, (x[:1],), x, y, calibration_inputs=odd_ones(300, 20)[0], task="anomaly")


def several_numbers() -> Source:
    """Three outputs of numbers and nothing that says what is right: values, each by its own range."""
    x, _ = weather(1000, 10)
    torch.manual_seed(0)

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.a, self.b = network(WIDTH, 64, 32), nn.Linear(32, 4), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            seen = self.body(x)
            return 300 * self.a(seen), torch.sigmoid(self.b(seen)), seen

    return Source("several", Three().eval(), (x[:1],), x, calibration_inputs=weather(300, 20)[0])
