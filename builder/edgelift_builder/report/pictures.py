"""Where everything in a picture goes: numbers in, coordinates out. `templates/pictures.svg.j2` draws them.

Coordinates are in the view box of the picture, rounded to a tenth, so that equal figures give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 20.0, 14.0, 44.0

#: Labels nearer than this are joined into one, so that none covers another.
_NEAR = 8.0

#: Width of a digit and height of a line of the labels.
_LETTER, _LINE = 7.0, 13.0


@dataclass(frozen=True)
class Dot:
    """One candidate to be drawn: its number in the table, its figures, and how it is marked.

    Attributes:
        x, y: in the axes' units; low, high: the interval of y.
        kind: `float`, `ships` or `rejected`; front: is it in the Pareto set.
    """

    number: int
    title: str
    x: float
    y: float
    low: float
    high: float
    kind: str
    front: bool


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A dot in coordinates; `label` holds the numbers of all dots that lie here, or nothing."""

    cx: float
    cy: float
    y_low: float
    y_high: float
    label: str
    label_x: float
    label_y: float
    dot: Dot


@dataclass(frozen=True)
class Scatter:
    """A picture of dots over two axes; `limit` is where the budget's line lies, None outside the picture."""

    title: str
    x_name: str
    y_name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    zero: float | None
    limit: float | None
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def scatter(title: str, x_name: str, y_name: str, dots: Sequence[Dot], limit: float) -> Scatter:
    """Lay out `dots` (at least one); y grows upwards, x starts at 0; `limit` is a value of y."""
    x_ticks = ticks(0.0, max(d.x for d in dots) * 1.05)
    y_ticks = ticks(min([limit, *(d.low for d in dots)]), max([0.0, *(d.high for d in dots)]))
    x_end, (y_start, y_end) = x_ticks[-1], (y_ticks[0], y_ticks[-1])

    def at_x(value: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * value / x_end, 1)

    def at_y(value: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (y_end - value) / (y_end - y_start), 1)

    places = [(at_x(d.x), at_y(d.y)) for d in dots]
    return Scatter(
        title=title,
        x_name=x_name,
        y_name=y_name,
        x_ticks=[Tick(at_x(v), f"{v:g}") for v in x_ticks],
        y_ticks=[Tick(at_y(v), f"{v:+g}" if v else "0") for v in y_ticks],
        marks=[
            Mark(x, y, at_y(d.low), at_y(d.high), *label, d)
            for d, (x, y), label in zip(dots, places, _labels(dots, places), strict=True)
        ],
        zero=at_y(0.0) if y_start <= 0 <= y_end else None,
        limit=at_y(limit) if y_start <= limit <= y_end else None,
    )


def _labels(dots: Sequence[Dot], places: Sequence[tuple[float, float]]) -> list[tuple[str, float, float]]:
    """Each dot's number and where it stands; none where an earlier dot, all but in the same place, carries it."""
    groups: list[tuple[int, list[int]]] = []
    for index, point in enumerate(places):
        for first, members in groups:
            if math.dist(point, places[first]) < _NEAR:
                members.append(index)
                break
        else:
            groups.append((index, [index]))
    labels = [("", 0.0, 0.0)] * len(dots)
    taken: list[tuple[float, float, float]] = []
    for first, members in groups:
        text = ", ".join(str(dots[i].number) for i in members)
        x, y, width = places[first][0] + 8, places[first][1] - 7, _LETTER * len(text)
        while any(abs(y - b) < _LINE and x < a + w and a < x + width for a, b, w in taken):
            y -= _LINE  # above the label that is there already
        taken.append((x, y, width))
        labels[first] = (text, round(x, 1), round(y, 1))
    return labels


def ticks(start: float, end: float, about: int = 5) -> list[float]:
    """Round numbers from at or below `start` to at or above `end`, some `about` of them."""
    if not end > start:
        end = start + 1.0
    raw = (end - start) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999) * power
    first, last = math.floor(start / step + 1e-9), math.ceil(end / step - 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True)
class BarShape:
    """A horizontal bar: `share` of the longest one, 0 to 1."""

    name: str
    share: float
    text: str
    marked: bool


def bars(rows: Sequence[tuple[str, float, bool]]) -> list[BarShape]:
    """Bars on a common scale from `(name, value, marked)`; values are not negative."""
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    return [BarShape(name, round(value / longest, 4), f"{value:.3g}", marked) for name, value, marked in rows]


@dataclass(frozen=True)
class HistogramShape:
    """Columns of a small histogram in a box of 200×60; `low` and `high` are where the kept range ends."""

    name: str
    columns: list[tuple[float, float, float, float]]
    low: float
    high: float
    least: str
    most: str
    kept: str


def histogram(
    name: str, counts: Sequence[int], least: float, most: float, low: float, high: float
) -> HistogramShape:
    """Lay out `counts` of values between `least` and `most`; heights by square root, else tails vanish."""
    width = 200.0 / max(len(counts), 1)
    top = math.sqrt(max([1, *counts]))
    columns = []
    for i, count in enumerate(counts):
        height = 60.0 * math.sqrt(count) / top
        if count:
            columns.append((round(i * width, 2), round(60 - height, 2), round(width, 2), round(height, 2)))
    span = (most - least) or 1.0

    def at(value: float) -> float:
        return round(min(max(200.0 * (value - least) / span, 0.0), 200.0), 1)

    return HistogramShape(
        name, columns, at(low), at(high), f"{least:.3g}", f"{most:.3g}", f"{low:.3g} … {high:.3g}"
    )
