"""What is wrong, and from when on: rules that know no database and no clock."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from edgelift_contract.report import Degradation
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.decide import Key, StandingTrouble, advance
from edgelift_fleet.alerts.judge import (
    DeviceLook,
    FleetLook,
    JudgedFleet,
    ReceiverLook,
    RolloutStanding,
    Trouble,
    bounds,
    judge,
    judge_device,
    judge_readings,
)
from edgelift_fleet.alerts.kinds import KINDS, TROUBLES

pytestmark = pytest.mark.fleet

NOW = 1_795_000_000.0
RULES = AlertSettings()
DAY = 86_400.0


def found(*devices: DeviceLook, listening_since: float = 0.0, now: float = NOW) -> list[tuple[str, str]]:
    judged = judge(FleetLook(devices=devices, listening_since=listening_since), RULES, now)
    return [(one.code, one.subject) for one in judged.troubles]


def there(**values: float) -> DeviceLook:
    return DeviceLook("pi-1", True, NOW, NOW - 200, values)


def of_rollout(state: str, changed_at: float = NOW, **more: object) -> list[str]:
    look = FleetLook(rollouts=[RolloutStanding("r7", "digits@2", state, "Its reason.", changed_at, **more)])
    return [one.code for one in judge(look, RULES, NOW).troubles]


def test_a_board_is_silent_after_its_time_and_not_while_nobody_could_be_heard() -> None:
    silent = DeviceLook("pi-1", False, NOW - 900)
    assert found(silent) == [("offline", "pi-1")]
    assert found(silent._replace(heard_at=NOW - 899)) == []
    assert found(silent._replace(there=True)) == []  # its broker connection stands
    assert found(silent, listening_since=NOW - 10) == []
    assert found(silent, listening_since=NOW - 10, now=NOW + 890) == [("offline", "pi-1")]
    (trouble,) = judge(FleetLook(devices=[silent]), RULES, NOW).troubles
    assert trouble.since == NOW - 900


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ({"soc_temp_c": 80.0}, ["hot"]), ({"soc_temp_c": 79.9}, []), ({"cpu_temp_c": 95.0}, ["hot"]),
        ({"throttled": 1.0}, ["throttled"]), ({"throttled": 0.0, "throttled_since_boot": 1.0}, []),
        ({"under_voltage": 1.0}, ["under-voltage"]), ({"disk_free_bytes": 500e6}, ["disk-low"]),
        ({"disk_free_bytes": 600e6}, []), ({"disk_free_bytes": 0.0}, ["disk-low"]), ({"cpu_pct": 100.0}, []),
        ({"cpu_temp_c": 40.0, "gpu_temp_c": 91.0}, ["hot"]), ({"frequency_capped": 1.0}, ["throttled"]),
        ({"soft_temp_limit": 1.0}, ["throttled"]), ({"under_voltage": 1.0, "soc_temp_c": 85.0}, ["under-voltage", "hot"]),
    ],
)  # fmt: skip
def test_what_a_board_measures(values: dict[str, float], codes: list[str]) -> None:
    assert [code for code, _ in found(there(**values))] == codes
    assert found(there(**values)._replace(readings_at=NOW - 4000)) == []  # too old to say anything of now
    assert found(there(**values)._replace(there=False, heard_at=NOW - 60)) == []


def test_a_site_has_bounds_of_its_own() -> None:
    rules = replace(RULES, hot_c=60.0, disk_low_bytes=2_000_000_000)
    assert judge_readings({"soc_temp_c": 61.0, "disk_free_bytes": 1.5e9}, rules) == {
        "hot": "61 °C", "disk-low": "1,500 MB free",
    }  # fmt: skip
    assert bounds(rules) == {"hot": "60 °C or more", "disk-low": "less than 2,000 MB free"}
    assert bounds(rules).keys() <= KINDS.keys() and judge_readings({}, rules) == {}


def test_nothing_is_wrong_with_a_board_that_was_taken_out() -> None:
    silent = DeviceLook("pi-1", False, NOW - 9000, ends_at=NOW, made_at=NOW - DAY, doubled=True)
    assert [one.code for one in judge_device(silent, RULES, NOW)] == [
        "offline",
        "duplicate-device",
        "certificate-ends",
    ]
    assert judge_device(silent._replace(removed=True), RULES, NOW) == []


def test_what_is_offline_at_once_is_told_after_a_while() -> None:
    gone = DeviceLook("pi-1", False, NOW - 80)
    assert [(one.code, one.since) for one in judge_device(gone, RULES, NOW)] == [("offline", NOW - 80)]
    assert found(gone) == []


def test_every_kind_has_words_for_one_and_many() -> None:
    for code, kind in TROUBLES.items():
        assert kind.one and kind.todo and (kind.many or kind.about != "device"), code
        assert kind.tone in ("bad", "warn", "busy"), code
    assert TROUBLES.keys() - KINDS.keys() == {"faulty", "failing"}


def test_what_is_degraded_is_named_with_since_when() -> None:
    parts = [
        Degradation("journal", "disk-full", "No space.", NOW - 50),
        Degradation("clock", "clock-wrong", "", NOW + 1e6),
    ]
    judged = judge(FleetLook(devices=[there()._replace(degraded=parts)]), RULES, NOW)
    assert judged.troubles == [Trouble("degraded", "pi-1", NOW - 50, "journal: disk-full; clock: clock-wrong")]


def test_a_certificate_ends_soon_by_its_own_length() -> None:
    look = there()._replace(made_at=NOW - 80 * DAY, ends_at=NOW + 6 * DAY)
    assert found(look) == [("certificate-ends", "pi-1")]
    assert found(look._replace(ends_at=NOW + 8 * DAY)) == []
    assert found(look._replace(made_at=NOW, ends_at=NOW + DAY)) == []  # of a day, fresh
    assert found(look._replace(made_at=NOW - 0.8 * DAY, ends_at=NOW + 0.2 * DAY)) == [("certificate-ends", "pi-1")]
    assert found(look._replace(ends_at=0.0)) == []


def test_rollouts_that_wait_for_a_person() -> None:
    assert of_rollout("running") == of_rollout("scheduled") == []
    assert of_rollout("running", awaits=2) == ["needs-approval"]
    assert of_rollout("paused", awaits=2) == ["rollout-paused"]
    assert of_rollout("paused", by_person=True) == of_rollout("rolling-back", by_person=True) == []
    assert of_rollout("paused", breach="latency p95 +31 %") == ["gate-breach"]
    assert of_rollout("rolling-back", breach="latency p95 +31 %") == ["gate-breach"]
    assert of_rollout("rolled-back", breach="latency p95 +31 %") == ["gate-breach"]
    assert of_rollout("rolling-back") == of_rollout("wave-rolled-back") == ["rolled-back"]
    assert of_rollout("rolled-back", NOW - 4000) == []  # told, and nobody's to do any more


def test_a_receiver_that_takes_nothing() -> None:
    def codes(waiting_since: float, given_up_at: float) -> list[str]:
        look = FleetLook(receivers=[ReceiverLook("ops", waiting_since, given_up_at, "HTTP 500")])
        return [one.code for one in judge(look, RULES, NOW).troubles]

    assert codes(NOW - 3600, 0.0) == codes(0.0, NOW - 10) == ["receiver-failing"]
    assert codes(NOW - 60, 0.0) == codes(0.0, NOW - 90_000) == []


def steps(*found_at: tuple[float, bool], code: str = "hot", unheard: tuple[float, ...] = ()) -> list[str]:
    """The states through which a trouble goes that is found, or not, at these seconds."""
    before: dict[Key, StandingTrouble] = {}
    states = []
    for at, is_found in found_at:
        trouble = [Trouble(code, "pi-1", NOW + at, f"at {at:g}")] if is_found else []
        judged = JudgedFleet(trouble, frozenset({"pi-1"} if at in unheard else ()))
        before = advance(before, judged, RULES, NOW + at)
        states.append(before[code, "pi-1"].state if before else "")
    return states


def test_what_holds_begins_and_what_is_gone_for_as_long_ends() -> None:
    assert steps((0, True), (599, True), (600, True), (601, False), (1200, False), (1201, False)) == [
        "pending", "pending", "firing", "ending", "ending", "",
    ]  # fmt: skip
    assert steps((0, True), (1, False), (600, True)) == ["pending", "", "pending"]
    assert steps((0, True), code="offline") == ["firing"]
    assert steps((0, True), (1, False), code="needs-approval") == ["firing", ""]


def test_what_flaps_goes_on_firing() -> None:
    flapping = [(600.0 + 60 * n, bool(n % 2)) for n in range(40)]
    states = steps((0, True), (600, True), *flapping[1:])
    assert set(states[1:]) == {"firing", "ending"}


def test_a_silent_board_ends_nothing_that_it_said() -> None:
    seen = steps(
        (0, True), (600, True), (700, False), (9000, False), (9001, False), (9601, False), unheard=(700, 9000)
    )
    assert seen == ["pending", "firing", "firing", "firing", "ending", ""]
    assert steps((0, True), (5, False), (605, False), code="offline", unheard=(5,)) == ["firing", "ending", ""]


def test_a_clock_that_goes_back_makes_no_trouble_wait_for_ever() -> None:
    assert steps((0, True), (-100_000, True), (-99_400, True)) == ["pending", "pending", "firing"]
    ending = steps((0, True), (600, True), (700, False), (-100_000, False), (-99_400, False))
    assert ending == ["pending", "firing", "ending", "ending", ""]


def test_a_figure_that_changes_all_the_time_is_not_written_anew() -> None:
    before: dict[Key, StandingTrouble] = {}
    for at in (0, 600, 615):
        before = advance(before, JudgedFleet([Trouble("hot", "pi-1", NOW, f"{at} °C")]), RULES, NOW + at)
    assert before["hot", "pi-1"].text == "600 °C"


def test_the_page_has_every_alert_with_what_to_do() -> None:
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    for code, kind in KINDS.items():
        assert f"| {kind.severity} |" in rows[code] and rows[code].endswith(f"| {kind.todo} |"), code


def test_the_page_has_every_setting() -> None:
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text()
    for name in set(AlertSettings.__struct_fields__) - {"receivers"}:
        assert f"`{name}`" in page, name
