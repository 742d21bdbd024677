"""Which devices have series of their own where not all can: those that a person should look at. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from edgelift_fleet.metrics.readings import DeviceReading

#: From here on a processor is hot, degrees Celsius: a Raspberry Pi slows down at 80.
HOT_C = 80.0
#: With less than this free a board can hardly take an update, bytes.
LOW_DISK_BYTES = 200_000_000
#: A certificate that ends within this should have been renewed, seconds.
END_S = 14 * 86400.0


def badness(one: DeviceReading, now: float) -> int:
    """How much is wrong with a device; 0 for nothing."""
    gauges = one.gauges
    return sum(
        weight
        for weight, wrong in (
            (16, one.failing),
            (8, gauges.get("under_voltage", 0.0) > 0),
            (4, gauges.get("throttled", 0.0) > 0),
            (4, gauges.get("soc_temp_c", 0.0) >= HOT_C),
            (4, gauges.get("disk_free_bytes", float(LOW_DISK_BYTES)) < LOW_DISK_BYTES),
            (4, 0 < one.certificate_ends < now + END_S),
            (4, bool(one.degraded)),
            (2, not one.online),
        )
        if wrong
    )


def worst(devices: Sequence[DeviceReading], most: int, now: float) -> list[DeviceReading]:
    """At most so many, the worst first; of those alike by id, so that the same ones are told the next time."""
    return sorted(devices, key=lambda one: (-badness(one, now), one.device))[:most]
