"""What happened in a rollout, kept in order: its states with their reasons, and what became of each device.

Of a few devices each is told of by itself; of many, as when a wave of thousands commits, one event names them all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_fleet.messages import RolloutEvent
from edgelift_fleet.rollout.ends import many, named
from edgelift_fleet.rollout.judge import LAPSED, Kept, Standing
from edgelift_fleet.rollout.observe import Placed, rollout_id
from edgelift_fleet.rollout.situation import BAD, DeviceStatus
from edgelift_fleet.rows import read_row
from edgelift_fleet.tables import RolloutDeviceRow, RolloutEventRow, RolloutRow

#: Events of a rollout that are kept.
MAX_KEPT = 10_000
#: Those that devices bring about, again and again if they like.
_PASSING = (*get_args(DeviceStatus), "joined", "dropped")
#: Of as many devices at once each has an event of its own.
_EACH = 3


class EventBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of an event what is no text: who ordered it and why, and all its devices by outcome."""

    who: str = ""
    why: str = ""
    devices: dict[str, list[str]] = {}


NOBODY = EventBody()


def note(
    session: Session, row: RolloutRow, kind: str, text: str, *,
    order: EventBody = NOBODY, devices: Mapping[str, Sequence[str]] | None = None,
) -> None:  # fmt: skip
    """Add to a rollout's story.

    Args:
        session: of a write transaction.
        row: the rollout.
        kind: see `messages.RolloutEvent`.
        text: for people.
        order: who ordered it, and why, if a person did.
        devices: all that it is about, by outcome.
    """
    body = msgspec.structs.replace(order, devices={k: list(v) for k, v in (devices or {}).items()})
    session.add(
        RolloutEventRow(
            rollout=row.number, at=time.time(), kind=kind, text=text,
            body="" if body == NOBODY else codec.canonical_json(body).decode(),
        )
    )  # fmt: skip


def set_state(
    session: Session, row: RolloutRow, state: str, reason: str, *,
    order: EventBody = NOBODY, devices: Mapping[str, Sequence[str]] | None = None,
) -> None:  # fmt: skip
    """Put a rollout into a state, and note why; arguments as of `note`."""
    row.state, row.reason, row.changed_at, row.due_at, row.awaits = state, reason, time.time(), 0.0, 0
    note(session, row, state, reason, order=order, devices=devices)


def read_event(row: RolloutEventRow) -> RolloutEvent:
    """An event, as people see it."""
    body = NOBODY
    if row.body:
        body = read_row(row.body, EventBody, owner=rollout_id(row.rollout), what="event", into=[]) or NOBODY
    return RolloutEvent(row.at, row.kind, row.text, row.id, body.who, body.why, body.devices)


def remember(session: Session, row: RolloutRow, found: Mapping[str, Placed], now: float) -> None:
    """Keep where devices stand now, and tell of those whose standing changed. Inside a write transaction."""
    changes: list[dict[str, Any]] = []
    told: dict[str, list[Placed]] = {}
    for device, one in found.items():
        kept, standing = one.kept, one.standing
        if not is_news(one):
            continue
        # Who was not there when it was assigned something has its time from when it came.
        came = one.told and (not kept.told_at or (kept.status == "offline" != standing.status))
        changed = kept.status != standing.status
        changes.append({
            "rollout": row.number, "device": device, "status": standing.status, "code": standing.code,
            "message": standing.message, "committed_by": standing.committed_by or kept.committed_by,
            "lapses": kept.lapses + (kept.status == "committed" and standing.code == LAPSED),
            "told_at": now if came else kept.told_at, "status_at": now if changed else kept.status_at,
        })  # fmt: skip
        if changed:
            told.setdefault(standing.status, []).append(one)
    if changes:
        session.execute(sa.update(RolloutDeviceRow), changes)
    for status, ones in told.items():
        if len(ones) <= _EACH:
            for one in ones:
                note(session, row, status, _of_one(one.kept, one.standing))
        else:
            note(session, row, status, _of_many(status, ones), devices={status: [one.kept.device for one in ones]})
    if told:
        _bound(session, row)


def _bound(session: Session, row: RolloutRow, most: int = MAX_KEPT) -> None:
    """Of a rollout with too many events the oldest about single devices go, a tenth of all at once: a device can have its
    standing change for ever. States, waves, gates and orders stay.
    """
    event = RolloutEventRow
    session.flush()
    number = session.scalar(sa.select(sa.func.count()).where(event.rollout == row.number)) or 0
    if number <= most:
        return
    about_devices = sa.and_(event.rollout == row.number, event.kind.in_(_PASSING))
    oldest = sa.select(event.id).where(about_devices).order_by(event.id).limit(number - most + most // 10)
    gone = session.connection().execute(sa.delete(event).where(event.id.in_(oldest))).rowcount
    if gone:
        text = f"The {gone} oldest events of devices were dropped: {most} are kept of a rollout."
        note(session, row, "dropped", text)


def is_news(one: Placed) -> bool:
    """Is there something to keep of a device?"""
    kept, standing = one.kept, one.standing
    same = (kept.status, kept.code, kept.message) == (standing.status, standing.code, standing.message)
    return not same or (one.told and not kept.told_at)


_PLAIN = {
    "waiting": "is there, and has to begin",
    "offline": "is offline",
    "updating": "is updating",
    "committed": "served it through its probation",
    "restored": "has its previous version again",
}
_PLAIN_MANY = {
    "waiting": "are there, and have to begin",
    "offline": "are offline",
    "updating": "are updating",
    "committed": "served it through their probation",
    "restored": "have their previous version again",
}


def _of_one(kept: Kept, standing: Standing) -> str:
    if standing.status == "restored" and not kept.previous:
        return f"{kept.device} has an empty slot again: it had nothing before."
    if standing.status == "updating" and kept.going_back:
        return f"{kept.device} is going back."
    if standing.status in _PLAIN:
        return f"{kept.device} {_PLAIN[standing.status]}."
    text = standing.message or standing.status
    return f"{kept.device}: {text} ({standing.code})" if standing.code else f"{kept.device}: {text}"


def _of_many(status: str, ones: Sequence[Placed]) -> str:
    names = named([one.kept.device for one in ones])
    if status == "restored" and not any(one.kept.previous for one in ones):
        return f"{many(len(ones))} have an empty slot again: {names}. They had nothing before."
    text = f"{many(len(ones))} {_PLAIN_MANY.get(status, f'are {status}')}: {names}."
    if status in BAD:
        text += " " + "; ".join(_of_one(one.kept, one.standing) for one in ones[:_EACH])
    return text
