"""Buckets read from the tables, side by side, and summed by any grouping; in Python each costs only the reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgelift_contract.telemetry import LatencyPhase
from edgelift_fleet.messages import Quantiles
from edgelift_fleet.telemetry.joining import join_by, quantiles_by
from edgelift_fleet.telemetry.packing import STORED, Part, pack_parts, read_bodies

_Ints = npt.NDArray[np.int64]
#: Floats count to the unit up to here.
_EXACT = 2.0**53


class Sum(NamedTuple):
    """What a group's buckets hold together; `first` and `last` are milliseconds since 1970."""

    windows: int
    ok: int
    errors: int
    first: int
    last: int
    phases: dict[str, Quantiles]


class Row(NamedTuple):
    """A bucket as `Buckets` takes it and gives it."""

    key: Any
    start: int
    windows: int
    ok: int
    errors: int
    first: int
    last: int
    body: bytes


class Buckets:
    """Rows of (key, start, windows, ok, errors, first, last, body), column by column.

    Attributes:
        keys: of each row, as the database gave it.
        start: int[rows], milliseconds since 1970.
    """

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        found = list(rows)
        columns: list[Sequence[Any]] = list(zip(*found, strict=True)) if found else [()] * 8
        self.keys: Sequence[Any] = columns[0]
        self.start = _ints(columns[1])
        self._counts = columns[2:5]
        self._first, self._last = _ints(columns[5]), _ints(columns[6])
        self._bodies = read_bodies(columns[7])

    def sums(self, groups: _Ints, number: int, phases: Sequence[LatencyPhase]) -> list[Sum]:
        """Of each group, 0 to `number`, what its rows hold; every group has a row."""
        windows, ok, errors = (_add(groups, values, number) for values in self._counts)
        first, last = np.full(number, np.iinfo(np.int64).max), np.zeros(number, np.int64)
        np.minimum.at(first, groups, self._first)
        np.maximum.at(last, groups, self._last)
        measured: list[dict[str, Quantiles]] = [{} for _ in range(number)]
        for phase in phases:
            rows, parts = self._parts(phase)
            mine = groups[rows]
            for group, found in zip(np.unique(mine).tolist(), _of_those(quantiles_by, mine, parts), strict=True):
                measured[group][phase] = found
        return [
            Sum(*one) for one in zip(windows, ok, errors, first.tolist(), last.tolist(), measured, strict=True)
        ]

    def rows(self, groups: _Ints, keys: Sequence[tuple[Any, int]]) -> list[Row]:
        """Of each group one row that holds what its rows hold; `keys` are their (key, start)."""
        number = len(keys)
        parts: list[dict[LatencyPhase, Part]] = [{} for _ in range(number)]
        for phase in STORED:
            rows, read = self._parts(phase)
            if read:
                mine = groups[rows]
                for group, part in zip(np.unique(mine).tolist(), _of_those(join_by, mine, read), strict=True):
                    parts[group][phase] = part
        return [
            Row(*key, *one[:5], pack_parts(mine))
            for key, one, mine in zip(keys, self.sums(groups, number, ()), parts, strict=True)
        ]

    def joined(self, groups: _Ints, number: int, phase: LatencyPhase) -> list[Part]:
        """Of each group its histograms of a phase as one."""
        rows, parts = self._parts(phase)
        return join_by(groups[rows], parts, number)

    def counted(self, groups: _Ints, number: int) -> list[tuple[int, int]]:
        """Of each group the requests that were answered, and those that failed."""
        _, ok, errors = (_add(groups, values, number) for values in self._counts)
        return list(zip(ok, errors, strict=True))

    def _parts(self, phase: LatencyPhase) -> tuple[_Ints, list[Part]]:
        place = STORED.index(phase)
        read = [one[place] if place < len(one) else None for one in self._bodies]
        return _ints([row for row, part in enumerate(read) if part is not None]), [
            p for p in read if p is not None
        ]


def sum_rows(rows: Iterable[Sequence[Any]]) -> list[Row]:
    """One row for each (key, start) of `rows`, in the order in which they come first: exactly their sum."""
    found = list(rows)
    keys, groups = numbered([(row[0], row[1]) for row in found])
    return Buckets(found).rows(groups, keys)


def sum_as_read(rows: Iterable[Sequence[Any]], at_once: int = 20_000) -> list[Sequence[Any]]:
    """The same of any number of rows, of which so many are in memory; a few are given as they are."""
    source, done = iter(rows), list[Sequence[Any]]()
    while some := list(islice(source, at_once)):
        if not done and len(some) < at_once:
            return some
        done = [*sum_rows([*done, *some])]
    return done


def _of_those(rule: Any, groups: _Ints, parts: Sequence[Part]) -> Any:
    """`rule` for the groups alone that are there, in their order."""
    there, places = np.unique(groups, return_inverse=True)
    return rule(places, parts, len(there))


def numbered(keys: Sequence[Any]) -> tuple[list[Any], _Ints]:
    """The keys that there are, in the order in which they come first, and of each row the number of its key."""
    numbers: dict[Any, int] = {}
    groups = _ints([numbers.setdefault(key, len(numbers)) for key in keys])
    return list(numbers), groups


def _ints(values: Sequence[int]) -> _Ints:
    return np.array(values, np.int64)


def _add(groups: _Ints, values: Sequence[int], number: int) -> list[int]:
    if float(sum(values)) < _EXACT:
        found: list[int] = np.bincount(groups, np.array(values, np.float64), number).astype(np.int64).tolist()
        return found
    exact = [0] * number  # whatever devices claim: these have no bound
    for group, value in zip(groups.tolist(), values, strict=True):
        exact[group] += value
    return exact
