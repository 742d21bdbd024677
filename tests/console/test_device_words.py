"""What a device will do next, what it can go back to and what became of it, in words."""

from __future__ import annotations

import math
from datetime import timezone
from zoneinfo import ZoneInfo

import pytest

from edgelift_contract.assignment import Policy
from edgelift_contract.report import UpdateReport
from edgelift_fleet.console.device.going_back import before
from edgelift_fleet.console.device.next_words import Ahead, moment, next_of
from edgelift_fleet.console.device.past_words import ended, goldens
from edgelift_fleet.console.device.reading import span_of
from edgelift_fleet.console.device.timeline import boots, spans
from edgelift_fleet.messages import Desired, GaugeStep, GaugeValue, HistoryEntry, SlotSummary

NOW = 1764300000.0  # 2025-11-28 03:20 UTC
ONE, TWO = "1" * 64, "2" * 64


def wants(artifact: str, version: str, rollout: str = "") -> Desired:
    return Desired("digits", version, artifact, rollout, Policy())


def slot(
    desired: Desired | None = None, update: UpdateReport | None = None, state: str = "serving", artifact: str = ONE
) -> SlotSummary:
    return SlotSummary(
        "digits", state, 1, "digits" if artifact else "", "1" if artifact else "", artifact, 5.0, desired, update
    )


def tried(outcome: str, phase: str = "idle", **more: object) -> UpdateReport:
    return UpdateReport(TWO, "digits", "2", outcome=outcome, phase=phase, **more)


def said(one: SlotSummary, *ahead: Ahead, online: bool = True) -> str:
    return next_of(one, online=online, ahead=ahead, zone=timezone.utc, now=NOW)


@pytest.mark.parametrize(
    ("one", "online", "words"),
    [
        (slot(wants(ONE, "1")), True, "Nothing: it runs what it should."),
        (slot(wants(TWO, "2")), True, "Fetches digits@2: it hears of it within moments over MQTT"),
        (slot(wants(TWO, "2")), False, "Fetches digits@2 once it is back."),
        (slot(wants(TWO, "2"), tried("refused", code="golden-mismatch")), True,
         "Nothing until somebody assigns it again: it tried digits@2 once and gave it up (golden-mismatch). digits@1"),
        (slot(wants(TWO, "2", "r7"), tried("rolled-back", code="errors", attempts=2)), True,
         "Nothing until the rollout r7 says so: it tried digits@2 2 times"),
        (slot(wants(TWO, "2"), tried("in-progress", "preflight")), True, "Runs the goldens of digits@2 now"),
        (slot(wants(TWO, "2"), tried("in-progress", "observing")), False, "It was not there to tell since."),
        (slot(None), True, "Empties the slot: nothing is assigned to it."),
        (slot(None), False, "Empties the slot: nothing is assigned to it, once it is back."),
        (slot(None, artifact="", state="empty"), True, "Nothing: nothing is assigned."),
        (slot(wants(TWO, "2"), state="pinned"), True, "edgelift-agent unpin digits"),
    ],
)  # fmt: skip
def test_what_it_will_do_next(one: SlotSummary, online: bool, words: str) -> None:
    assert words in said(one, online=online)


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (Ahead("r3", "digits@2", "digits", "running", wave=2, waves=3), "its wave of the rollout r3 comes (wave 2 of 3"),
        (Ahead("r3", "digits@2", "digits", "running", opens_at=NOW + 3600), "when its window opens at 04:20 (UTC), from"),
        (Ahead("r3", "digits@2", "digits", "running", opens_at=math.inf), "its window never opens long enough"),
        (Ahead("r3", "digits@2", "digits", "paused", "Somebody is at lunch."), "it is paused. Somebody is at lunch."),
        (Ahead("r3", "digits@2", "digits", "scheduled", starts_at=NOW + 90000), "begins at 04:20 on 29 November (UTC)"),
        (Ahead("r3", "digits@2", "digits", "rolling-back"), "the rollout r3 is taking digits@2 back"),
        (Ahead("r3", "digits@1", "digits", "running"), "Nothing: it runs what it should."),
        (Ahead("r3", "digits@2", "other", "running"), "Nothing: it runs what it should."),
        (Ahead("r3", "digits@2", "digits", "running", status="failed"), "Nothing: it runs what it should."),
    ],
)  # fmt: skip
def test_what_a_rollout_will_bring(ahead: Ahead, words: str) -> None:
    assert words in said(slot(wants(ONE, "1")), ahead)


