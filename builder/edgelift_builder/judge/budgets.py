"""What a variant may lose of each metric: what somebody asked for, else what is usual.

Never so much that looking at no input would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn

from edgelift_builder.judge.case import Metric
from edgelift_builder.judge.measure import Measure, Unit
from edgelift_contract.errors import ContractError

#: Share of what float is better than a constant answer that a variant may lose at most: where float gets 99.2 % and always
#: saying one class 99.0 %, half a point is no small loss. Of a budget that somebody asked for, all of it.
ROOM, ASKED_ROOM = 0.1, 1.0

#: (metric, how much better float is than an answer that looks at no input, in its unit) → what a variant may lose.
Budgets = Callable[[Metric, float], float]


@dataclass(frozen=True)
class Named:
    """A metric as people ask for it.

    Attributes:
        called: by its measure and, where several outputs have that one, by its outputs: `relative error of boxes`.
        measure: `relative error`, which asks for all that have it.
        key: measure and outputs: the same in every judging of one source.
        unit: of its budget.
    """

    called: str
    measure: str
    key: str
    unit: Unit


@dataclass(frozen=True)
class Allowed:
    """What a variant may lose.

    Attributes:
        points: the recipe's, of a share that has no usual budget of its own.
        asked: by the keys of metrics; and by measures, for one without labels may look at all outputs.
        main: what was asked of the first metric, where that is a share.
    """

    points: float = 0.5
    asked: Mapping[str, float] = field(default_factory=dict)
    main: float | None = None

    def judging(self, metric: Metric, room: float = inf) -> float:
        """For what judges."""
        asked = self.asked.get(key(metric))
        return (
            min(_usual(metric.measure, self.points), ROOM * room)
            if asked is None
            else min(asked, ASKED_ROOM * room)
        )

    def choosing(self, metric: Metric, room: float = inf) -> float:
        """For what chooses, by agreement with float: what was asked of the first metric may be of another one, but points
        are points.
        """
        points = self.points if self.main is None else self.main
        return min(self.asked.get(key(metric), _usual(metric.measure, points)), ROOM * room)


def _usual(measure: Measure, points: float) -> float:
    return points if measure.unit == "points" and measure.usual is None else measure.budget


def key(metric: Metric) -> str:
    """See `Named`."""
    outputs = ", ".join(metric.looks_at)
    return f"{metric.measure.name} of {outputs}" if outputs else metric.measure.name


def named(metrics: Sequence[Metric]) -> list[Named]:
    """All of them, in their order."""
    counts = Counter(metric.measure.name for metric in metrics)
    return [
        Named(own if counts[own] == 1 else key(metric), own, key(metric), metric.measure.unit)
        for metric in metrics
        for own in [metric.measure.name]
    ]


def resolve(
    metrics: Sequence[Named], points: float, main: float | None = None, asked: Mapping[str, float] | None = None
) -> Allowed:
    """What may be lost of `metrics`, the first of which is the main one.

    Args:
        metrics: see `named`.
        points: the recipe's.
        main: what was asked for without a name.
        asked: name of a metric → most that may be lost of it; a name that several have is of all of them.

    Raises:
        ContractError: `unknown-metric` for a name that none has; `malformed` where one is given two budgets.
    """
    first = metrics[0]
    wanted = ([] if main is None else [(first.measure, main)]) + list((asked or {}).items())
    exact: dict[str, float] = {}
    shared: dict[str, float] = {}
    for name, budget in wanted:
        found = [m for m in metrics if m.called.casefold() == name.casefold()]
        into = exact if found else shared
        found = found or [m for m in metrics if m.measure.casefold() == name.casefold()]
        if not found:
            _refuse(name, metrics)
        for metric in found:
            if into.setdefault(metric.key, budget) != budget:
                raise ContractError(
                    "malformed",
                    f"The budget of {metric.called} is asked to be {into[metric.key]:g} and {budget:g}.",
                )
    settled = shared | exact
    alike = {m.measure: settled[m.key] for m in reversed(metrics) if m.key in settled}
    return Allowed(points, alike | settled, settled.get(first.key) if first.unit == "points" else None)


def _refuse(name: str, metrics: Sequence[Named]) -> NoReturn:
    listed = ", ".join(f"{m.called} ({'points' if m.unit == 'points' else '%'})" for m in metrics)
    raise ContractError(
        "unknown-metric",
        f"There is no metric {name!r} to have a budget.",
        hint=f"This source is judged by {listed}. A budget without a name is of the first.",
    )
