"""What is judged, read in sets: a fixed number of statements whatever the fleet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.judge import (
    READINGS_S,
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
    TelemetryNewestRow,
)
from edgelift_fleet.telemetry import gauges

#: Why a certificate holds no more of a device that was taken out: `identity.identities` writes it.
REMOVED = "removed"
_ENDED = ("rolled-back", "wave-rolled-back")
#: When a device's newest certificate was made and ends, seconds since 1970, and whether it was taken out.
_Certificate = tuple[float, float, bool]
_NO_CERTIFICATE: _Certificate = (0.0, 0.0, False)
_NO_READINGS: tuple[int, Mapping[str, float]] = (0, {})


class DeviceReader:
    """Reads devices as they stand, and remembers what need not be read again. To be used by one thread at a time."""

    def __init__(self) -> None:
        self._certificates_as_of, self._certificates = (-1, -1), dict[str, _Certificate]()
        self._readings: dict[str, tuple[int, Mapping[str, float]]] = {}

    def read(
        self, session: Session, seen: LastSeen, now: float, only: Collection[str] | None = None
    ) -> list[DeviceLook]:
        """All devices by their ids, or those of `only`. Raises the database's."""
        row = DeviceRow
        certificates, readings = self._certificates_of(session), self._readings_of(session, now, only)
        doubled, lately = seen.sightings.doubled(), seen.unwritten()
        query = sa.select(row.id, row.last_seen, row.presence_online, row.gone_at, row.degraded).order_by(row.id)
        if only is not None:
            query = query.where(among(session, row.id, only))
        found = []
        for device, stored, online, gone_at, degraded in session.execute(query):
            made_at, ends_at, removed = certificates.get(device, _NO_CERTIFICATE)
            heard_at = max(stored, lately[device]) if device in lately else stored
            at, values = readings.get(device, _NO_READINGS)
            found.append(
                DeviceLook(
                    device, online or is_there(online, gone_at, heard_at, now),
                    gone_at if heard_at < gone_at <= now else heard_at,
                    at / 1000, values, read_degraded(device, degraded) if degraded else (), ends_at, made_at,
                    device in doubled, removed,
                )
            )  # fmt: skip
        return found

    def _certificates_of(self, session: Session) -> Mapping[str, _Certificate]:
        newest, rows = session.execute(sa.select(sa.func.max(IdentityRow.number), sa.func.count())).one()
        if (newest or 0, rows) != self._certificates_as_of:  # the number rises with every change
            self._certificates_as_of, self._certificates = (newest or 0, rows), _certificates(session)
        return self._certificates

    def _readings_of(
        self, session: Session, now: float, only: Collection[str] | None
    ) -> Mapping[str, tuple[int, Mapping[str, float]]]:
        """Device → its newest readings, of those that may count, and when they are from, in ms since 1970."""
        row, from_ms = TelemetryNewestRow, int((now - READINGS_S) * 1000)
        query = sa.select(row.device, row.at).where(row.at > from_ms)
        if only is not None:
            query = query.where(among(session, row.device, only))
        before, after, changed = self._readings, {}, []
        for device, at in session.execute(query):
            kept = before.get(device)
            if kept is not None and kept[0] == at:
                after[device] = kept
            else:
                changed.append(device)
        if changed:
            for device, (sent_at, values) in gauges.newest(session, changed).items():
                after[device] = (round(sent_at * 1000), values)
        self._readings = after
        return after


def look_at_fleet(
    session: Session, reader: DeviceReader, seen: LastSeen, receivers: Collection[str], signatures: Sequence[str], *,
    site: str, listening_since: float, now: float,
) -> FleetLook:  # fmt: skip
    """Everything that is judged.

    Args:
        session: to read by.
        reader: of the devices.
        seen: when devices were last heard of.
        receivers: names of those that there are.
        signatures: what of the signed metadata ends soon, as `trust.watching` says it.
        site: name of the site.
        listening_since: since when boards could be heard, seconds since 1970; 0 for ever.
        now: seconds since 1970.
    """
    return FleetLook(
        reader.read(session, seen, now), read_rollouts(session, now), read_receivers(session, receivers), signatures, site,
        listening_since,
    )  # fmt: skip


def _certificates(session: Session) -> dict[str, _Certificate]:
    """Device → when its newest certificate was made and ends, and whether it was taken out."""
    row = IdentityRow
    query = sa.select(row.device, row.issued_at, row.not_after, row.revoked_at, row.why)
    found = {}
    for device, made_at, ends_at, revoked_at, why in session.execute(
        query.where(row.succeeded_by == "").order_by(row.issued_at)
    ):
        found[device] = (made_at, 0.0 if revoked_at else ends_at, bool(revoked_at) and why == REMOVED)
    return found


def read_rollouts(session: Session, now: float) -> list[RolloutStanding]:
    """Rollouts that are open, or went back lately, by their numbers."""
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


def read_receivers(session: Session, names: Collection[str]) -> list[ReceiverLook]:
    """How receivers of these names take what they are told."""
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
