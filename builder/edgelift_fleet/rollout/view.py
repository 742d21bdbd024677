"""How rollouts are shown: as the controller last saw them, so that looking costs next to nothing whatever the fleet.

A list has counts and no devices. One rollout has counts, as many of its devices as were asked for, and what happened.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_fleet.messages import (
    LookFigures,
    RolloutDeviceView,
    RolloutEvent,
    RolloutLook,
    RolloutSummary,
    RolloutView,
)
from edgelift_fleet.rollout.foresight import Alike
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.plan import StoredPlan, options_of
from edgelift_fleet.rollout.situation import BAD, DeviceStatus
from edgelift_fleet.rollout.story import read_event
from edgelift_fleet.rows import Fault, read_row
from edgelift_fleet.tables import RolloutDeviceRow, RolloutEventRow, RolloutLookRow, RolloutRow

#: Events of one rollout that are shown, and looks of its gates, at most.
MAX_EVENTS, MAX_LOOKS = 500, 100
#: Devices of one rollout that are shown if nobody says how many, and at most.
DEVICES, MAX_DEVICES = 100, 1000


class Asked(msgspec.Struct, frozen=True):
    """What of a rollout is to be shown.

    Attributes:
        status: only devices of this status; empty for all.
        limit: at most so many devices.
        after: only devices whose id comes after this one; then they come by id, not by wave.
        events_after: only events with a higher `seq`.
        by_id: do they come by id also where nothing is in `after`?
    """

    status: str = ""
    limit: int = DEVICES
    after: str = ""
    events_after: int = 0
    by_id: bool = False


#: Of a rollout that is shown without a wish.
ALL = Asked()


def summaries(session: Session, rows: Sequence[RolloutRow]) -> list[RolloutSummary]:
    """Rollouts in a list, in one statement."""
    counts = _counts(session, [row.number for row in rows])
    return [RolloutSummary(**_summary(row, counts.get(row.number, {}))) for row in rows]


def view(session: Session, row: RolloutRow, asked: Asked = ALL) -> RolloutView:
    """One rollout, in five statements at most."""
    counts = _counts(session, [row.number]).get(row.number, {})
    devices = _devices(session, row, asked)
    kept = _plan(row, [])
    return RolloutView(
        **_summary(row, counts), devices=devices, events=_events(session, row, asked), plan=options_of(kept), seed=kept.seed,
        now=time.time(), more=_matching(session, row, asked) - len(devices) if len(devices) >= asked.limit else 0,
        looks=_looks(session, row),
    )  # fmt: skip


def _summary(row: RolloutRow, counts: dict[tuple[str, bool], int]) -> dict[str, Any]:
    name = rollout_id(row.number)
    faults: list[Fault] = []
    # One that can't be read is shown with what to do about it, and costs the others nothing.
    kept = _plan(row, faults)
    policy = read_row(row.policy, Policy, owner=name, what="policy", into=faults) or Policy()
    reason = f"{faults[0].message} Cancel it: edgelift rollout cancel {name}." if faults else row.reason
    by_status: dict[str, int] = {}
    for (status, _), number in counts.items():
        by_status[status] = by_status.get(status, 0) + number
    reached = sum(by_status.values())
    failed = sum(n for (status, coded), n in counts.items() if status in BAD or (coded and status != "unsuited"))
    return {
        "id": name, "release": f"{row.model}@{row.version}", "slot": row.slot,
        "selector": row.selector, "waves": kept.waves, "soak_s": kept.soak_s, "max_failures": kept.max_failures,
        "deadline_s": kept.deadline_s, "policy": policy, "state": row.state,
        "wave": row.wave + 1, "reason": reason, "created_at": row.created_at, "changed_at": row.changed_at,
        "cohort": row.cohort or reached, "reached": reached, "committed": by_status.get("committed", 0),
        "failed": failed, "offline": by_status.get("offline", 0), "counts": dict(sorted(by_status.items())),
        "due_at": row.due_at, "keep_earlier": kept.keep_earlier, "name": kept.name,
    }  # fmt: skip


def _plan(row: RolloutRow, into: list[Fault]) -> StoredPlan:
    kept = read_row(row.plan, StoredPlan, owner=rollout_id(row.number), what="plan", into=into)
    return kept or StoredPlan(waves=[])


def _counts(session: Session, numbers: Sequence[int]) -> dict[int, dict[tuple[str, bool], int]]:
    """Rollout → (status, has it a code?) → how many devices."""
    coded = (RolloutDeviceRow.code != sa.literal_column("''")).label(
        "coded"
    )  # no parameter: it stands in GROUP BY
    query = sa.select(RolloutDeviceRow.rollout, RolloutDeviceRow.status, coded, sa.func.count())
    query = query.where(RolloutDeviceRow.rollout.in_(numbers))
    found: dict[int, dict[tuple[str, bool], int]] = {}
    for number, status, has_code, count in session.execute(
        query.group_by(RolloutDeviceRow.rollout, RolloutDeviceRow.status, coded)
    ):
        found.setdefault(number, {})[(status, bool(has_code))] = count
    return found


def groups_of(session: Session, row: RolloutRow) -> list[Alike]:
    """A rollout's devices, counted by what a decision asks of each; one statement, whatever their number."""
    kept = RolloutDeviceRow
    alike = (kept.wave, kept.status, kept.going_back, kept.code, kept.tried)
    latest = (sa.func.max(kept.status_at), sa.func.max(kept.assigned_at))
    query = sa.select(*alike, sa.func.count(), *latest).where(kept.rollout == row.number)
    ordered = query.group_by(*alike).order_by(kept.wave, kept.status, kept.code)
    return [
        Alike(wave, cast("DeviceStatus", status), going_back, code, tried, number, since, assigned_at)
        for wave, status, going_back, code, tried, number, since, assigned_at in session.execute(ordered)
    ]


