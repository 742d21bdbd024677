"""What is wrong is judged by one rule: front page, device's page, alerts and metrics can't say different things."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from edgelift_contract import codec
from edgelift_contract.report import Degradation, Report
from edgelift_contract.telemetry import Batch, Gauges, Item
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.kinds import KINDS, TROUBLES
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.console.words import sign
from edgelift_fleet.db import SITE
from edgelift_fleet.identity.identities import REMOVED
from edgelift_fleet.intake import Message
from edgelift_fleet.metrics.gather import gather
from edgelift_fleet.needs import TroubleWatch
from edgelift_fleet.site import load_site, write_config
from edgelift_fleet.tables import DeviceRow, IdentityRow
from tests.console.visiting import Visitor, visiting
from tests.fleet.direct import counted

#: A site that is stricter than most: what it says of itself must hold everywhere.
RULES = AlertSettings(hot_c=60.0, disk_low_bytes=2_000_000_000, begins_after_s=0.0, gather_s=0.0, silent_for_s=0.0)
DAY = 86_400.0


@pytest.fixture
def strict(site: Path) -> Iterator[Visitor]:
    write_config(site, replace(load_site(site).config, alerts=RULES))
    with visiting(site) as visitor:
        yield visitor


def ail(visitor: Visitor) -> None:
    """Everything that a board can have, a board each; `pi-well` has nothing."""
    visitor.boards.add("pi-away", "pi-broken", "pi-ends", "pi-hot", "pi-well")
    now = time.time()
    for name, values in {
        "pi-hot": {
            "soc_temp_c": 50.0, "gpu_temp_c": 61.0, "frequency_capped": 1.0, "under_voltage": 1.0, "disk_free_bytes": 1.5e9,
        },
        "pi-well": {"soc_temp_c": 59.9, "disk_free_bytes": 3e9, "throttled": 0.0},
    }.items():  # fmt: skip
        batch = Batch(
            schema=1,
            device=name,
            epoch="o",
            items=[Item(1, gauges=Gauges(start=now - 60, end=now, values=values))],
        )
        visitor.boards.take(Message("telemetry", name, codec.canonical_json(batch), "mqtt"))
    part = Degradation("journal", "disk-full", "There is no space.", now - 500)
    report = Report(
        schema=1, device="pi-broken", epoch="e", sequence=99, at=now, agent_version="x", degraded=[part]
    )
    visitor.boards.take(Message("report", "pi-broken", codec.canonical_json(report), "mqtt"))
    with visitor.boards.db.write(SITE) as session:
        session.add(
            IdentityRow(
                serial="s",
                device="pi-ends",
                public_key="k",
                issued_at=now - 80 * DAY,
                not_after=now + 3 * DAY,
                number=1,
            )
        )
    visitor.boards.go("pi-away")


def look(visitor: Visitor) -> None:
    around = Around(
        visitor.boards.db, visitor.boards.controller._lead, visitor.boards.seen, "farm", lambda: "", list
    )
    Rounds(around, visitor.fleet.site.config.alerts, []).look(time.time() + 1)  # what begins at once has begun
    Rounds(around, visitor.fleet.site.config.alerts, []).look(time.time() + 2)


def test_the_front_page_a_devices_page_and_the_alerts_say_the_same(strict: Visitor) -> None:
    ail(strict)
    look(strict)
    needs = {one["code"]: one for one in strict.data("/")["needs"]}
    alerts = {one["alert"]["code"]: one["alert"] for one in strict.data("/alerts")["standing"]}
    assert needs.keys() == alerts.keys() == {
        "offline", "under-voltage", "hot", "throttled", "disk-low", "degraded", "certificate-ends",
    }  # fmt: skip
    for code, need in needs.items():
        (one,) = alerts[code]["subjects"]
        if code == "degraded":  # each part has a card of its own there
            continue
        assert need["first"] == [one["name"]] and need["detail"] == one["text"], code
        assert (need["what"], need["do"]) == (KINDS[code].one, alerts[code]["todo"]), code
        ailment = next(it for it in strict.data(f"/devices/{one['name']}")["ailments"] if it["code"] == code)
        assert (ailment["what"], ailment["detail"], ailment["tone"]) == (
            need["what"],
            need["detail"],
            need["tone"],
        )
        assert ailment["since"] == pytest.approx(one["since"]) and need["since"] == ailment["since"], code
    assert (needs["hot"]["detail"], needs["hot"]["bound"]) == ("61 °C", "60 °C or more")
    assert (needs["disk-low"]["detail"], needs["disk-low"]["bound"]) == (
        "1,500 MB free",
        "less than 2,000 MB free",
    )
    assert strict.data("/devices/pi-well")["ailments"] == []
    lines = {one["device"]: one["troubles"] for one in strict.data("/")["devices"]}
    assert lines["pi-hot"] == ["under-voltage", "hot", "throttled", "disk-low"] and lines["pi-well"] == []


def test_the_metrics_put_first_what_the_rule_finds(strict: Visitor) -> None:
    ail(strict)
    with strict.boards.db.read() as session:
        seen, now = strict.boards.seen, time.time()
        first = [one.device for one in gather(session, seen, 4, RULES, now).devices]
        usual = [one.device for one in gather(session, seen, 4, AlertSettings(), now).devices]
    assert first == ["pi-hot", "pi-broken", "pi-ends", "pi-away"] == usual  # by its voltage in any case
    with strict.boards.db.read() as session:
        hot = next(one for one in gather(session, seen, 5, RULES, now).devices if one.device == "pi-hot")
    assert hot.gauges["gpu_temp_c"] == 61.0


def test_a_board_that_was_taken_out_needs_nobody(strict: Visitor) -> None:
    ail(strict)
    with strict.boards.db.write(SITE) as session:
        row = IdentityRow(
            serial="r", device="pi-away", public_key="k", issued_at=1.0, not_after=2.0, revoked_at=3.0, why=REMOVED,
            number=2,
        )  # fmt: skip
        session.add(row)
    data = strict.data("/")
    assert "offline" not in [one["code"] for one in data["needs"]]
    assert (data["all"]["total"], data["all"]["online"]) == (5, 4)
    away = next(one for one in data["devices"] if one["device"] == "pi-away")
    assert (away["state"], away["troubles"]) == ("offline", [])
    assert strict.data("/devices/pi-away")["ailments"] == []


def test_a_look_costs_the_same_number_of_statements_whatever_the_fleet(strict: Visitor) -> None:
    ail(strict)
    watch, numbers = TroubleWatch(RULES), []
    for at in (0.0, 10.0):
        with counted(strict.boards.db) as statements, strict.boards.db.read() as session:
            watch.look(session, strict.boards.seen, time.time() + at)
        numbers.append(len(statements))
        strict.boards.add(*(f"more-{n}" for n in range(40)))
    assert numbers[0] >= numbers[1] and numbers[0] < 25


def test_what_was_read_before_is_read_anew_once_it_has_changed(strict: Visitor) -> None:
    ail(strict)
    watch = TroubleWatch(RULES)

    def codes(at: float) -> set[str]:
        with strict.boards.db.read() as session:
            return {one.code for one in watch.look(session, strict.boards.seen, time.time() + at).needs()}

    assert {"hot", "certificate-ends", "degraded", "offline"} <= codes(0.0)
    with strict.boards.db.write(SITE) as session:
        session.execute(sa.update(IdentityRow).values(not_after=time.time() + 60 * DAY, number=7))
        session.execute(sa.update(DeviceRow).values(degraded=""))
    now = time.time()
    cool = Gauges(start=now, end=now + 1, values={"soc_temp_c": 40.0})
    batch = Batch(schema=1, device="pi-hot", epoch="o", items=[Item(2, gauges=cool)])
    strict.boards.take(Message("telemetry", "pi-hot", codec.canonical_json(batch), "mqtt"))
    strict.boards.come("pi-away")
    assert codes(5.0) == set()


def test_every_kind_has_its_sign() -> None:
    of_boards = {code: kind for code, kind in TROUBLES.items() if kind.about == "device"}
    assert sign("offline").tone == "quiet"  # it is also a state, of nobody's trouble
    assert {code: sign(code).tone for code in of_boards if code != "offline"} == {
        code: kind.tone for code, kind in of_boards.items() if code != "offline"
    }
