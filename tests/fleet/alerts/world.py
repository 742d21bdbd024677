"""A control plane with boards, its alerts, a receiver, and a clock that the test moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.fleet.direct import Direct, direct

from edgelift_contract import codec
from edgelift_contract.telemetry import Batch, Gauges, Item
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.answers import Receipt
from edgelift_fleet.alerts.receivers import Receiver, Secret
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.alerts.sender import Sender
from edgelift_fleet.alerts.standing import standing_alerts
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.intake import Message
from edgelift_fleet.lead import Lead
from edgelift_fleet.messages.alerts import AlertMessage, AlertView
from edgelift_fleet.tables import (
    DeviceRow,
)

#: So that times stand for themselves: no jitter between looks.
RULES = AlertSettings(gather_s=0.0, begins_after_s=30.0, ends_after_s=30.0)


class Kept:
    """A receiver that takes what it is sent, or answers what it is told to."""

    where = "here"

    def __init__(self) -> None:
        self.came: list[AlertMessage] = []
        self.answers: list[Receipt] = []
        self.meanwhile: Callable[[], Any] = lambda: None

    def send(self, message: AlertMessage, _secret: str) -> Receipt:
        self.came.append(message)
        self.meanwhile()
        return self.answers.pop(0) if self.answers else Receipt(True, "taken")


def receiver(way: Any, name: str = "ops") -> Receiver:
    return Receiver(name, "webhook", [], 1.0, way, Secret(name))


class World:
    """A control plane with boards, its alerts, and a clock that the test moves."""

    def __init__(self, boards: Direct, lead: Lead, rules: AlertSettings = RULES) -> None:
        self.boards, self.lead, self.way, self.ahead = boards, lead, Kept(), 0.0
        self.signatures: list[str] = []
        self.rounds = self.another(boards.db, lead, boards.seen, rules)
        self.sender = Sender(receiver(self.way), boards.db, lead)

    def another(self, db: Database, lead: Lead, seen: LastSeen, rules: AlertSettings = RULES) -> Rounds:
        around = Around(db, lead, seen, "farm", lambda: "https://f", lambda: self.signatures)
        return Rounds(around, rules, [receiver(self.way)])

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def look(self, after_s: float = 0.0) -> list[AlertMessage]:
        """One round, so many seconds after the last."""
        self.ahead += after_s
        return self.rounds.look(self.now)

    def told(self, after_s: float = 0.0) -> list[tuple[str, str, int]]:
        return [(one.event, one.code, one.count) for one in self.look(after_s)]

    def heard_before(self, seconds: float, *names: str) -> None:
        """These boards were last heard so long ago, and have no connection."""
        self.boards.seen.flush(self.boards.db)
        with self.boards.db.write(SITE) as session:
            wanted = sa.update(DeviceRow).where(DeviceRow.id.in_(names)) if names else sa.update(DeviceRow)
            session.execute(wanted.values(last_seen=self.now - seconds, presence_online=False))

    def standing(self) -> list[AlertView]:
        with self.boards.db.read() as session:
            return standing_alerts(session, self.now, link="https://f")

    def rows(self, kind: Any) -> list[Any]:
        with self.boards.db.read() as session:
            return list(session.scalars(sa.select(kind)))

    def measure(self, device: str, **values: float) -> None:
        at = time.time()
        gauges = Gauges(start=at - 60, end=at, values=values)
        batch = Batch(schema=1, device=device, epoch="o", items=[Item(next(_NUMBERS), gauges=gauges)])
        self.boards.take(Message("telemetry", device, codec.canonical_json(batch), "mqtt"))


_NUMBERS = iter(range(1, 10_000))


@pytest.fixture
def world(site: Path) -> Iterator[World]:
    with direct(site) as boards:
        yield World(boards, boards.controller._lead)


def offline(world: World) -> None:
    world.boards.add("pi-1")
    world.heard_before(2000)
    assert len(world.look()) == 1
