"""What stands, for people and the console: the alerts, with those that have them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.decide import StandingTrouble
from edgelift_fleet.alerts.keep import read_kept
from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.alerts.silences import silenced
from edgelift_fleet.alerts.tell import AlertGroup, grouped
from edgelift_fleet.alerts.words import link_to, todo, what, where
from edgelift_fleet.db import among
from edgelift_fleet.messages.alerts import AlertSubject, AlertView
from edgelift_fleet.tables import AlertGroupRow, AlertRow

#: Boards of one alert that are listed.
MAX_SUBJECTS = 100
_WORST = ("critical", "warning", "notice")


def standing_alerts(session: Session, now: float, *, link: str = "") -> list[AlertView]:
    """The alerts that stand now, the worst first, then the oldest; in a fixed number of statements.

    Args:
        session: to read by.
        now: seconds since 1970.
        link: where people look, for the links; empty for none.
    """
    kept = read_kept(session)
    hushed = silenced(session, kept.standings, now)
    found = []
    for key, members in grouped(kept.standings.values()).items():
        heard = [one for one in members if one.key not in hushed]
        shown = sorted(heard or members, key=lambda one: (one.since, one.subject))
        group = kept.groups.get(key) or AlertGroup(*key, shown[0].fired_at)
        found.append(_view(group, shown, hushed=len(members) - len(heard), silent=not heard, link=link))
    return sorted(found, key=lambda one: (_WORST.index(one.severity), one.since, one.code, one.about))


def _view(group: AlertGroup, members: list[StandingTrouble], *, hushed: int, silent: bool, link: str) -> AlertView:
    return AlertView(
        code=group.code, severity=KINDS[group.code].severity, about=group.about,
        state="silenced" if silent else "told" if group.told_at else "waits",
        what=what(group, members), where=where(group, members), since=members[0].since, todo=todo(group),
        count=len(members), silenced=0 if silent else hushed, told_at=group.told_at,
        subjects=[AlertSubject(one.subject, one.since, one.text) for one in members[:MAX_SUBJECTS]],
        link=link_to(group, members, link),
    )  # fmt: skip


def count_standing(session: Session) -> int:
    """How many alerts stand of which people are told, or soon will be."""
    return session.scalar(sa.select(sa.func.count()).select_from(AlertGroupRow)) or 0


def troubles_of(session: Session, devices: list[str]) -> dict[str, list[tuple[str, float, str]]]:
    """Device → its troubles that count, as (code, since, text): for lists of devices; one statement."""
    row = AlertRow
    query = sa.select(row.code, row.subject, row.since, row.text).where(
        among(session, row.subject, devices), row.state != "pending"
    )
    found: dict[str, list[tuple[str, float, str]]] = {}
    for code, subject, since, text in session.execute(query.order_by(row.subject, row.since, row.code)):
        if code in KINDS and KINDS[code].about == "device":
            found.setdefault(subject, []).append((code, since, text))
    return found
