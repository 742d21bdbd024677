"""Of what people are told, and when: troubles of many boards become one alert. Pure.

A group is one alert as people see it: a code, of all boards that have it together, or of one rollout. It is told of once
(`begun`), after a while in which more boards may join; again when more have joined since (`grew`), at most every so often;
again as long as it lasts (`lasts`); and once when all are well (`ended`). What is silenced is as if it were not there: a
group of which everything is silenced ends without a word, and begins anew should the silence end first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.decide import Key, StandingTrouble
from edgelift_fleet.alerts.kinds import KINDS

Event = Literal["begun", "grew", "lasts", "ended"]


class AlertGroup(NamedTuple):
    """An alert. `about` is empty for boards; `told_at` is 0 until people were told, `told` of how many boards."""

    code: str
    about: str
    began_at: float
    told_at: float = 0.0
    told: int = 0

    @property
    def key(self) -> Key:
        """Code and what it is about."""
        return self.code, self.about


class AlertTelling(NamedTuple):
    """What is to be told: which event of which alert, and who has it, those with the oldest trouble first."""

    event: Event
    group: AlertGroup
    members: Sequence[StandingTrouble]


def group_of(one: StandingTrouble) -> Key:
    """Which alert a trouble belongs to."""
    return one.code, "" if KINDS[one.code].about == "device" else one.subject


def grouped(standings: Iterable[StandingTrouble]) -> dict[Key, list[StandingTrouble]]:
    """Those that count, by their alert."""
    found: dict[Key, list[StandingTrouble]] = {}
    for one in standings:
        if one.state != "pending" and one.code in KINDS:
            found.setdefault(group_of(one), []).append(one)
    return found


def tell(
    groups: Mapping[Key, AlertGroup],
    standings: Iterable[StandingTrouble],
    silenced: Collection[Key],
    rules: AlertSettings,
    now: float,
    *,
    gone: Iterable[StandingTrouble] = (),
) -> tuple[dict[Key, AlertGroup], list[AlertTelling]]:
    """The alerts after one more look, and what people are to be told.

    Args:
        groups: as they were.
        standings: where every trouble stands now.
        silenced: troubles of which nobody is told.
        rules: how often.
        now: seconds since 1970.
        gone: troubles that have ended by this look: an end names them.
    """
    last = grouped(gone)
    after: dict[Key, AlertGroup] = {}
    tellings: list[AlertTelling] = []
    everybody = grouped(standings)
    for key in sorted(groups.keys() | everybody.keys()):
        members = [one for one in everybody.get(key, ()) if one.key not in silenced]
        was = groups.get(key)
        if not members:
            if was is not None and was.told_at and not everybody.get(key) and _tells_end(key):
                tellings.append(AlertTelling("ended", was, last.get(key, [])))
            continue
        members.sort(key=lambda one: (one.since, one.subject))
        group = _clamped(was, now) if was is not None else AlertGroup(*key, now)
        event = _due(group, members, rules, now)
        if event is not None:
            group = group._replace(told_at=now, told=len(members))
            tellings.append(AlertTelling(event, group, members))
        after[key] = group
    return after, tellings


def _tells_end(key: Key) -> bool:
    return key[0] in KINDS and KINDS[key[0]].tells_end


def _clamped(group: AlertGroup, now: float) -> AlertGroup:
    """With times that a clock which went back has not put into the future."""
    return group._replace(began_at=min(group.began_at, now), told_at=min(group.told_at, now))


def _due(group: AlertGroup, members: Sequence[StandingTrouble], rules: AlertSettings, now: float) -> Event | None:
    if not group.told_at:
        waits = rules.gather_s if KINDS[group.code].about == "device" else 0.0
        return "begun" if now - group.began_at >= waits else None
    if now - group.told_at >= rules.grow_s and any(one.fired_at > group.told_at for one in members):
        return "grew"
    return "lasts" if now - group.told_at >= rules.repeat_s else None
