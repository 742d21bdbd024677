"""Which items of an outbox came: runs of sequence numbers, so that a second delivery of any of them is known.

A device numbers its items upwards and sends them in that order; numbers that it never sends (it joined two windows into
one with a new number) leave gaps for ever. So what came is a few runs, and usually one. Pure; the text of it is bytes
of MessagePack: the lengths of run, gap, run, gap … from 0 upwards.

The number of runs is bounded. Past the bound the *lowest* gap is closed, as if it had come: what a device sends in
order is missing there for good.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

import msgspec

#: More runs than a device's outbox makes: each takes an item that was joined away between two that were not.
MAX_RUNS = 512


def is_whole(data: bytes) -> bool:
    """Can what `to_bytes` wrote be read?"""
    return _read(data) is not None


def _read(data: bytes) -> list[int] | None:
    try:
        lengths = msgspec.msgpack.decode(data, type=list[int]) if data else []
    except msgspec.MsgspecError:
        return None
    return lengths if len(lengths) % 2 == 0 and min(lengths, default=0) >= 0 else None


class Arrivals:
    """A set of sequence numbers, kept as runs. `add` tells whether one is new."""

    __slots__ = ("_ends", "_starts", "max_runs")

    def __init__(self, data: bytes = b"", *, max_runs: int = MAX_RUNS) -> None:
        """Read what `to_bytes` wrote; empty for no bytes, and where they can't be read: all may come once more."""
        edges = list(accumulate(_read(data) or []))
        self._starts: list[int] = edges[0::2]
        self._ends: list[int] = edges[1::2]  # not included
        self.max_runs = max_runs

    def __contains__(self, seq: int) -> bool:
        at = bisect_right(self._starts, seq) - 1
        return at >= 0 and seq < self._ends[at]

    def add(self, seq: int) -> bool:
        """Take one in; returns whether it is new."""
        starts, ends = self._starts, self._ends
        if ends and seq == ends[-1]:  # the usual one: next after the last
            ends[-1] += 1
            return True
        at = bisect_right(starts, seq)  # it belongs before run `at`
        if at and seq < ends[at - 1]:
            return False
        meets_left = at > 0 and ends[at - 1] == seq
        meets_right = at < len(starts) and starts[at] == seq + 1
        if meets_left and meets_right:
            ends[at - 1] = ends[at]
            del starts[at], ends[at]
        elif meets_left:
            ends[at - 1] += 1
        elif meets_right:
            starts[at] -= 1
        else:
            starts.insert(at, seq)
            ends.insert(at, seq + 1)
            self._bound()
        return True

    def add_all(self, seqs: Iterable[int]) -> list[bool]:
        """Take them in, in order; which of them are new."""
        return [self.add(seq) for seq in seqs]

    def _bound(self) -> None:
        while len(self._starts) > self.max_runs:
            del self._starts[1], self._ends[0]

    @property
    def total(self) -> int:
        """How many came."""
        return sum(self._ends) - sum(self._starts)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The runs: (first, one past the last)."""
        return list(zip(self._starts, self._ends, strict=True))

    def to_bytes(self) -> bytes:
        """Law: `Arrivals(a.to_bytes()).runs == a.runs`."""
        edges = [edge for run in self.runs for edge in run]
        return msgspec.msgpack.encode([b - a for a, b in zip([0, *edges], edges, strict=False)])