def test_a_moment_is_that_of_the_boards_own_wall() -> None:
    assert moment(NOW, ZoneInfo("Europe/Vienna"), NOW) == "at 04:20 (Europe/Vienna)"


def entry(artifact: str, version: str, outcome: str = "committed") -> HistoryEntry:
    return HistoryEntry("digits", 1.0, 2.0, UpdateReport(artifact, "digits", version, outcome=outcome))


def test_the_way_back_is_what_it_ran_just_before() -> None:
    kept = [entry(ONE, "1"), entry("3" * 64, "3", "refused"), entry(TWO, "2"), entry("0" * 64, "0")]
    assert before(slot(wants(ONE, "1")), kept) == ("digits@2", "")
    assert before(slot(wants(ONE, "1")), kept[:2]) == ("", "It has run nothing else before.")
    assert before(slot(wants(TWO, "2")), kept) == ("digits@1", "")  # it gives up what it could not take
    assert "unpin digits" in before(slot(state="pinned"), kept)[1]
    assert before(slot(artifact="", state="empty"), [])[0] == ""


@pytest.mark.parametrize(
    ("update", "words", "tone"),
    [(None, "It has never been updated.", "none"),
     (tried("committed", requests=1200), "kept after its probation of 1,200 requests, none failed.", "committed"),
     (tried("refused", code="golden-mismatch", message="Off by 0.3."),
      "digits@2 was refused before it served (golden-mismatch): Off by 0.3.",
      "refused"),
     (tried("rolled-back", code="errors", requests=9, errors=4),
      "digits@2 served 9 requests, 4 of them failed, and was taken back (errors).", "rolled-back"),
     (tried("in-progress", "fetching"), "digits@2 is under way (fetching).", "updating")],
)  # fmt: skip
def test_how_an_update_ended(update: UpdateReport | None, words: str, tone: str) -> None:
    text, found = ended(update)
    assert words in text and found == tone


def test_goldens_are_told_of_what_serves_alone() -> None:
    assert goldens("digits", "", None, []) == ""
    assert goldens("digits", TWO, tried("committed"), []).startswith("All passed on this board")
    assert "no longer kept" in goldens("digits", ONE, tried("refused"), [])


@pytest.mark.parametrize(
    ("wanted", "age_s", "span"),
    [
        ("", 60, "1h"),
        ("", 7000, "6h"),
        ("", 1e6, "24h"),
        ("7d", 60, "7d"),
        ("nonsense", 1e6, "24h"),
        ("1H", 1e6, "24h"),
    ],
)
def test_a_span_is_as_it_is_asked_for_or_as_old_as_the_device(wanted: str, age_s: float, span: str) -> None:
    assert span_of(wanted, NOW - age_s, NOW) == span


def step(number: int, **values: float) -> GaugeStep:
    return GaugeStep(60.0 * number, 60.0 * (number + 1), {name: GaugeValue(v, v, v) for name, v in values.items()})


def test_a_restart_of_the_board_is_told_once() -> None:
    assert boots([step(n, uptime_s=1000 + 60 * n) for n in range(9)]) == []
    ups = [
        *(step(n, uptime_s=1000 + 60 * n) for n in range(4)),
        *(step(n, uptime_s=20 + 60 * (n - 6)) for n in range(6, 12)),
    ]
    assert boots(ups) == [360.0]
    assert boots([step(0), step(1, uptime_s=5.0)]) == []


def test_stretches_that_touch_are_one() -> None:
    steps = [step(n, throttled=float(n in (2, 3, 7))) for n in range(9)]
    assert spans(steps, ("throttled",)) == [(120.0, 240.0), (420.0, 480.0)]
    assert spans([step(1, cpu_pct=3.0)], ("throttled",)) == []
