"""The Pareto picture of artifacts for a board: cost to the right, accuracy upwards. Numbers in, places out; pure.

Marks bear letters rather than names: those fit beside each other however near two artifacts lie, and stand in the table too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

#: The field within the picture, which is 380 wide and 240 high.
LEFT, RIGHT, TOP, BOTTOM = 56.0, 364.0, 16.0, 196.0
#: Half of a mark, and of a letter.
_MARK, _LETTER_W, _LETTER_H = 5.0, 6.0, 7.0
#: From here on the axis to the right counts factors instead of differences.
_WIDE = 12.0


class ParetoDot(NamedTuple):
    """An artifact: `letter`, cost `x`, accuracy `y` and the width of its 95 % interval; `first`: it ships first."""

    letter: str
    x: float
    y: float
    width: float
    first: bool


class ParetoMark(msgspec.Struct, frozen=True):
    """A mark where it is drawn, with its letter; `far`: a line leads from one to the other."""

    letter: str
    kind: str
    x: float
    y: float
    letter_x: float
    letter_y: float
    far: bool


class ParetoTick(msgspec.Struct, frozen=True):
    """A line of an axis, and what it says."""

    at: float
    text: str


class ParetoPicture(msgspec.Struct, frozen=True):
    """All that is drawn. Marks that are hidden by none come last."""

    marks: list[ParetoMark]
    across: list[ParetoTick]
    up: list[ParetoTick]


def kinds(dots: Sequence[ParetoDot]) -> list[str]:
    """What each artifact is among the others: `first` (ships first), `first-dominated`, `edge`, `dominated` (another one is
    no worse in either and better in one).
    """
    return [_kind(dot, dots) for dot in dots]


def _kind(dot: ParetoDot, dots: Sequence[ParetoDot]) -> str:
    beaten = any(is_better(one, dot) for one in dots)
    if dot.first:
        return "first-dominated" if beaten else "first"
    return "dominated" if beaten else "edge"


def is_better(one: ParetoDot, other: ParetoDot) -> bool:
    """Is it no worse in either, and better in one?"""
    return one.x <= other.x and one.y >= other.y and (one.x, one.y) != (other.x, other.y)


def draw(
    dots: Sequence[ParetoDot], x_word: Callable[[float], str], y_word: Callable[[float], str]
) -> ParetoPicture:
    """Where everything lies.

    Args:
        dots: at least one.
        x_word: a number of the axis to the right in words.
        y_word: of the axis upwards.
    """
    across, xs = _x_axis([dot.x for dot in dots])
    up, ys = _y_axis([dot.y for dot in dots], max(dot.width for dot in dots))
    found = kinds(dots)
    places = [(across(dot.x), up(dot.y)) for dot in dots]
    letters = _letters(places)
    marks = [
        ParetoMark(
            dot.letter, kind, round(x, 1), round(y, 1), round(to_x, 1), round(to_y, 1), _far(x, y, to_x, to_y)
        )
        for dot, kind, (x, y), (to_x, to_y) in zip(dots, found, places, letters, strict=True)
    ]
    marks.sort(key=lambda mark: ("dominated", "edge", "first-dominated", "first").index(mark.kind))
    return ParetoPicture(
        marks,
        [ParetoTick(round(across(x), 1), x_word(x)) for x in xs],
        [ParetoTick(round(up(y), 1), y_word(y)) for y in ys],
    )


def _far(x: float, y: float, to_x: float, to_y: float) -> bool:
    return math.hypot(to_x - x, to_y - y) > 16


def _x_axis(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    """From 0 in equal steps, or by factors where the largest is many times the least."""
    low, high = min(values), max(values)
    if low > 0 and high / low > _WIDE:
        begin, end = math.log10(low) - 0.1, math.log10(high) + 0.1
        found = [
            step * 10.0**power for power in range(math.floor(begin), math.ceil(end) + 1) for step in (1, 2, 5)
            if begin <= math.log10(step * 10.0**power) <= end
        ]  # fmt: skip
        return lambda x: LEFT + (RIGHT - LEFT) * (math.log10(x) - begin) / (end - begin), found[
            :: -(-len(found) // 6)
        ]
    end = (high or 1.0) * 1.12
    return lambda x: LEFT + (RIGHT - LEFT) * x / end, steps(0.0, end, 4)


def _y_axis(values: Sequence[float], width: float) -> tuple[Callable[[float], float], list[float]]:
    """Never narrower than what the figures are certain to: a difference within chance shall look like one."""
    low, high = min(values), max(values)
    middle = (low + high) / 2
    half = max((high - low) * 0.62, width / 2, abs(middle) * 1e-4, 1e-9)
    begin, end = middle - half, middle + half
    return lambda y: BOTTOM - (BOTTOM - TOP) * (y - begin) / (end - begin), steps(begin, end, 4)


def steps(begin: float, end: float, about: int) -> list[float]:
    """Round numbers within a range, about so many."""
    raw = (end - begin) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= raw * 0.999)
    first = math.ceil(begin / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(end / step + 1e-9) + 1)]


def _letters(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each mark's letter stands: the nearest place at which it covers no mark and no other letter."""
    taken: list[tuple[float, float]] = []
    for x, y in places:
        free = (at for at in _around(x, y) if _fits(at, places, taken))
        taken.append(next(free, (x, y)))
    return taken


def _around(x: float, y: float) -> Iterator[tuple[float, float]]:
    for radius, turn in itertools.product((13.0, 22.0, 32.0, 44.0, 58.0, 76.0), range(0, 360, 30)):
        angle = math.radians(-60 + turn)
        yield x + radius * math.cos(angle), y + radius * math.sin(angle)


def _fits(
    at: tuple[float, float], marks: Sequence[tuple[float, float]], letters: Sequence[tuple[float, float]]
) -> bool:
    x, y = at
    if not (LEFT + _LETTER_W <= x <= RIGHT and TOP - 8 <= y <= BOTTOM - _LETTER_H):
        return False
    clear = all(abs(x - a) >= _MARK + _LETTER_W or abs(y - b) >= _MARK + _LETTER_H for a, b in marks)
    return clear and all(abs(x - a) >= 2 * _LETTER_W or abs(y - b) >= 2 * _LETTER_H for a, b in letters)
