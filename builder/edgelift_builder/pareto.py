"""The Pareto set: candidates that no other beats in everything. Rules only, no I/O.

Objectives, each the less the better: points lost against float, median latency, size, peak memory. What was not
measured for a target counts for none of its candidates. A latency or memory that differs by less than its noise is
the same: otherwise chance alone would keep every candidate in the set.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

#: Relative differences below which two measurements are the same: medians of 200 interleaved runs repeat within
#: about two per cent, peaks of resident memory within about five.
LATENCY_NOISE, MEMORY_NOISE = 0.02, 0.05


@dataclass(frozen=True)
class Objectives:
    """What a candidate costs; None where it was not measured.

    Attributes:
        lost_pp: accuracy lost against float, percentage points; below 0 is a gain.
        size_bytes, latency_us, memory_bytes: files, median of one inference, peak growth of the process.
    """

    lost_pp: float
    size_bytes: float
    latency_us: float | None = None
    memory_bytes: float | None = None


def pareto(candidates: Mapping[K, Objectives]) -> set[K]:
    """Keys of the candidates that no other one dominates. Law: never empty when `candidates` is not."""
    return {
        key
        for key, mine in candidates.items()
        if not any(dominates(other, mine) for name, other in candidates.items() if name != key)
    }


def dominates(one: Objectives, other: Objectives) -> bool:
    """Is `one` nowhere worse than `other`, and somewhere better. Irreflexive."""
    signs = [
        _compare(one.lost_pp, other.lost_pp, 0.0),
        _compare(one.size_bytes, other.size_bytes, 0.0),
        _compare(one.latency_us, other.latency_us, LATENCY_NOISE),
        _compare(one.memory_bytes, other.memory_bytes, MEMORY_NOISE),
    ]
    return max(signs) <= 0 and min(signs) < 0


def _compare(one: float | None, other: float | None, noise: float) -> int:
    """-1 when `one` is less by more than `noise`, 1 when more, 0 when the same or unknown."""
    if one is None or other is None:
        return 0
    if abs(one - other) <= noise * max(abs(one), abs(other)):
        return 0
    return -1 if one < other else 1
