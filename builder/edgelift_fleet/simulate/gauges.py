"""What a simulated board's machine says of itself: warm as its kind is, hot and slow while it is throttled."""

from __future__ import annotations

import time

import numpy as np

from edgelift_contract.telemetry import Gauges
from edgelift_fleet.simulate.profile import BoardClass

#: A throttled board is about this hot, degrees Celsius: a Raspberry Pi slows down from 80 to 85.
_THROTTLED_C = 83.0
_FULL_MHZ, _SLOW_MHZ = 1800.0, 1000.0


def draw_gauges(rng: np.random.Generator, kind: BoardClass, since: float, *, throttled: bool) -> Gauges:
    """The gauges of the time since then, seconds since 1970, until now."""
    now = time.time()
    memory = kind.memory_mb * 2.0**20
    degrees = (_THROTTLED_C if throttled else kind.temperature_c) + 1.5 * rng.standard_normal()
    share = float(np.clip(0.35 + 0.05 * rng.standard_normal(), 0.05, 0.95))
    values = {
        "cpu_pct": float(np.clip(35 + 8 * rng.standard_normal(), 0, 100)), "soc_temp_c": round(float(degrees), 1),
        "cpu_freq_mhz": _SLOW_MHZ if throttled else _FULL_MHZ, "throttled": float(throttled), "under_voltage": 0.0,
        "memory_used_bytes": round(memory * share), "memory_available_bytes": round(memory * (1 - share)),
        "disk_free_bytes": 9.5e9,
    }  # fmt: skip
    return Gauges(start=min(since, now), end=now, values=values)
