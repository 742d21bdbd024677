"""What becomes of a site's state when it is restored: time has passed that it knows nothing of.

Devices have gone on meanwhile. Their assignments need nothing here: whoever has seen a higher number says so, and is
told anew or stays as it is (`restored`). A rollout is another matter: what it judges by, its windows, looks and
deadlines, is of a fleet that isn't there any more. One that was taking its release back goes on, for its aim is the
same; any other one is cancelled.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.text import clean
from edgelift_fleet.people.audit import DONE, Deed, append
from edgelift_fleet.people.roles import OWNER
from edgelift_fleet.restored import Restored, note_restored
from edgelift_fleet.rollout.ends import many, named
from edgelift_fleet.rollout.numbers import skip_numbers
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.rollout.story import note, set_state
from edgelift_fleet.tables import AccessTokenRow, DeviceRow, RolloutDeviceRow, RolloutRow, SightingRow


class UnderWay(NamedTuple):
    """Rollouts that were under way, as `r7`: those that are cancelled now, and those that still take their release back."""

    cancelled: list[str]
    going_back: list[str]


def settle(session: Session, backup: str, made_at: float, *, tell: bool) -> UnderWay:
    """Make the rows of a backup those of a site that goes on now. Inside the transaction that wrote them.

    Args:
        session: of that transaction.
        backup: its id.
        made_at: of what moment it is, seconds since 1970.
        tell: devices that went on are told what the backup says as soon as they are heard of.
    """
    now = time.time()
    note_restored(session, Restored(backup=backup, made_at=made_at, restored_at=now, holds=not tell))
    skip_numbers(session, now - made_at)
    # Who is connected, and which processes speak, is learned anew.
    session.execute(sa.update(DeviceRow).values(presence_online=False))
    session.execute(sa.delete(SightingRow))
    _settle_people(session, backup, made_at, now)
    return _settle_rollouts(session, made_at, now)


def _settle_people(session: Session, backup: str, made_at: float, now: float) -> None:
    """Whoever was logged in then logs in anew: what ended since the backup must not hold again. And the log says so."""
    session.execute(sa.delete(AccessTokenRow).where(AccessTokenRow.login.is_(True)))
    of = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(made_at))
    deed = Deed(OWNER, "", "restore", "", "", f"the backup {backup} of {of}")
    append(session, deed, DONE, now)


def _settle_rollouts(session: Session, made_at: float, now: float) -> UnderWay:
    found = UnderWay([], [])
    of = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made_at))
    rows = sa.select(RolloutRow).where(RolloutRow.state.not_in(TERMINAL)).order_by(RolloutRow.number)
    for row in session.scalars(rows):
        if row.state == "rolling-back":
            _give_time(session, row, now)
            note(
                session,
                row,
                "site-restored",
                f"The site was restored from a backup of {of}; it goes on taking the release back.",
            )
            found.going_back.append(rollout_id(row.number))
        else:
            _cancel(session, row, of)
            found.cancelled.append(rollout_id(row.number))
    return found


def _cancel(session: Session, row: RolloutRow, of: str) -> None:
    query = sa.select(RolloutDeviceRow.device, RolloutDeviceRow.status).filter_by(rollout=row.number)
    outcomes: dict[str, list[str]] = {}
    for device, status in session.execute(query.order_by(RolloutDeviceRow.device)):
        outcomes.setdefault(status, []).append(device)
    reached = sorted(device for devices in outcomes.values() for device in devices)
    held = (
        f"What it assigned stays assigned: {many(len(reached))} ({named(reached)})."
        if reached
        else "It had reached nobody."
    )
    reason = (
        f"Cancelled: the site was restored from a backup of {of}, when this was {row.state}; its devices may have gone"
        f" on since. {held} Start it again, or roll it back."
    )
    set_state(session, row, "cancelled", clean(reason), devices=outcomes)


def _give_time(session: Session, row: RolloutRow, now: float) -> None:
    """Its devices have their deadline from now: those of before have passed while nobody watched."""
    mine = sa.update(RolloutDeviceRow).where(RolloutDeviceRow.rollout == row.number)
    session.execute(mine.values(assigned_at=now))
    session.execute(mine.where(RolloutDeviceRow.told_at > 0).values(told_at=now))
    row.changed_at, row.due_at = now, 0.0
