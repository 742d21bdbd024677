"""α over the waves of a rollout: to those that can use it.

A wave too small to show anything at its share, or without controls (the last one), gets none; it is guarded on the
devices alone. The sizes are known before the first request is served, so choosing by them costs no false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence


def shares(alpha: float, ways: Sequence[int]) -> tuple[float, ...]:
    """How much of α each wave may spend; they add up to α at most.

    Args:
        alpha: false-alarm rate of the whole rollout.
        ways: in how many ways each wave can be drawn, see `draws.ways`; 1 where it has no controls.
    """
    able = sorted(range(len(ways)), key=lambda wave: (-ways[wave], wave))
    while able and not suffices(ways[able[-1]], alpha / len(able)):
        able.pop()
    return tuple(alpha / len(able) if wave in able else 0.0 for wave in range(len(ways)))


def suffices(ways: int, alpha: float) -> bool:
    """Can a wave be told from chance at all? Its being the worst of all draws has the odds of 1 in `ways`."""
    return alpha > 0 and ways >= 1.0 / alpha
