"""Which buckets answer for a stretch of time: days for whole days, hours for whole hours, minutes for the edges. Pure.

Minutes are kept for a shorter time than hours, and hours than days; an edge that lies before what is kept is moved
outwards to the coarser bucket's edge, so that an answer tells which time it is really about.
"""

from __future__ import annotations

from typing import NamedTuple

MINUTE, HOUR, DAY = 0, 1, 2
#: Length of a bucket, milliseconds. Days are UTC's.
LENGTH_MS = {HOUR: 3_600_000, DAY: 86_400_000}
#: A window that began longer before, or longer after it was received, seconds, comes from a clock that is wrong, and is
#: filed under when it came: a board without one believes it is 1970 until it reaches a time server.
OLDEST_S, NEWEST_S = 400 * 86400.0, 3600.0


class LevelSpan(NamedTuple):
    """Buckets of one level that began from `start` on and before `stop`, milliseconds since 1970."""

    level: int
    start: int
    stop: int


def floor(level: int, at: int) -> int:
    """Start of the bucket in which `at` lies."""
    return at - at % LENGTH_MS[level]


def ceil(level: int, at: int) -> int:
    """Start of the first bucket that begins at or after `at`."""
    return at + -at % LENGTH_MS[level]


def outwards(start: int, stop: int, finest: int) -> tuple[int, int]:
    """The stretch grown to whole buckets of `finest`."""
    return (start, stop) if finest == MINUTE else (floor(finest, start), ceil(finest, stop))


def pieces(start: int, stop: int, *, finest: int = MINUTE, coarsest: int = DAY) -> list[LevelSpan]:
    """The buckets that make up [start, stop) without overlap, in order of time.

    Args:
        start: milliseconds since 1970.
        stop: not included.
        finest: the finest level to be used; the stretch is grown to whole buckets of it.
        coarsest: the coarsest level to be used.
    """
    start, stop = outwards(start, stop, finest)
    return _split(start, stop, finest, max(coarsest, finest)) if start < stop else []


def _split(start: int, stop: int, finest: int, level: int) -> list[LevelSpan]:
    if start >= stop:
        return []
    if level <= finest:
        return [LevelSpan(level, start, stop)]
    first, last = ceil(level, start), floor(level, stop)
    if first >= last:
        return _split(start, stop, finest, level - 1)
    return [
        *_split(start, first, finest, level - 1),
        LevelSpan(level, first, last),
        *_split(last, stop, finest, level - 1),
    ]
