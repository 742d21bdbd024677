"""What is judged, read in sets: a fixed number of statements whatever the fleet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.judge import (
    ROLLED_BACK_S,
    DeviceLook,
    FleetLook,
    ReceiverLook,
    RolloutStanding,
)
from edgelift_fleet.db import among
from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.reported import read_degraded
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.situation import TERMINAL
from edgelift_fleet.rollout.story import read_event
from edgelift_fleet.tables import (
    AlertDeliveryRow,
    DeviceRow,
    IdentityRow,
    RolloutEventRow,
    RolloutLookRow,
    RolloutRow,
    RolloutWaveRow,
)
from edgelift_fleet.telemetry import gauges

#: Why a certificate holds no more of a device that was taken out: `identity.identities` writes it.
REMOVED = "removed"
_ENDED = ("rolled-back", "wave-rolled-back")


def look_at_fleet(
    session: Session, seen: LastSeen, receivers: Collection[str], signatures: Sequence[str], *,
    site: str, listening_since: float, now: float,
) -> FleetLook:  # fmt: skip
    """Everything that is judged.

    Args:
        session: to read by.
        seen: when devices were last heard of.
        receivers: names of those that there are.
        signatures: what of the signed metadata ends soon, as `trust.watching` says it.
        site: name of the site.
        listening_since: since when boards could be heard, seconds since 1970; 0 for ever.
        now: seconds since 1970.
    """
    return FleetLook(
        _devices(session, seen, now), _rollouts(session, now), _receivers(session, receivers), signatures, site,
        listening_since,
    )  # fmt: skip


def _devices(session: Session, seen: LastSeen, now: float) -> list[DeviceLook]:
    row = DeviceRow
    certificates = _certificates(session)
    readings = gauges.newest(session)
    doubled, lately = seen.sightings.doubled(), seen.unwritten()
    query = sa.select(row.id, row.last_seen, row.presence_online, row.gone_at, row.degraded)
    found = []
    for device, stored, online, gone_at, degraded in session.execute(query.order_by(row.id)):
        made_at, ends_at, removed = certificates.get(device, (0.0, 0.0, False))
        if removed:
            continue
        heard_at = max(stored, lately.get(device, 0.0))
        at, values = readings.get(device, (0.0, {}))
        parts = read_degraded(device, degraded)
        found.append(
            DeviceLook(
                device, is_there(online, gone_at, heard_at, now), heard_at, at, values, parts, ends_at, made_at,
                device in doubled,
            )
        )  # fmt: skip
    return found


def _certificates(session: Session) -> Mapping[str, tuple[float, float, bool]]:
    """Device → when its newest certificate was made and ends, and whether it was taken out."""
    row = IdentityRow
    query = sa.select(row.device, row.issued_at, row.not_after, row.revoked_at, row.why)
    found = {}
    for device, made_at, ends_at, revoked_at, why in session.execute(
        query.where(row.succeeded_by == "").order_by(row.issued_at)
    ):
        found[device] = (made_at, 0.0 if revoked_at else ends_at, bool(revoked_at) and why == REMOVED)
    return found


def _rollouts(session: Session, now: float) -> list[RolloutStanding]:
    row = RolloutRow
    lately = sa.and_(row.state.in_(_ENDED), row.changed_at > now - ROLLED_BACK_S)
    rows = session.scalars(
        sa.select(row).where(sa.or_(row.state.not_in(TERMINAL), lately)).order_by(row.number)
    ).all()
    stopped = [one.number for one in rows if one.state not in ("running", "scheduled")]
    breaches, by_people = _breaches(session, stopped), _by_people(session, stopped)
    return [
        RolloutStanding(
            rollout_id(one.number), f"{one.model}@{one.version}", one.state, one.reason, one.changed_at, one.awaits,
            breaches.get((one.number, one.wave), ""), one.number in by_people,
        )
        for one in rows
    ]  # fmt: skip


def _breaches(session: Session, numbers: list[int]) -> dict[tuple[int, int], str]:
    """(rollout, wave) → what the look said that stopped it; not where a person went on all the same."""
    if not numbers:
        return {}
    look, wave = RolloutLookRow, RolloutWaveRow
    query = sa.select(look.rollout, look.wave, look.text).join(
        wave, sa.and_(wave.rollout == look.rollout, wave.wave == look.wave)
    )
    breaches = query.where(among(session, look.rollout, numbers), look.breach, wave.overruled.is_(False))
    return {(rollout, at): text for rollout, at, text in session.execute(breaches.order_by(look.number))}


def _by_people(session: Session, numbers: list[int]) -> set[int]:
    """Rollouts that a person paused or rolled back: by the last such order that there is."""
    if not numbers:
        return set()
    event = RolloutEventRow
    newest = sa.select(sa.func.max(event.id)).where(
        among(session, event.rollout, numbers), event.kind.in_(("paused", "rolling-back"))
    )
    rows = session.scalars(sa.select(event).where(event.id.in_(newest.group_by(event.rollout))))
    return {row.rollout for row in rows if read_event(row).who}


def _receivers(session: Session, names: Collection[str]) -> list[ReceiverLook]:
    row = AlertDeliveryRow
    waiting: dict[str, tuple[float, str]] = {}
    given_up: dict[str, tuple[float, str]] = {}
    query = sa.select(row.receiver, row.made_at, row.given_up_at, row.error).where(row.tries > 0)
    for name, made_at, given_up_at, error in session.execute(query.order_by(row.made_at.desc())):
        if given_up_at:
            given_up[name] = max(given_up.get(name, (0.0, "")), (given_up_at, error))
        elif error:
            waiting[name] = (made_at, error)
    return [
        ReceiverLook(
            name, waiting.get(name, (0.0, ""))[0], given_up.get(name, (0.0, ""))[0],
            (waiting.get(name) or given_up.get(name) or (0.0, ""))[1],
        )
        for name in sorted(names)
    ]  # fmt: skip
