"""A device sampled at full resolution: its windows and gauges of a time are kept one by one longer than others'.

From now on for as long as is asked: what is received in that time stays until telemetry of its age goes altogether
(`telemetry_days`), not just for `telemetry_minute_days`. What the device itself sends does not change.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.devices import get_device
from edgelift_fleet.messages import SampleReply
from edgelift_fleet.messages.asked import MAX_SAMPLE_S
from edgelift_fleet.tables import TelemetrySampleRow

#: The longest time asked for at once, seconds, and how many times are kept per device: each is looked at for every
#: window that grows old.
LONGEST_S = MAX_SAMPLE_S
MOST = 64


def sample(session: Session, device: str, for_s: float, *, now: float | None = None) -> SampleReply:
    """Sample a device for some seconds from now on. Inside a write transaction.

    Raises:
        ContractError: `not-found`; `malformed` for no time or too long a one; `conflict` when there are too many.
    """
    get_device(session, device)
    if not 0 < for_s <= LONGEST_S:
        raise ContractError(
            "malformed", f"A device can be sampled for up to {LONGEST_S / 86400:.0f} days, not for {for_s:g} s."
        )
    now = time.time() if now is None else now
    row = TelemetrySampleRow
    number = session.scalar(sa.select(sa.func.count()).select_from(row).where(row.device == device)) or 0
    if number >= MOST:
        raise ContractError(
            "conflict", f"{device} was sampled {number} times already, and these are still kept.",
            hint="Lower telemetry_days in site.toml, or ask for one long time instead of many short ones.",
        )  # fmt: skip
    session.add(row(device=device, since=now, until=now + for_s))
    return SampleReply(device, now, now + for_s)
