"""Small models that say something of every place: frames of a series, pixels, boxes; and one that keeps state."""

import numpy as np
import torch
from fitting import Array, fit, normal
from torch import Tensor, nn
from torch.nn import functional as F

from edgelift_builder import Source

LENGTH, BANDS = 20, 6


def frames(count: int, seed: int) -> tuple[Array, Array]:
    """Series `float32[n, 20, 6]` and the state of every frame, `int64[n, 20]`; -100 where the series has ended."""
    drawn = np.random.default_rng(seed)
    kinds = np.repeat(drawn.integers(0, 3, (count, LENGTH // 4)), 4, axis=1)
    x = normal(count, LENGTH, BANDS, seed=seed + 1)
    x[..., :3] += 1.6 * np.eye(3, dtype=np.float32)[kinds]
    ended = np.arange(LENGTH) >= drawn.integers(8, LENGTH + 1, (count, 1))
    return x, np.where(ended, -100, kinds)


class Frames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(BANDS, 24, 5, 1, 2), nn.ReLU(), nn.Conv1d(24, 3, 5, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.transpose(1, 2)).transpose(1, 2)


def tags() -> Source:
    """Scores `[n, 20, 3]`."""
    torch.manual_seed(0)

    def loss(said: Tensor, right: Tensor) -> Tensor:
        return F.cross_entropy(said.transpose(1, 2), right)

    model = fit(Frames(), *frames(3000, 1), loss)
    x, y = frames(800, 10)
    return Source("tags", model, (x[:1],), x, y, calibration_inputs=frames(200, 20)[0], task="sequence")


def blots(count: int, seed: int) -> tuple[Array, Array]:
    """Pictures `float32[n, 1, 24, 24]` and where the blot is, `uint8[n, 24, 24]`; its rim is not judged (255)."""
    drawn = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:24, 0:24]
    middle, size = drawn.uniform(6, 18, (2, count, 1, 1)), drawn.uniform(3, 6, (count, 1, 1))
    far = np.sqrt((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) - size
    image = (far < 0) * drawn.uniform(0.4, 1, (count, 1, 1)) + drawn.normal(0, 0.25, (count, 24, 24))
    labels = (far < 0).astype(np.uint8)
    labels[np.abs(far) < 0.3] = 255
    return image[:, None].astype(np.float32), labels


def mask() -> Source:
    """One score for each pixel, `[n, 1, 24, 24]`."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 12, 5, 1, 2), nn.ReLU(), nn.Conv2d(12, 12, 5, 1, 2), nn.ReLU(), nn.Conv2d(12, 1, 3, 1, 1)]
    x, y = blots(1500, 1)
    wanted = np.where(y == 255, 0, y).astype(np.float32)
    model = fit(nn.Sequential(*body), x, wanted, lambda o, t: F.binary_cross_entropy_with_logits(o[:, 0], t), 150)
    x, y = blots(300, 10)
    return Source("mask", model, (x[:1],), x, y, calibration_inputs=blots(100, 20)[0])


def scenes(count: int, seed: int) -> tuple[Array, list[dict[str, Array]]]:
    """Pictures `float32[n, 1, 32, 32]` with two bright squares of two kinds, and their boxes as x1, y1, x2, y2."""
    drawn = np.random.default_rng(seed)
    images, labels = drawn.normal(0, 0.1, (count, 1, 32, 32)).astype(np.float32), []
    for image in images:
        kinds, boxes = drawn.integers(0, 2, 2), []
        for k, kind in enumerate(kinds):
            side, place = int(drawn.integers(6, 9)), drawn.integers(0, 8, 2)
            x, y = int(place[0]) + 16 * k, int(place[1]) + 8 * int(drawn.integers(0, 2))
            image[0, y : y + side, x : x + side] += 1.0 if kind else -1.0
            boxes.append([x, y, x + side, y + side])
        labels.append({"boxes": np.array(boxes, np.float32), "labels": kinds})
    return images, labels


class Boxes(nn.Module):
    """Centre, size and two scores for each of 8 × 8 cells in one output `[n, 6, 64]`, as exported detectors have it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 32, 5, 1, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(),
        )  # fmt: skip
        self.box, self.score = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)
        nn.init.constant_(self.score.bias, -3.0)
        rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        self.register_buffer("cells", 4 * torch.stack([columns, rows])[None] + 2)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.body(x)
        box = self.box(seen)
        where = torch.cat([self.cells + 4 * box[:, :2], 7 + box[:, 2:]], 1)
        return torch.cat([where, torch.sigmoid(self.score(seen))], 1).flatten(2)


def _wanted(labels: list[dict[str, Array]]) -> Array:
    made = np.zeros((len(labels), 6, 8, 8), np.float32)
    for cells, label in zip(made, labels, strict=True):
        for box, kind in zip(label["boxes"], label["labels"], strict=True):
            middle = (box[:2] + box[2:]) / 2
            column, row = (middle // 4).astype(int)
            cells[:4, row, column], cells[4 + kind, row, column] = [*middle, *(box[2:] - box[:2])], 1
    return made.reshape(len(labels), 6, 64)


def _find(said: Tensor, right: Tensor) -> Tensor:
    there = right[:, 4:].amax(1, keepdim=True)
    where = ((said[:, :4] - right[:, :4]).abs() * there).sum() / there.sum()
    return where + 30 * F.binary_cross_entropy(said[:, 4:], right[:, 4:])


def _detector() -> nn.Module:
    torch.manual_seed(0)
    x, labels = scenes(1500, 1)
    return fit(Boxes(), x, _wanted(labels), _find, 250)


def labelled_boxes() -> Source:
    x, labels = scenes(500, 10)
    return Source("boxes", _detector(), (x[:1],), x, labels, calibration_inputs=scenes(100, 20)[0])


def unlabelled_boxes() -> Source:
    x, _ = scenes(500, 10)
    return Source("unlabelled", _detector(), (x[:1],), x, calibration_inputs=scenes(100, 20)[0])


class Listener(nn.Module):
    """State goes in and out, the sample axis second."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.GRU(BANDS, 32, batch_first=True), nn.Linear(32, 3)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.layer(x, h)
        return self.out(y[:, -1]), h


def with_state(count: int, seed: int) -> dict[str, Array]:
    return {
        "x": normal(count, 8, BANDS, seed=seed),
        "h": 0.3 * normal(count, 1, 32, seed=seed + 1).transpose(1, 0, 2),
    }


def listener() -> Source:
    torch.manual_seed(0)
    given, few = with_state(300, 10), with_state(100, 20)
    one = {"x": given["x"][:1], "h": given["h"][:, :1]}
    return Source("listener", Listener().eval(), one, given, calibration_inputs=few)
