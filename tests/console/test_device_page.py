"""A device's page: what ails it, what it runs, its timeline and identity; going back, and asking for its logs."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.errors import CODES, ContractError
from edgelift_contract.report import Degradation, DeviceFacts
from edgelift_contract.telemetry import DeviceEvent, Gauges, SwapRecord, Window
from edgelift_fleet.console.pages.device_page import ask_for_bundle, go_back
from edgelift_fleet.db import SITE
from edgelift_fleet.intake import Message
from edgelift_fleet.messages.identity import TokenRequest
from edgelift_fleet.retiring import retire
from edgelift_fleet.tables import AssignmentRow, DeviceRow, IdentityRow
from tests.console.visiting import Visitor
from tests.fleet.direct import FACTS, ready
from tests.fleet.telemetry.conftest import batch, window

_sequence = itertools.count(1)


def tell(visitor: Visitor, device: str, *bodies: Window | Gauges | SwapRecord | DeviceEvent) -> None:
    made = batch(device, {next(_sequence): body for body in bodies})
    visitor.boards.take(Message("telemetry", device, codec.canonical_json(made), "mqtt"))


def upgraded(visitor: Visitor, device: str = "pi-1") -> str:
    """A device that ran digits@1 and serves digits@2; the id of the artifact."""
    ready(visitor.boards, device)
    visitor.boards.assignments.assign(device, "digits@2")
    visitor.boards.answer(device)
    return visitor.boards.slots[device].artifact


def gauges(ago_s: float, **values: float) -> Gauges:
    at = time.time() - ago_s
    return Gauges(start=at, end=at + 60, values=values)


def test_a_device_that_runs_nothing_says_what_to_do(visitor: Visitor) -> None:
    visitor.boards.add("pi-1", hall="2")
    words = visitor.words("/devices/pi-1")
    assert "edgelift assign MODEL@VERSION --device pi-1" in words and "Nothing came in this time." in words
    assert "hall =2" in words or "hall=2" in words
    page = visitor.page("/devices/pi-1")
    assert 'aria-current="true">1 hour' in page  # it is that young
    assert '<a href="/" aria-current="page">Fleet</a>' in page


def test_its_slot_says_what_it_runs_will_do_and_can_go_back_to(visitor: Visitor) -> None:
    upgraded(visitor)
    card = visitor.data("/devices/pi-1")["slots"][0]
    assert (card["running"], card["wanted"], card["next"]) == (
        "digits@2",
        "digits@2",
        "Nothing: it runs what it should.",
    )
    assert card["back"] == {"release": "digits@1", "refused": ""} and card["goldens"].startswith("All passed")
    words = visitor.words("/devices/pi-1")
    assert "digits@2 was kept after its probation." in words and "Go back to digits@1" in words


def test_it_goes_back_and_the_log_says_why(visitor: Visitor) -> None:
    upgraded(visitor)
    sent = visitor.send("/devices/pi-1/back", slot="digits", release="digits@1", why="It takes sevens for ones")
    assert sent.status_code == 303 and sent.headers["location"] == "/devices/pi-1"
    wanted = visitor.boards.wanted("pi-1")["pi-1"].slots["digits"]
    assert wanted.version == "1" and wanted.policy.allow_older
    assert "Fetches digits@1" in visitor.words("/devices/pi-1")
    assert visitor.data("/audit")["entries"][0]["why"] == "It takes sevens for ones"


def test_who_may_not_change_it_is_offered_nothing_and_refused(visitor: Visitor) -> None:
    artifact = upgraded(visitor)
    visitor.become("viewer")
    page = visitor.page("/devices/pi-1")
    assert "/devices/pi-1/back" not in page and "An operator can have it go back to digits@1." in page
    refused = visitor.send("/devices/pi-1/back", slot="digits", release="digits@1", why="I want to")
    assert (
        refused.status_code == 403 and visitor.boards.wanted("pi-1")["pi-1"].slots["digits"].artifact == artifact
    )


def test_a_version_that_is_retired_is_not_offered_and_it_says_why(visitor: Visitor) -> None:
    upgraded(visitor)
    with visitor.boards.db.write(SITE) as session:
        retire(session, "digits@1", "It leaks")
    back = visitor.data("/devices/pi-1")["slots"][0]["back"]
    assert back["release"] == "digits@1" and back["refused"].startswith("digits@1 is retired: It leaks.")
    assert "/devices/pi-1/back" not in visitor.page("/devices/pi-1")


def test_what_it_could_not_take_is_told_first(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1")
    visitor.boards.assignments.assign("pi-1", "digits@2")
    visitor.boards.answer("pi-1", outcome="refused")
    data = visitor.data("/devices/pi-1")
    assert [one["code"] for one in data["ailments"]] == ["failing"]
    assert "golden-mismatch" in data["ailments"][0]["detail"] and "golden-mismatch" in data["slots"][0]["next"]
    assert "Keep digits@1" in visitor.words("/devices/pi-1")
    visitor.boards.go("pi-1")
    assert [one["code"] for one in visitor.data("/devices/pi-1")["ailments"]] == ["failing", "offline"]


def test_what_it_says_is_degraded_is_told_with_what_to_do(visitor: Visitor) -> None:
    visitor.boards.add("pi-1")
    parts = [
        Degradation("journal", "disk-full", "There is no space. Free some.", time.time() - 3700),
        Degradation("clock", "clock-wrong"), Degradation("<b>x", "of-a-newer-agent"),
    ]  # fmt: skip
    with visitor.boards.db.write(SITE) as session:
        row = session.get(DeviceRow, "pi-1")
        assert row is not None
        row.degraded = codec.canonical_json(parts).decode()
    words, page = visitor.words("/devices/pi-1"), visitor.page("/devices/pi-1")
    assert "degraded It is degraded: journal, disk-full. since 1 h ago There is no space. Free some." in words
    assert CODES["clock-wrong"] in words and "edgelift-agent doctor" in words and "<b>x" not in page
    found = [one for one in visitor.data("/devices/pi-1")["ailments"] if one["code"] == "degraded"]
    assert [bool(one["since"]) for one in found] == [True, False, False]
    assert visitor.data("/devices/pi-1")["detail"]["degraded"][0]["code"] == "disk-full"


def test_a_rollout_that_will_reach_it_is_told(visitor: Visitor) -> None:
    ready(visitor.boards, "pi-1", "pi-2")
    rollout = visitor.boards.start("digits@2", "1,100%", soak_s=3600.0)
    visitor.boards.look(2)
    visitor.boards.answer("pi-1", "pi-2")
    visitor.boards.look(2)
    later = next(name for name in ("pi-1", "pi-2") if visitor.boards.slots[name].version == "1")
    said = visitor.data(f"/devices/{later}")["slots"][0]["next"]
    assert said == f"Gets digits@2 when its wave of the rollout {rollout} comes (wave 1 of 2 is under way)."


def test_its_timeline_has_its_marks_and_its_numbers(visitor: Visitor) -> None:
    artifact, now = upgraded(visitor), time.time()
    served = [
        window(now - 60 * n, [20000.0] * 50, version="2", artifact=artifact, errors=1, throttled=n < 3)
        for n in range(1, 9)
    ]
    tell(
        visitor, "pi-1", *served, gauges(120, soc_temp_c=83.5, throttled=1.0, cpu_freq_mhz=1000.0, under_voltage=1.0),
        SwapRecord(at=now - 300, slot="digits", generation_from=1, generation_to=2, version_from="1", version_to="2",
                   artifact_to=artifact, preflight_ms=640.0, golden_max_error=2.5e-6),
        DeviceEvent(at=now - 200, kind="drain-timeout", slot="digits", code="drain-timeout", message="3 did not end."),
    )  # fmt: skip
    page, data = visitor.page("/devices/pi-1"), visitor.data("/devices/pi-1")
    for word in ("→ @2", "▲ throttled", "▲ under-voltage", "8 of 408 requests", ">hot<", "1 GHz"):
        assert word in page, word
    assert "83.5 °C" in page and "under-voltage" in page and page.count('role="img"') == 2
    assert [one["code"] for one in data["ailments"]] == ["under-voltage", "hot", "throttled"]
    assert {one["what"] for one in data["history"]} == {"swapped", "drain-timeout", "committed", "enrolled"}
    assert "the largest difference was 2.5e-06" in data["slots"][0]["goldens"]


def test_any_span_can_be_asked_for(visitor: Visitor) -> None:
    artifact = upgraded(visitor)
    tell(visitor, "pi-1", window(time.time() - 90, [20000.0] * 50, version="2", artifact=artifact))
    for span in ("1h", "6h", "24h", "7d", "30d", "", "nonsense", "<script>"):
        page = visitor.page(f"/devices/pi-1?range={span}&slot=none-such")
        assert "<polyline" in page or "<circle" in page, span
        assert "<script>" not in page.partition("<main")[2] and " style=" not in page, span


def test_its_identity_and_the_token_that_it_came_by(visitor: Visitor) -> None:
    visitor.boards.add("pi-1")
    made = visitor.fleet.identities.make_token(TokenRequest(note="The hall's"), "https://here")
    now = time.time()
    with visitor.boards.db.write(SITE) as session:
        session.add(IdentityRow(serial="ab12", device="pi-1", public_key="k", issued_at=now, not_after=now + 86400 * 30,
                                token=made.id, shown_at=now, succeeded_by="cd34", number=1))  # fmt: skip
        session.add(IdentityRow(serial="cd34", device="pi-1", public_key="k", issued_at=now, not_after=now + 86400 * 60,
                                shown_at=now, number=2))  # fmt: skip
    words, data = visitor.words("/devices/pi-1"), visitor.data("/devices/pi-1")
    assert f"by the token {made.id} (The hall's)" in words and "cd34" in words and "ends in" in words
    assert data["detail"]["identity"]["serial"] == "cd34" and data["token"]["id"] == made.id


def test_its_logs_are_asked_for_with_the_reason(visitor: Visitor) -> None:
    able = DeviceFacts(FACTS.hardware_class, FACTS.accepts, FACTS.runtimes, abilities=["bundle"])
    visitor.boards.add("pi-1", facts=able)
    visitor.boards.add("pi-2")
    sent = visitor.send("/devices/pi-1/bundles", why="It got slow at noon")
    assert sent.status_code == 303 and sent.headers["location"] == "/devices/pi-1#logs"
    words = visitor.words("/devices/pi-1")
    assert "waiting" in words and "It got slow at noon" in words
    assert "update edgelift on the board" in visitor.words("/devices/pi-2")
    assert visitor.send("/devices/pi-2/bundles", why="As well").status_code == 409


@pytest.mark.parametrize("order", [go_back, ask_for_bundle])
@pytest.mark.parametrize("why", ["", "  "])
def test_nothing_is_ordered_without_a_reason(order: Any, why: str) -> None:
    with pytest.raises(ContractError) as refused:
        order({"device": "pi-1"}, {"slot": "digits", "release": "digits@1", "why": why})
    assert refused.value.code == "malformed"


def test_an_order_names_the_device_alone() -> None:
    made = go_back({"device": "a/../b"}, {"slot": "digits", "release": "digits@1", "why": "x"})
    assert made.path == "/v1/devices/a%2F..%2Fb/assign" and made.then == "/devices/a%2F..%2Fb"


def test_a_device_that_is_not_there_is_told(visitor: Visitor) -> None:
    for path in ("/devices/none-such", "/devices/%3Cscript%3E", "/devices/A" + "a" * 300):
        answer = visitor.http.get(path, headers={"Accept": "text/html"})
        assert answer.status_code in (400, 404), path
        assert "<script>" not in answer.text.partition("<main")[2], path


def test_what_a_board_says_is_text(visitor: Visitor) -> None:
    hostile = DeviceFacts(
        FACTS.hardware_class, FACTS.accepts, {"onnxruntime": "<b>1"}, board="<script>alert(1)</script>"
    )
    visitor.boards.add("pi-1", facts=hostile, note="<img src=x>")
    tell(visitor, "pi-1", DeviceEvent(at=time.time(), kind="<i>", message="<script>alert(2)</script>"))
    page = visitor.page("/devices/pi-1")
    assert (
        "<script>alert" not in page and "<img src=x" not in page and "<i>" not in page and "&lt;script&gt;" in page
    )


def test_what_is_refreshed_holds_nothing_of_who_looks(visitor: Visitor) -> None:
    upgraded(visitor)
    part = visitor.http.get("/devices/pi-1?partial=1").text
    assert "<html" not in part and "token:" not in part and "digits@2" in part


def test_a_device_that_is_set_apart_says_so_and_is_given_nothing(visitor: Visitor) -> None:
    upgraded(visitor)
    for damage in ({"facts": "{"}, {"revision_seen": 2**62}):
        with visitor.boards.db.write(SITE) as session:
            session.execute(sa.update(DeviceRow).values(**damage))
        data = visitor.data("/devices/pi-1")
        assert "faulty" in [one["code"] for one in data["ailments"]] and data["slots"][0]["back"]["refused"]
        assert "edgelift device mend" in visitor.words("/devices/pi-1")
    with visitor.boards.db.write(SITE) as session:
        session.execute(sa.update(AssignmentRow).values(body="{"))
    assert "faulty" in [one["code"] for one in visitor.data("/devices/pi-1")["ailments"]]
