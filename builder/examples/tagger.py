"""Multi-label: several things may be true of one picture at once, each with a score of its own.

    edgelift build builder/examples/tagger.py:shapes --target x86-64 --target rpi4

Which kinds of drawn shapes (`drawn.py`) are in the picture: none excludes another, so that each is held against a
threshold instead of all against one another. What is budgeted is F1 over all labels together.
"""

import torch
from detector import block
from drawn import KINDS, draw
from learning import train
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere

from edgelift_builder import Source


class Tagger(nn.Module):
    """`x: float32[N, 3, 48, 48]` → a score from 0 to 1 for each kind, `float32[N, 3]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 48, 2), block(48, 48, 1))
        self.kinds = nn.Conv2d(48, len(KINDS), 1)

    def forward(self, x: Tensor) -> Tensor:
        """The highest score that any place of the picture has for each kind."""
        return torch.sigmoid(self.kinds(self.body(x)).amax((2, 3)))


def shapes() -> Source:
    """600 pictures that it never saw judge it."""
    torch.manual_seed(0)
    learnt, judged = draw(1000, seed=1), draw(600, seed=2)
    images, present = torch.from_numpy(learnt.images), torch.from_numpy(learnt.present)
    return Source(
        name="tagger",
        model=train(Tagger(), images, present, epochs=6, rate=1e-2, loss=F.binary_cross_entropy),
        example_inputs=(images[:1],),
        evaluation_inputs=judged.images,
        evaluation_labels=judged.present.astype("int64"),
        calibration_inputs=learnt.images[:200],
        task="multilabel",
        fine_tune=lambda c: train(c, images, present, epochs=3, rate=5e-3, loss=F.binary_cross_entropy),
    )
