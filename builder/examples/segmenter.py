"""Segmentation: which kind of thing each pixel belongs to, by a small encoder and decoder with one bridge.

    edgelift build builder/examples/segmenter.py:shapes --target x86-64 --target rpi4

After O. Ronneberger, P. Fischer and T. Brox, "U-Net", MICCAI 2015. Drawn shapes (`drawn.py`) train it in seconds; every
pixel's label is known. What is budgeted is the mean over classes of intersection over union.
"""

import torch
from detector import block
from drawn import KINDS, draw
from learning import train
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source


class SmallUNet(nn.Module):
    """`x: float32[N, 3, 48, 48]` → class scores for every pixel `float32[N, 4, 48, 48]`, the ground first."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = block(3, 16, 2)
        self.coarse = nn.Sequential(block(16, 32, 2), block(32, 32, 1))
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.joined = block(32, 16, 1)
        self.out = nn.ConvTranspose2d(16, 1 + len(KINDS), 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Scores; the largest along axis 1 is the pixel's class."""
        fine = self.fine(x)
        up = F.relu(self.up(self.coarse(fine)))
        return self.out(self.joined(torch.cat([fine, up], 1)))


def shapes() -> Source:
    """400 pictures that it never saw judge it."""
    torch.manual_seed(0)
    learnt, judged = draw(1000, seed=1), draw(400, seed=2)
    images, pixels = torch.from_numpy(learnt.images), torch.from_numpy(learnt.pixels)
    return Source(
        name="segmenter",
        model=train(SmallUNet(), images, pixels, epochs=8, rate=1e-2),
        example_inputs=(images[:1],),
        evaluation_inputs=judged.images,
        evaluation_labels=judged.pixels,
        calibration_inputs=learnt.images[:100],
        task="segmentation",
        fine_tune=lambda changed: train(changed, images, pixels, epochs=2, rate=5e-3),
    )
