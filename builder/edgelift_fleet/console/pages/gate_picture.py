"""A comparison as a picture: a dot for the difference, a bar for its interval, a dotted line at what is allowed. Pure."""

from __future__ import annotations

import msgspec

from edgelift_fleet.messages import LookContrast

#: Width of the picture, and what is left free at both sides.
WIDTH, _EDGE = 300.0, 12.0


class GatePicture(msgspec.Struct, frozen=True):
    """Where what is drawn, from the left, of `WIDTH`; `low` and `high` are None where there is no interval, and those that
    reach beyond the picture are cut off.
    """

    zero: float
    allowed: float
    dot: float
    low: float | None
    high: float | None


def picture(one: LookContrast) -> GatePicture:
    """Where to draw a comparison: no change, what is allowed and the difference always fit, an interval mostly."""
    marks = [0.0, one.allowed, one.shift]
    reach = max(abs(one.allowed), abs(one.shift), 0.01)
    ends = [end for end in (one.low, one.high) if end is not None]
    lowest = max(min(marks + ends), min(marks) - 3 * reach)
    highest = min(max(marks + ends), max(marks) + 3 * reach)
    room = max(highest - lowest, 1e-9) * 0.15
    lowest, highest = lowest - room, highest + room

    def at(value: float) -> float:
        inside = min(max(value, lowest), highest)
        return round(_EDGE + (inside - lowest) / (highest - lowest) * (WIDTH - 2 * _EDGE), 2)

    return GatePicture(
        at(0.0), at(one.allowed), at(one.shift),
        None if one.low is None else at(one.low), None if one.high is None else at(one.high),
    )  # fmt: skip
