"""What devices served in a stretch of time, as the gates read it: a fixed number of statements, whatever their number."""

from __future__ import annotations

from collections.abc import Collection
from math import isnan

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.devices import LastSeen, is_there
from edgelift_fleet.rollout.gates.measure import Reading, Stretch, measure
from edgelift_fleet.rollout.looking import WINDOW_S
from edgelift_fleet.tables import DeviceRow
from edgelift_fleet.telemetry.query import served_by_device

#: More devices than this are not named in a statement: databases bound its parameters.
_NAMED = 500

#: Device → throttled? → what it served.
_Served = dict[str, dict[bool, Stretch]]


def measured(
    session: Session, slot: str, members: Collection[str], controls: Collection[str], *,
    before: tuple[float, float], since: tuple[float, float], min_requests: int, seen: LastSeen, now: float,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Each device's number in every series of `gates.measure` that it counts in.

    Args:
        session: for reading.
        slot: what served there.
        members: of the wave.
        controls: that it is held against.
        before: the stretch before the wave, by the devices' clocks: from and to, seconds since 1970. A window that
            reaches beyond it may be the new model's, and doesn't count.
        since: the stretch after its swaps.
        min_requests: a device counts from so many on, in each of the two.
        seen: when devices were last heard of.
        now: seconds since 1970.
    """
    devices = {*members, *controls}
    earlier = _served(session, slot, devices, *before, last_s=WINDOW_S)
    later = _served(session, slot, devices, *since)
    there = who_is_there(session, devices, seen, now)
    found = {}
    for device in sorted(devices):
        was_there = device in earlier
        reading = Reading(earlier.get(device, {}), later.get(device, {}), was_there and device not in there)
        numbers = measure(reading, member=device in members, min_requests=min_requests)
        if not was_there:  # who was away when the wave was drawn says nothing by being away now
            del numbers["silence"]
        found[device] = {series: round(number, 7) for series, number in numbers.items() if not isnan(number)}
    return found


def _served(
    session: Session, slot: str, devices: Collection[str], start: float, end: float, last_s: float = 0.0
) -> _Served:
    found = served_by_device(session, slot, devices, start=start, end=end, last_s=last_s)
    return {
        device: {
            throttled: Stretch(one.ok + one.errors, one.errors, one.latency.to_data())
            for throttled, one in states.items()
        }
        for device, states in found.items()
    }


def who_is_there(session: Session, devices: Collection[str], seen: LastSeen, now: float) -> set[str]:
    """Those of these devices that are heard of now; one statement."""
    query = sa.select(DeviceRow.id, DeviceRow.last_seen, DeviceRow.presence_online, DeviceRow.gone_at)
    if len(devices) <= _NAMED:
        query = query.where(DeviceRow.id.in_(devices))
    return {
        one.id
        for one in session.execute(query)
        if is_there(one.presence_online, one.gone_at, seen.at(one.id, one.last_seen), now)
    }
