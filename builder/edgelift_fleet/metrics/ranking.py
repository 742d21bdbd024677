"""Which devices have series of their own where not all can: those that a person should look at. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.judge import ends_soon, judge_readings
from edgelift_fleet.metrics.readings import DeviceReading

_WEIGHTS = {
    "failing": 16, "under-voltage": 8, "hot": 4, "throttled": 4, "disk-low": 4, "certificate-ends": 4, "degraded": 4,
    "offline": 2,
}  # fmt: skip


def badness(one: DeviceReading, rules: AlertSettings, now: float) -> int:
    """How much is wrong with a device, by the last that it said; 0 for nothing."""
    wrong = [*judge_readings(one.gauges, rules)]
    wrong += ["failing"] if one.failing else []
    wrong += ["certificate-ends"] if ends_soon(one.certificate_made, one.certificate_ends, rules, now) else []
    wrong += ["degraded"] if one.degraded else []
    wrong += ["offline"] if not one.online else []
    return sum(_WEIGHTS[code] for code in wrong)


def worst(devices: Sequence[DeviceReading], most: int, rules: AlertSettings, now: float) -> list[DeviceReading]:
    """At most so many, the worst first; of those alike by id, so that the same ones are told the next time."""
    return sorted(devices, key=lambda one: (-badness(one, rules, now), one.device))[:most]
