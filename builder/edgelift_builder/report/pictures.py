"""Where everything in a picture goes: numbers in, coordinates out. `templates/pictures.svg.j2` draws them.

Coordinates are in the view box of the picture, rounded to a tenth, so that equal figures give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgelift_builder.report.labels import LETTER, LINE, Box, Label, place

WIDTH, HEIGHT = 330.0, 250.0
_TOP, _BOTTOM = 10.0, 24.0

#: What is written at the budget's line.
BUDGET = "budget"

#: Between marks and what is written at the axes: sideways in units of the picture, upwards as a share of what is shown.
_INSET, _ROOM = 12.0, 0.06

#: At most so wide is a letter of a tick.
_LETTER = 6.6


@dataclass(frozen=True)
class Dot:
    """One candidate to be drawn: its number in the table, its figures, and how it is marked.

    Attributes:
        x, y: in the axes' units; low, high: the interval of y.
        kind: its sign, see `verdict.SIGNS`; front: is it in the Pareto set.
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
    """A dot in coordinates."""

    cx: float
    cy: float
    y_low: float
    y_high: float
    dot: Dot


@dataclass(frozen=True)
class Scatter:
    """A picture of dots over two axes; `limit` is where the budget's line lies and `budget` the word at it, None outside."""

    title: str
    x_name: str
    y_name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    labels: list[Label]
    zero: float | None
    limit: float | None
    budget: Box | None
    left: float
    right: float
    width: float = WIDTH
    height: float = HEIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def scatter(title: str, x_name: str, y_name: str, dots: Sequence[Dot], limit: float) -> Scatter:
    """Lay out `dots` (at least one); y grows upwards, x starts at 0; `limit` is a value of y."""
    x_ticks = ticks(0.0, max(d.x for d in dots) * 1.05)
    lowest, highest = min([limit, *(d.low for d in dots)]), max([0.0, *(d.high for d in dots)])
    room = _ROOM * (highest - lowest)
    y_ticks = ticks(lowest - room, highest + room)
    x_names, y_names = [f"{v:g}" for v in x_ticks], [f"{v:+g}" if v else "0" for v in y_ticks]
    # As much room as what is written there needs: beside the picture, and half of the last tick beyond it.
    left = round(12 + _LETTER * max(map(len, y_names)), 1)
    right = round(WIDTH - 4 - max(0.0, _LETTER * len(x_names[-1]) / 2 - _INSET), 1)
    x_end, (y_start, y_end) = x_ticks[-1], (y_ticks[0], y_ticks[-1])

    def at_x(value: float) -> float:
        return round(left + _INSET + (right - left - 2 * _INSET) * value / x_end, 1)

    def at_y(value: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (y_end - value) / (y_end - y_start), 1)

    marks = [Mark(at_x(d.x), at_y(d.y), at_y(d.low), at_y(d.high), d) for d in dots]
    line = at_y(limit) if y_start <= limit <= y_end else None
    budget = None if line is None else _word(BUDGET, line, left, right, marks)
    intervals = [Box(m.cx - 2, m.y_high, m.cx + 2, m.y_low) for m in marks]
    return Scatter(
        title=title,
        x_name=x_name,
        y_name=y_name,
        x_ticks=[Tick(at_x(v), text) for v, text in zip(x_ticks, x_names, strict=True)],
        y_ticks=[Tick(at_y(v), text) for v, text in zip(y_ticks, y_names, strict=True)],
        marks=marks,
        labels=place(
            [d.number for d in dots],
            [(m.cx, m.cy) for m in marks],
            Box(left + 2, _TOP, WIDTH - 2, HEIGHT - _BOTTOM - 2),
            [] if budget is None else [budget],
            [*intervals, *([] if line is None else [Box(left, line - 1, right, line + 1)])],
        ),
        zero=at_y(0.0) if y_start <= 0 <= y_end else None,
        limit=line,
        budget=budget,
        left=left,
        right=right,
    )


def _word(word: str, line: float, left: float, right: float, marks: Sequence[Mark]) -> Box:
    """Where a line's word stands: at an end of it, above or below, wherever the fewest marks are."""
    wide = LETTER * len(word)
    tops = [top for top in (line - LINE - 2, line + 2) if _TOP <= top <= HEIGHT - _BOTTOM - LINE]
    spots = [Box(x, top, x + wide, top + LINE) for x in (right - wide, left + 6) for top in tops]
    dots = [Box(m.cx - 9, m.cy - 9, m.cx + 9, m.cy + 9) for m in marks]
    return min(spots, key=lambda spot: sum(spot.meets(dot) for dot in dots))


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
