"""A control plane in which everything happens that its metrics tell of."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgelift_contract import codec
from edgelift_contract.report import Degradation
from edgelift_contract.telemetry import Gauges
from edgelift_fleet.db import ROWS, SITE
from edgelift_fleet.intake import Message
from edgelift_fleet.messages import Load
from edgelift_fleet.tables import DeviceRow, IdentityRow, RolloutLookRow
from tests.fleet.direct import ready
from tests.fleet.in_process import Api, api_of
from tests.fleet.telemetry.conftest import batch, window

HOT = {
    "soc_temp_c": 84.5, "throttled": 1.0, "under_voltage": 1.0, "disk_free_bytes": 1e8, "memory_available_bytes": 5e8,
    "cpu_pct": 50.0,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The control plane, and its open rollout."""

    api: Api
    rollout: str


@contextmanager
def measured(site: Path) -> Iterator[Measured]:
    """Boards `pi-1` (healthy), `pi-2` (hot, degraded, with a certificate), `pi-3` (it could not take digits@2, and is gone);
    a rollout whose gate found a breach and which waits for a person; a broker that is away.
    """
    with api_of(site) as api:
        boards = api.boards
        ready(boards, "pi-1", "pi-2", "pi-3")
        boards.assignments.assign("pi-3", "digits@2")
        boards.answer("pi-3", outcome="refused")
        boards.go("pi-3")
        rollout = boards.start("digits@2", waves="1,100%", to="id:pi-1 or id:pi-2", approval=True, seed=1)
        boards.look()
        boards.answer("pi-1", "pi-2")
        boards.look(3)
        now = time.time()
        told = batch(
            "pi-2",
            {
                1: Gauges(start=now - 60, end=now, values=HOT),
                2: window(now - 300, [500.0] * 90 + [2000.0] * 10, errors=3),
            },
        )
        boards.take(Message("telemetry", "pi-2", codec.canonical_json(told), "mqtt"))
        with boards.db.write(ROWS) as session:
            session.add(
                IdentityRow(
                    serial="1", device="pi-2", public_key="k", issued_at=now, not_after=now + 86400, number=1
                )
            )
            parts = [Degradation("journal", code) for code in ("disk-full", "disk-full", "of-a-newer-agent")]
            row = session.get(DeviceRow, "pi-2")
            assert row is not None
            row.degraded = codec.canonical_json(parts).decode()
        with boards.db.write(SITE) as session:
            session.add(
                RolloutLookRow(
                    rollout=int(rollout.removeprefix("r")), wave=0, number=1, at=now, breach=True, text="slower",
                    measured="{}",
                )
            )  # fmt: skip
        api.fleet.broker_state = lambda: "disconnected"
        api.fleet.load = lambda: Load(connections=2, connections_limit=10, parked_polls=1, waiting_messages=4)
        yield Measured(api, rollout)
