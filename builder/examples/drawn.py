"""Pictures of drawn shapes on a noisy ground, for the examples that look at places: what is where, and of which kind.

Not a source itself. Discs, squares and triangles of any colour, one to three in a picture of 48×48, drawn by numpy
from a seed: as many as one likes, without a download, and every pixel's label is known.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

SIDE = 48
KINDS = ("disc", "square", "triangle")


class Drawn(NamedTuple):
    """n pictures.

    Attributes:
        images: float32[n, 3, 48, 48] from 0 to 1.
        boxes: of each picture float32[k, 4], corners x1, y1, x2, y2 in pixels.
        kinds: of each picture int64[k], places in `KINDS`.
        pixels: int64[n, 48, 48]: 0 the ground, else 1 + the kind of what covers it.
    """

    images: Array
    boxes: list[Array]
    kinds: list[Array]
    pixels: Array

    @property
    def present(self) -> Array:
        """Which kinds are in each picture: float32[n, 3], 0 or 1."""
        return np.stack([np.isin(range(len(KINDS)), kinds) for kinds in self.kinds]).astype(np.float32)


def draw(count: int, seed: int) -> Drawn:
    """`count` pictures; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    ground = rng.uniform(0.1, 0.5, (count, 3, 1, 1)) + rng.normal(0, 0.04, (count, 3, SIDE, SIDE))
    pixels = np.zeros((count, SIDE, SIDE), np.int64)
    boxes, kinds = [], []
    for image, labels in zip(ground, pixels, strict=True):
        placed: list[tuple[int, int, int]] = []
        for _ in range(rng.integers(1, 4)):
            size = int(rng.integers(10, 17))
            x, y = (int(n) for n in rng.integers(0, SIDE - size, 2))
            if all(abs(x - a) > max(size, s) or abs(y - b) > max(size, s) for a, b, s in placed):
                placed.append((x, y, size))
        kinds.append(rng.integers(0, len(KINDS), len(placed)))
        boxes.append(np.array([[x, y, x + size, y + size] for x, y, size in placed], np.float32))
        for (x, y, size), kind in zip(placed, kinds[-1], strict=True):
            inside = _shape(int(kind), x, y, size)
            image[:, inside] = rng.uniform(0.6, 1.0, (3, 1)) + rng.normal(0, 0.04, (3, int(inside.sum())))
            labels[inside] = 1 + kind
    return Drawn(ground.clip(0, 1).astype(np.float32), boxes, kinds, pixels)


def _shape(kind: int, x: int, y: int, size: int) -> Array:
    """Which pixels it covers: bool[48, 48]; it fills its box from (x, y) to (x + size, y + size)."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    across, down = (columns - x) / size, (rows - y) / size
    inside = (across > 0) & (across < 1) & (down > 0) & (down < 1)
    if KINDS[kind] == "disc":
        return (across - 0.5) ** 2 + (down - 0.5) ** 2 < 0.25
    if KINDS[kind] == "triangle":
        return inside & (np.abs(across - 0.5) < down / 2)
    return inside
