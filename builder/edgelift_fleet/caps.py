"""How much of one device is kept: a cap for every table that a board can make grow, whatever it sends.

The oldest goes first, and how much went is told on the device's page (`dropped`). A cap is each device's own: no board
crowds another one out. `docs/limits.md` states them; `tests/fleet/test_caps.py` walks the tables, and fails for one that
isn't here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgelift_contract.bounds import MAX_TAGS
from edgelift_contract.report import MAX_SLOTS

#: What goes when a device has too much of it.
Kind = Literal["updates", "windows", "sums", "gauges", "notes", "outboxes"]


@dataclass(frozen=True)
class Cap:
    """Of one device: rows at most, and bytes of their bodies at most; 0 bytes where rows alone bound it."""

    rows: int
    bytes: int = 0


MB = 1 << 20
#: Windows: 34 days of a board with one slot that throttles now and then. Sums: a year of days and 45 days of hours of
#: 40 versions. Notes: swaps and events.
KEPT: Mapping[Kind, Cap] = {
    "updates": Cap(500),
    "windows": Cap(100_000, 64 * MB),
    "sums": Cap(60_000, 64 * MB),
    "gauges": Cap(100_000, 32 * MB),
    "notes": Cap(5_000, 8 * MB),
    "outboxes": Cap(64),
}

#: Updates whose traces wait for a receiver that is away: of one board, and of all together.
MAX_TRACES_OF_ONE, MAX_TRACES = 64, 20_000

#: Table → what a board can make of it grow, for people; a table of which it says "none" grows by operators alone.
TABLES: Mapping[str, str] = {
    "device": "one row for each id that enrols",
    "device_tag": f"{MAX_TAGS} rows of its own",
    "slot_state": f"{MAX_SLOTS} rows",
    "update_history": f"{KEPT['updates'].rows} rows",
    "update_trace": f"{MAX_TRACES_OF_ONE} rows, until they are sent; {MAX_TRACES:,} of all boards",
    "assignment": "one row",
    "sighting": "four rows each time that servers tell each other, for 15 minutes",
    "telemetry_epoch": f"{KEPT['outboxes'].rows} rows",
    "telemetry_series": "256 rows",
    "telemetry_fleet_series": "256 rows",
    "telemetry_minute": f"{KEPT['windows'].rows:,} rows, {KEPT['windows'].bytes // MB} MB",
    "telemetry_pending": "those of its windows that are not summed yet",
    "telemetry_bucket": f"{KEPT['sums'].rows:,} rows, {KEPT['sums'].bytes // MB} MB",
    "telemetry_fleet_bucket": "an hour's and a day's row of each series of the fleet",
    "telemetry_cohort": "none", "telemetry_cohort_sum": "none",
    "telemetry_gauge": f"{KEPT['gauges'].rows:,} rows, {KEPT['gauges'].bytes // MB} MB",
    "telemetry_newest": "one row",
    "telemetry_note": f"{KEPT['notes'].rows:,} rows, {KEPT['notes'].bytes // MB} MB",
    "telemetry_doubt": "one row",
    "device_dropped": "seven rows",
    "rollout_event": "10,000 rows of a rollout",
    "rollout_device": "none", "rollout_member": "none", "rollout_wave": "none", "rollout_look": "none", "rollout": "none",
    "bundle": "none", "bundle_body": "one of 4 MB for each bundle that an operator asks for", "kept_answer": "none",
    "unnamed_blob": "none", "telemetry_sample": "none", "release": "none", "artifact": "none", "control": "none",
    "alert": "one row of each code", "alert_group": "none", "alert_delivery": "none", "alert_silence": "none",
    "signed": "none", "enrol_token": "none", "person": "none", "access_token": "none", "audit": "none",
    "identity": "16 rows a week until they have ended; those that it may come back with, and that were taken back",
}  # fmt: skip
