"""An alert in words: what, where, since when, what to do. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from edgelift_contract.text import clean
from edgelift_fleet.alerts.decide import StandingTrouble
from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.alerts.tell import AlertGroup, AlertTelling
from edgelift_fleet.messages.alerts import AlertMessage

#: Boards that a message names, and of which it says more.
SHOWN = 10


def message_of(telling: AlertTelling, *, id: str, site: str, link: str, now: float) -> AlertMessage:  # noqa: A002 - its name in the message
    """What a receiver is told.

    Args:
        telling: what happened.
        id: of the message.
        site: name of the site.
        link: where people look, without a slash at its end; empty for nowhere.
        now: seconds since 1970.
    """
    group, members = telling.group, telling.members
    ended = telling.event == "ended"
    count = group.told if ended else len(members)
    return AlertMessage(
        id=id, event=telling.event, code=group.code, severity=KINDS[group.code].severity, site=site,
        what=over(group, members) if ended else what(group, members), where=where(group, members),
        since=group.began_at if ended else members[0].since, todo="" if ended else todo(group), count=count,
        subjects=[one.subject for one in members[:SHOWN]], details=details(members), at=now,
        link=link_to(group, members, link),
    )  # fmt: skip


def what(group: AlertGroup, members: Sequence[StandingTrouble]) -> str:
    """One sentence: `pi-7 is offline.`, `5,000 boards are offline.`"""
    kind = KINDS[group.code]
    if len(members) > 1:
        return f"{len(members):,} boards {kind.many}."
    one = members[0]
    said = f"{_noun(group)}{one.subject} {kind.one}"
    return f"{said}: {_sentence(one.text)}" if one.text else f"{said}."


def over(group: AlertGroup, members: Sequence[StandingTrouble]) -> str:
    """That it has ended, with those that had it last: `pi-7 is heard again.`, `No board is offline any more.`"""
    kind = KINDS[group.code]
    if kind.about != "device":
        return f"{_noun(group)}{group.about} {kind.over}."
    if group.told == 1 and len(members) == 1:
        return f"{members[0].subject} {kind.over}."
    return f"No board {kind.one} any more."


def where(group: AlertGroup, members: Sequence[StandingTrouble]) -> str:
    """Which boards, the first of many; or which rollout."""
    if KINDS[group.code].about != "device":
        return f"{_noun(group)}{group.about}"
    names = ", ".join(one.subject for one in members[:SHOWN])
    return f"{names} and {len(members) - SHOWN:,} more" if len(members) > SHOWN else names


def todo(group: AlertGroup) -> str:
    """What to do, with the name in the commands."""
    said = KINDS[group.code].todo
    return said.replace("NAME", group.about) if group.about else said


def details(members: Sequence[StandingTrouble]) -> list[str]:
    """A line for each of the first: since when, and what is wrong with it."""
    return [
        f"{one.subject} since {moment(one.since)}{': ' if one.text else ''}{clean(one.text)}"
        for one in members[:SHOWN]
    ]


def moment(at: float) -> str:
    """A time (seconds since 1970) as people read it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(max(0.0, at)))


def link_to(group: AlertGroup, members: Sequence[StandingTrouble], link: str) -> str:
    """Where more is to be seen: the one board, the rollout, else the front page."""
    if not link:
        return ""
    kind = KINDS[group.code]
    if kind.about == "rollout":
        return f"{link}/rollouts/{group.about}"
    if kind.about == "device" and len(members) == 1:
        return f"{link}/devices/{members[0].subject}"
    return f"{link}/"


def _noun(group: AlertGroup) -> str:
    about = KINDS[group.code].about
    return {"device": "", "rollout": "The rollout ", "receiver": "The receiver ", "site": "The site "}[about]


def _sentence(text: str) -> str:
    said = clean(text).strip()
    return said if said.endswith((".", "!", "?")) else f"{said}."
