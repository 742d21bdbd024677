"""Reads what the metrics tell: a fixed number of statements for any number of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.device_filter import ALL, DeviceFilter, choose
from edgelift_fleet.device_list import count_devices
from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.happened import known_code
from edgelift_fleet.metrics.kept import NewestGauges, RecentService
from edgelift_fleet.metrics.ranking import worst
from edgelift_fleet.metrics.readings import DeviceReading, RolloutReading, StoredReading
from edgelift_fleet.paging import Wish
from edgelift_fleet.reported import read_degraded
from edgelift_fleet.rollout.listing import RolloutFilter, list_rollouts
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.tables import DeviceRow, IdentityRow, RolloutLookRow, RolloutRow

#: Rollouts with series of their own, at most.
MAX_ROLLOUTS = 50
#: Codes of what is degraded that a device has series for, at most.
MAX_CODES = 8
_FAILING = DeviceFilter(failing=True)


class Before:
    """What was read for the scrape before; for one thread at a time."""

    def __init__(self) -> None:
        self.service, self.gauges = RecentService(), NewestGauges()


def gather(
    session: Session, seen: LastSeen, most: int, rules: AlertSettings, now: float, before: Before | None = None
) -> StoredReading:
    """All that the database says.

    Args:
        session: for reading.
        seen: when devices were last heard of.
        most: devices with series of their own.
        rules: from when on something is wrong with one.
        now: seconds since 1970.
        before: what need not be read again.
    """
    before = before or Before()
    devices = _devices(session, seen, now, before.gauges.of(session))
    chosen = worst(devices, most, rules, now)
    served = before.service.of(session, [one.device for one in chosen], now)
    rollouts = sa.select(RolloutRow.state, sa.func.count()).group_by(RolloutRow.state)
    return StoredReading(
        counts=count_devices(session, seen, ALL),
        devices=[one._replace(served=served.get(one.device, ())) for one in chosen],
        left_out=len(devices) - len(chosen),
        rollouts={str(state): int(number) for state, number in session.execute(rollouts)},
        open_rollouts=_open_rollouts(session),
        looks=_looks(session),
        degraded=dict(sorted(Counter(code for one in devices for code in one.degraded).items())),
    )


def _devices(
    session: Session, seen: LastSeen, now: float, gauges: Mapping[str, Mapping[str, float]]
) -> list[DeviceReading]:
    """All of them, with what they are ranked by."""
    lately = seen.unwritten()
    failing = set(session.scalars(sa.select(DeviceRow.id).where(choose(session, seen, _FAILING))))
    ends_of = sa.select(IdentityRow.device, sa.func.max(IdentityRow.not_after), sa.func.max(IdentityRow.issued_at))
    ends_of = ends_of.where(IdentityRow.succeeded_by == "", IdentityRow.revoked_at == 0.0)
    ends = {device: (at, made_at) for device, at, made_at in session.execute(ends_of.group_by(IdentityRow.device))}
    row = DeviceRow
    query = sa.select(row.id, row.hardware_class, row.presence_online, row.gone_at, row.last_seen, row.degraded)
    found = []
    for device, hardware_class, presence_online, gone_at, written, degraded in session.execute(query):
        at = max(written, lately.get(device, 0.0))
        ends_at, made_at = ends.get(device, (0.0, 0.0))
        found.append(
            DeviceReading(
                device=device, hardware_class=hardware_class,
                online=is_there(presence_online, gone_at, at, now), failing=device in failing,
                last_seen=at, gauges=gauges.get(device, {}), certificate_ends=ends_at, certificate_made=made_at,
                degraded=_codes(device, degraded) if degraded else (),
            )
        )  # fmt: skip
    return found


def _codes(device: str, degraded: str) -> list[str]:
    """What of a device is degraded, as labels: of codes that are known, and few."""
    return sorted({known_code(one.code) for one in read_degraded(device, degraded) if one.code})[:MAX_CODES]


def _open_rollouts(session: Session) -> list[RolloutReading]:
    page = list_rollouts(session, RolloutFilter(state="open"), Wish(MAX_ROLLOUTS)).items
    is_open = RolloutFilter(state="open").where()[0]
    numbers = sa.select(RolloutRow.number).where(is_open)
    waiting = {rollout_id(number) for number in session.scalars(numbers.where(RolloutRow.awaits > 0))}
    look = RolloutLookRow
    looks = sa.select(look.rollout, look.breach).where(look.rollout.in_(numbers))
    breached = {
        rollout_id(number): bool(breach)  # of several the newest is read last
        for number, breach in session.execute(looks.order_by(look.rollout, look.wave, look.number))
    }
    return [
        RolloutReading(
            id=one.id, release=one.release, state=one.state, counts=one.counts,
            awaits_person=one.state == "paused" or (one.state == "running" and one.id in waiting),
            breached=breached.get(one.id), changed_at=one.changed_at,
        )
        for one in page
    ]  # fmt: skip


def _looks(session: Session) -> dict[str, int]:
    """Verdict → looks that are kept."""
    look, number = RolloutLookRow, sa.func.count()
    found = {"passed": 0, "breach": 0, "unmeasured": 0}
    query = sa.select(look.breach, look.unmeasured, number).group_by(look.breach, look.unmeasured)
    for breach, unmeasured, many in session.execute(query):
        found["breach" if breach else "unmeasured" if unmeasured else "passed"] += many
    return found