def failures_of(session: Session, row: RolloutRow, most: int) -> list[RolloutDeviceView]:
    """Devices that failed or did not answer in time, also where they are back by now: the newest first, `most` of them."""
    kept = RolloutDeviceRow
    bad = kept.status.in_(sorted(BAD)) | ((kept.code != "") & (kept.status != "unsuited"))
    query = sa.select(kept).where(kept.rollout == row.number, bad)
    return [
        _device(one) for one in session.scalars(query.order_by(kept.status_at.desc(), kept.device).limit(most))
    ]


def previous_of(session: Session, row: RolloutRow) -> set[str]:
    """What those had before that have it again, as `digits@1`; empty for an empty slot. One statement."""
    kept = RolloutDeviceRow
    query = sa.select(kept.previous).where(kept.rollout == row.number, kept.status == "restored")
    return {_named_before(text, rollout_id(row.number)) for text in set(session.scalars(query))}


def _named_before(text: str, owner: str) -> str:
    previous = read_row(text, SlotAssignment, owner=owner, what="", into=[]) if text else None
    return f"{previous.model}@{previous.version}" if previous else ""


def _wanted(query: sa.Select[RolloutDeviceRow], row: RolloutRow, asked: Asked) -> sa.Select[RolloutDeviceRow]:
    query = query.where(RolloutDeviceRow.rollout == row.number)
    if asked.status:
        query = query.where(RolloutDeviceRow.status == asked.status)
    return query.where(RolloutDeviceRow.device > asked.after) if asked.after else query


def _devices(session: Session, row: RolloutRow, asked: Asked) -> list[RolloutDeviceView]:
    order = (
        (RolloutDeviceRow.device,)
        if asked.after or asked.by_id
        else (RolloutDeviceRow.wave, RolloutDeviceRow.device)
    )
    query = _wanted(sa.select(RolloutDeviceRow), row, asked)
    return [_device(one) for one in session.scalars(query.order_by(*order).limit(asked.limit))]


def _matching(session: Session, row: RolloutRow, asked: Asked) -> int:
    query = _wanted(sa.select(RolloutDeviceRow), row, asked)
    return session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def _device(row: RolloutDeviceRow) -> RolloutDeviceView:
    return RolloutDeviceView(
        device=row.device,
        wave=row.wave + 1,
        status=row.status,
        status_at=row.status_at,
        artifact=row.artifact,
        revision=row.revision,
        code=row.code,
        message=row.message,
        previous=_named_before(row.previous, row.device),
        committed_by=row.committed_by,
    )


def _looks(session: Session, row: RolloutRow) -> list[RolloutLook]:
    kept = RolloutLookRow  # but for what was measured of each device
    query = sa.select(kept.wave, kept.number, kept.at, kept.breach, kept.unmeasured, kept.text, kept.figures)
    newest = (
        query.where(kept.rollout == row.number).order_by(kept.wave.desc(), kept.number.desc()).limit(MAX_LOOKS)
    )
    name = rollout_id(row.number)
    return [
        RolloutLook(
            one.wave + 1, one.number, one.at, one.breach, one.unmeasured, one.text,
            (read_row(one.figures, LookFigures, owner=name, what="figures", into=[]) if one.figures else None)
            or LookFigures(),
        )
        for one in reversed(session.execute(newest).all())
    ]  # fmt: skip


def _events(session: Session, row: RolloutRow, asked: Asked) -> list[RolloutEvent]:
    query = sa.select(RolloutEventRow).where(
        RolloutEventRow.rollout == row.number, RolloutEventRow.id > asked.events_after
    )
    newest = session.scalars(query.order_by(RolloutEventRow.id.desc()).limit(MAX_EVENTS)).all()
    return [read_event(one) for one in reversed(newest)]
