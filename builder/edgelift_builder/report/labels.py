"""Where the labels of a picture stand: so that none covers another, a mark, or leaves the picture. Numbers only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: At most so wide is a letter of a label and so high a line of it, in units of the picture.
LETTER, LINE = 6.8, 13.0

#: Marks nearer than this share one label.
NEAR = 9.0

#: Half the width of a mark with its ring.
_MARK = 9.5

#: Between two labels side by side.
_GAP = 7.0

#: Farther from its mark than this, a label is joined to it by a line.
_FAR = 20.0

_DIRECTIONS = (-45, 45, -135, 135, 0, 180, -90, 90, -22, 22, -158, 158, -68, 68, -112, 112)


@dataclass(frozen=True)
class Box:
    """A rectangle, in units of the picture; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Have both some area in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Does it lie wholly in `other`."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Label:
    """What is written at `box`, of the mark at `(x, y)`.

    Attributes:
        text: numbers, runs of them as `1–3`; marks: indexes of those that it names.
        leader: from the mark to the box, `(x1, y1, x2, y2)`; None where it stands beside it.
    """

    text: str
    marks: tuple[int, ...]
    box: Box
    leader: tuple[float, float, float, float] | None


def place(
    numbers: Sequence[int],
    points: Sequence[tuple[float, float]],
    inside: Box,
    taken: Sequence[Box] = (),
    lines: Sequence[Box] = (),
) -> list[Label]:
    """A label for each point, or for several that all but coincide; boxes meet neither each other, nor marks, nor `taken`.

    Args:
        numbers: what each is called.
        points: where its mark is.
        inside: none leaves this.
        taken: where something else is written.
        lines: what is written over only where there is no other room.
    """
    marks = [Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in points]
    placed: list[Label] = []
    for members in _near(points):
        text = runs([numbers[i] for i in members])
        anchor = points[members[0]]
        full = [_wider(box) for box in (*taken, *(one.box for one in placed))]
        strokes = [dot for one in placed if one.leader for dot in _stroke(one.leader)]
        box = _free(anchor, LETTER * len(text), inside, full, [*marks, *strokes], lines)
        placed.append(Label(text, tuple(members), box, _leader(anchor, box)))
    return placed


def _wider(box: Box) -> Box:
    """With a gap beside it, else two labels are read as one."""
    return Box(box.left - _GAP, box.top, box.right + _GAP, box.bottom)


def runs(numbers: Sequence[int]) -> str:
    """Numbers as they are read: `1–3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(", ".join(map(str, p)) if len(p) < 3 else f"{p[0]}–{p[-1]}" for p in parts)


def _near(points: Sequence[tuple[float, float]]) -> list[list[int]]:
    found: list[list[int]] = []
    for index, point in enumerate(points):
        home = next((g for g in found if math.dist(points[g[0]], point) < NEAR), None)
        if home is None:
            found.append([index])
        else:
            home.append(index)
    return found


def _free(
    anchor: tuple[float, float],
    width: float,
    inside: Box,
    full: Sequence[Box],
    marks: Sequence[Box],
    lines: Sequence[Box],
) -> Box:
    """The first that is free: beside its mark, if need be over a line; else farther off where its leader meets neither label
    nor mark; and only where there is no such over a mark, or over a label.
    """

    def first(among: Sequence[Box], *others: Sequence[Box]) -> Box | None:
        return next((spot for spot in among if not any(spot.meets(o) for of in others for o in of)), None)

    around = [box for box in _around(anchor, width) if box.within(inside)]
    beside = [spot for spot in around if _leader(anchor, spot) is None]
    near = first(beside, full, marks, lines) or first(beside, full, marks)
    if near:
        return near
    spots = around + sorted(_everywhere(inside, width), key=lambda box: math.dist(anchor, _middle(box)))
    x, y = anchor
    foreign = [m for m in marks if not (m.left < x < m.right and m.top < y < m.bottom)]
    blocks = [*full, *(Box(m.left + 4, m.top + 4, m.right - 4, m.bottom - 4) for m in foreign)]
    free = [spot for spot in spots if not any(spot.meets(other) for other in (*full, *marks))]
    clear = next((spot for spot in free if not _crosses(_leader(anchor, spot), blocks)), None)
    return clear or next(iter(free), None) or first(spots, full) or spots[0]


def _crosses(leader: tuple[float, float, float, float] | None, full: Sequence[Box]) -> bool:
    return leader is not None and any(dot.meets(box) for dot in _stroke(leader) for box in full)


def _stroke(leader: tuple[float, float, float, float]) -> list[Box]:
    """A line as small boxes along it."""
    x1, y1, x2, y2 = leader
    steps = max(2, round(math.dist((x1, y1), (x2, y2)) / 3))
    along = [(x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps) for i in range(steps + 1)]
    return [Box(x - 1, y - 1, x + 1, y + 1) for x, y in along]


def _around(anchor: tuple[float, float], width: float) -> Iterator[Box]:
    x, y = anchor
    for radius in (13, 21, 30, 42, 56):
        for degrees in _DIRECTIONS:
            dx, dy = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            left = x + radius * dx - (width if dx < -0.3 else 0.0 if dx > 0.3 else width / 2)
            top = y + radius * dy - LINE / 2
            yield Box(round(left, 1), round(top, 1), round(left + width, 1), round(top + LINE, 1))


def _everywhere(inside: Box, width: float) -> Iterator[Box]:
    top = inside.top
    while top + LINE <= inside.bottom:
        left = inside.left
        while left + width <= inside.right:
            yield Box(round(left, 1), round(top, 1), round(left + width, 1), round(top + LINE, 1))
            left += 2 * LETTER
        top += LINE / 2


def _middle(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def _leader(anchor: tuple[float, float], box: Box) -> tuple[float, float, float, float] | None:
    x, y = anchor
    nearest = min(max(x, box.left), box.right), min(max(y, box.top + 2), box.bottom - 2)
    if math.dist(anchor, nearest) < _FAR:
        return None
    return round(x, 1), round(y, 1), round(nearest[0], 1), round(nearest[1], 1)
