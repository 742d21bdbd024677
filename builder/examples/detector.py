"""Detection: a small single-shot detector, one look at the picture for all boxes and their classes.

    edgelift build builder/examples/detector.py:shapes --target x86-64 --target rpi4

After W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016: each of 6×6 cells says what has its middle there
and where its corners are. Drawn shapes (`drawn.py`) train it in seconds. Two outputs, boxes in pixels beside scores from
0 to 1, so that in 8 bits each has a scale of its own. What is budgeted is F1 of the detections above a confidence of 0.25.
"""

import numpy as np
import torch
from drawn import KINDS, SIDE, Array, Drawn, draw
from learning import train
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source

STRIDE = 8
CELLS = SIDE // STRIDE


def block(given: int, made: int, stride: int) -> nn.Sequential:
    """A 3×3 convolution, normalised."""
    return nn.Sequential(nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU())


class SingleShot(nn.Module):
    """`x: float32[N, 3, 48, 48]` → boxes `float32[N, 36, 4]` in pixels, scores `float32[N, 36, 3]` from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stride = STRIDE
        self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 48, 2), block(48, 48, 1))
        self.box = nn.Conv2d(48, 4, 1)
        self.score = nn.Conv2d(48, len(KINDS), 1)
        nn.init.constant_(self.score.bias, -3.0)  # most cells are empty: begin by saying so
        middles = (torch.arange(CELLS) + 0.5) * STRIDE
        down, across = torch.meshgrid(middles, middles, indexing="ij")
        self.register_buffer("middles", torch.stack([across, down, across, down]).flatten(1).T.contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Corners x1, y1, x2, y2 of each cell's box, and its score for each kind."""
        seen = self.body(x)
        boxes = self.middles + self.stride * self.box(seen).flatten(2).transpose(1, 2)
        return boxes, torch.sigmoid(self.score(seen).flatten(2).transpose(1, 2))


def shapes() -> Source:
    """600 pictures that it never saw judge it."""
    torch.manual_seed(0)
    learnt, judged = draw(1500, seed=1), draw(600, seed=2)
    images, wanted = torch.from_numpy(learnt.images), torch.from_numpy(_for_cells(learnt))
    return Source(
        name="shapes",
        model=train(SingleShot(), images, wanted, epochs=10, rate=1e-2, loss=_loss),
        example_inputs=(images[:1],),
        evaluation_inputs=judged.images,
        evaluation_labels=[{"boxes": b, "labels": k} for b, k in zip(judged.boxes, judged.kinds, strict=True)],
        calibration_inputs=learnt.images[:200],
        task="detection",
        fine_tune=lambda changed: train(changed, images, wanted, epochs=4, rate=5e-3, loss=_loss),
    )


def _for_cells(drawn: Drawn) -> Array:
    """What each cell should say: float32[n, 36, 4 + 3], the box of what has its middle there and which kind it is."""
    wanted = np.zeros((len(drawn.images), CELLS, CELLS, 4 + len(KINDS)), np.float32)
    for cells, boxes, kinds in zip(wanted, drawn.boxes, drawn.kinds, strict=True):
        for box, kind in zip(boxes, kinds, strict=True):
            across, down = ((box[:2] + box[2:]) / 2 // STRIDE).astype(int)
            cells[down, across, :4], cells[down, across, 4 + kind] = box, 1
    return wanted.reshape(len(wanted), CELLS * CELLS, -1)


def _loss(said: tuple[Tensor, Tensor], wanted: Tensor) -> Tensor:
    boxes, scores = said
    there = wanted[..., 4:].amax(-1) > 0
    where = F.l1_loss(boxes[there], wanted[..., :4][there]) / STRIDE
    return where + 20 * F.binary_cross_entropy(scores, wanted[..., 4:])
