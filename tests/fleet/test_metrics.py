"""The fleet as metrics: what a scraper reads is what the API says, in sets, and bounded however large the fleet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from edgelift.device_commands import _show_device
from edgelift_contract.errors import CODES, TransportError
from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.db import ROWS, SITE
from edgelift_fleet.happened import ENDED, is_end, known_code
from edgelift_fleet.messages import DeviceDetail
from edgelift_fleet.metrics import kept
from edgelift_fleet.metrics.exposition import FRESH_S, FleetMetrics
from edgelift_fleet.metrics.gather import gather
from edgelift_fleet.metrics.lines import FamilyLines, Labels, written
from edgelift_fleet.tables import RolloutRow, TelemetryNewestRow
from edgelift_fleet.telemetry.gauges import pack_values
from tests.fleet.direct import counted
from tests.fleet.in_process import api_of
from tests.fleet.measured import HOT, Measured, measured
from tests.promtool import complaints

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Measured]:
    from tests.fleet.conftest import make_site

    with measured(make_site(tmp_path_factory.mktemp("measured") / "site", releases)) as made:
        yield made


def values(text: str) -> dict[tuple[str, ...], float]:
    """Name without its prefix, and the values of its labels → value."""
    return {
        (sample.name.removeprefix("edgelift_fleet_"), *(sample.labels[name] for name in sorted(sample.labels))):
        sample.value
        for family in plain(text)
        for sample in family.samples
    }  # fmt: skip


def exposed(fleet: Any, accept: str = "") -> str:
    return FleetMetrics(fleet).expose(accept)[0].decode()


def test_the_fleet_is_told_as_the_api_tells_it(whole: Measured) -> None:
    found, rollout = values(exposed(whole.api.fleet)), whole.rollout
    counts = whole.api.get("/v1/devices/counts")
    assert found["devices", "online"] == counts["online"] == 2
    assert found["devices", "offline"] == 1
    assert found["devices_failing",] == counts["failing"] == 1
    assert found["devices_by_class", "x86-64-avx2"] == 3
    assert {name[1:]: value for name, value in found.items() if name[0] == "slots_serving"} == {
        tuple(release.split("@")): number for release, number in counts["by_release"].items()
    }
    assert found["rollouts", whole.api.get(f"/v1/rollouts/{rollout}")["state"]] == 1
    assert found["rollout_awaits_person", "digits@2", rollout] == 1
    assert found["rollout_gate_breached", "digits@2", rollout] == 1
    assert found["rollout_devices", "digits@2", rollout, "committed"] == 1
    assert (found["gate_looks", "breach"], found["gate_looks", "passed"]) == (1, 0)
    assert (found["database_up",], found["broker_up",], found["inbox_messages",]) == (1, 0, 4)


def test_a_device_is_told_of_in_base_units(whole: Measured) -> None:
    found = values(exposed(whole.api.fleet))
    assert found["device_temperature_celsius", "pi-2"] == 84.5
    assert (found["device_online", "pi-2"], found["device_online", "pi-3"]) == (1, 0)
    assert ("device_failing", "pi-2") not in found and found["device_failing", "pi-3"] == 1
    assert found["device_latency_p50_seconds", "pi-2", "digits"] == pytest.approx(0.0005, rel=0.05)
    assert found["device_latency_p95_seconds", "pi-2", "digits"] == pytest.approx(0.002, rel=0.05)
    assert (
        found["device_recent_requests", "pi-2", "digits"],
        found["device_recent_errors", "pi-2", "digits"],
    ) == (
        100,
        3,
    )
    assert (
        found["device_certificate_end_timestamp_seconds", "pi-2"]
        > found["device_last_seen_timestamp_seconds", "pi-2"]
    )
    assert ("device_certificate_end_timestamp_seconds", "pi-1") not in found


def test_what_is_degraded_is_told_by_codes_that_are_known(whole: Measured) -> None:
    found = values(exposed(whole.api.fleet))
    told = {name for name in found if name[0] in ("devices_degraded", "device_degraded")}
    assert told == {
        ("devices_degraded", "disk-full"), ("devices_degraded", "other"),
        ("device_degraded", "disk-full", "pi-2"), ("device_degraded", "other", "pi-2"),
    }  # fmt: skip
    assert all(found[name] == 1 for name in told)


def test_device_show_says_it_too(whole: Measured, capsys: pytest.CaptureFixture[str]) -> None:
    _show_device(msgspec.convert(whole.api.get("/v1/devices/pi-2"), DeviceDetail))
    said = capsys.readouterr().out
    assert f"DEGRADED: journal: disk-full. {CODES['disk-full']}" in said and "edgelift-agent doctor" in said
    _show_device(msgspec.convert(whole.api.get("/v1/devices/pi-1"), DeviceDetail))
    assert "DEGRADED" not in capsys.readouterr().out


def test_a_rollout_waits_for_a_person_by_what_is_kept_not_by_its_words(whole: Measured) -> None:
    with whole.api.boards.db.write(SITE) as session:
        row = session.get(RolloutRow, int(whole.rollout.removeprefix("r")))
        assert row is not None and row.awaits == 2
        kept, row.reason, row.awaits = row.reason, "Other words.", 0
    key = ("rollout_awaits_person", "digits@2", whole.rollout)
    assert values(exposed(whole.api.fleet))[key] == 0
    with whole.api.boards.db.write(SITE) as session:
        row = session.get(RolloutRow, row.number)
        assert row is not None
        row.awaits = 2
    assert values(exposed(whole.api.fleet))[key] == 1
    with whole.api.boards.db.write(SITE) as session:
        row = session.get(RolloutRow, row.number)
        assert row is not None
        row.reason = kept


def test_the_worst_come_first_and_the_rest_is_counted(whole: Measured) -> None:
    site = whole.api.fleet.site
    told = []
    for most in (0, 1, 2):
        with whole.api.fleet.db.read() as session:
            stored = gather(session, whole.api.fleet.seen, most, AlertSettings(), 1.0)
        told.append([one.device for one in stored.devices])
        assert stored.left_out == 3 - most
    assert told == [[], ["pi-2"], ["pi-2", "pi-3"]]
    assert site.config.metrics_devices == 1000


def test_it_costs_the_same_statements_for_any_number_of_devices(whole: Measured) -> None:
    fleet, numbers = whole.api.fleet, []
    for most in (1, 1000):
        with counted(fleet.db) as statements, fleet.db.read() as session:
            gather(session, fleet.seen, most, AlertSettings(), 1.0)
        numbers.append(len(statements))
    assert numbers[0] == numbers[1] <= 30


def test_several_scrapers_cost_no_more_than_one(whole: Measured) -> None:
    clock = [0.0]
    metrics = FleetMetrics(whole.api.fleet, lambda: clock[0])
    first = metrics.expose("")
    with counted(whole.api.fleet.db) as statements:
        assert metrics.expose("") == first
        assert statements == []
        clock[0] = FRESH_S
        metrics.expose("")
        assert statements


def test_lines_are_read_as_they_were_meant_in_either_format() -> None:
    values = {'a"b\\c\nd': 0.1, "": float("inf"), "é": float("-inf"), "x": 1.7e18, "y": True, "z": float("nan")}
    family = FamilyLines("edgelift_fleet_device_x", "What it says.")
    for name, value in values.items():
        family.add(Labels(device=name, slot=name), value)
    text = written([family]).decode()
    for families in (plain(text), openmetrics(f"{text}# EOF\n")):
        (found,) = families
        assert (found.name, found.type, found.documentation) == (
            "edgelift_fleet_device_x",
            "gauge",
            "What it says.",
        )
        assert [s.labels for s in found.samples] == [{"device": name, "slot": name} for name in values]
        assert str([s.value for s in found.samples]) == str([float(value) for value in values.values()])


def test_latency_is_read_anew_in_time_and_not_all_at_once(
    whole: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    real = kept._served

    def counting(session: Any, devices: Any, now: float) -> Any:
        read.append(list(devices))
        return real(session, devices, now)

    monkeypatch.setattr(kept, "_served", counting)
    devices, service = [f"pi-{n}" for n in range(400)], kept.RecentService()
    at: dict[str, int] = {}
    with whole.api.fleet.db.read() as session:
        for now in range(0, 600, 30):
            found = service.of(session, devices, 1e6 + now)
            assert set(found) == set(devices)
            at |= dict.fromkeys(read.pop() if read else [], now)
            assert all(now - at[device] < kept.KEPT_S for device in devices)
            last = sum(began == now for began in at.values())
            assert now == 0 or 50 < last < 150
        assert set(service.of(session, ["pi-2"], 1e6 + 600)) == {"pi-2"}
        service.of(session, devices, 1e6 + 600)
        assert len(read.pop()) == len(devices) - 1  # whom nobody asked for is forgotten
        service.of(session, devices, 10.0)  # a clock that was set back
        assert len(read.pop()) == len(devices)


def test_only_gauges_that_are_newer_are_read(whole: Measured) -> None:
    gauges = kept.NewestGauges()
    with whole.api.fleet.db.read() as session:
        first = gauges.of(session)
    with counted(whole.api.fleet.db) as statements, whole.api.fleet.db.read() as session:
        assert gauges.of(session) == first and first["pi-2"]["soc_temp_c"] == 84.5
        assert len([one for one in statements if one != "BEGIN"]) == 1 and set(first["pi-2"]) <= set(kept.TOLD)
    with whole.api.boards.db.write(ROWS) as session:
        row = session.get(TelemetryNewestRow, "pi-2")
        assert row is not None
        row.at += 1
        row.body = pack_values(HOT | {"soc_temp_c": 60.0})
    with whole.api.fleet.db.read() as session:
        assert gauges.of(session)["pi-2"]["soc_temp_c"] == 60.0
    with whole.api.boards.db.write(ROWS) as session:
        row = session.get(TelemetryNewestRow, "pi-2")
        assert row is not None
        row.at, row.body = row.at + 1, pack_values(HOT)


def test_ends_of_updates_and_refusals_are_counted_once(whole: Measured) -> None:
    """Counted for the process: another test may have counted before."""
    before = values(exposed(whole.api.fleet))
    boards = whole.api.boards
    boards.say("pi-3")  # the same once more
    assert whole.api.refused("/v1/devices/nobody") == (404, "not-found")
    after = values(exposed(whole.api.fleet))
    key = ("updates_total", "golden-mismatch", "refused")
    assert after[key] == before[key] >= 1
    refused = ("requests_refused_total", "not-found", "operators")
    assert after[refused] == before.get(refused, 0) + 1
    assert (known_code(""), known_code("disk-full"), known_code("anything")) == ("", "disk-full", "other")
    assert is_end("committed", "in-progress") and not is_end("committed", "committed")
    assert not is_end("in-progress", "")
    assert all(known_code(code) == code or code == "other" for _, code in ENDED.counts())


def test_without_the_database_the_server_is_told_of_all_the_same(
    whole: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Any:
        raise TransportError("busy", "The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(whole.api.fleet.db, "read", away)
        found = values(exposed(whole.api.fleet))
    assert found["database_up",] == 0
    assert ("devices", "online") not in found


def test_a_viewer_s_token_is_enough_and_nobody_comes_without(whole: Measured) -> None:
    api = whole.api
    token = api.post("/v1/access-tokens", {"role": "viewer", "days": 2, "note": "prometheus"})["token"]
    given = {"Authorization": f"Bearer {token}"}
    answer = api.http.get("/metrics", headers=given)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = api.http.get("/metrics", headers={**given, "Accept": prometheus})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {"edgelift_fleet_devices", "process_resident_memory_bytes"} <= {
        f.name for f in openmetrics(answer.text)
    }
    assert api.http.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert api.http.get("/metrics", headers={**given, "Accept": "application/json"}).status_code == 406


def test_promtool_has_nothing_to_say(whole: Measured) -> None:
    assert complaints(exposed(whole.api.fleet)) == []


def test_a_new_site_is_told_of(site: Path) -> None:
    with api_of(site) as api:
        text = exposed(api.fleet)
    assert values(text)["devices", "online"] == 0
    assert complaints(text) == []
