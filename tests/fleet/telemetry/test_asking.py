"""Telemetry asked for over HTTP and by the command, from a real server: latency, gauges, export, sampling."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from edgelift_contract import codec
from edgelift_contract.histogram import Histogram
from edgelift_contract.report import DeviceFacts
from edgelift_contract.telemetry import DeviceEvent, Gauges
from edgelift_fleet.client import Client
from edgelift_fleet.messages import DeviceGauges, GaugeStep, LatencyReply, SampleReply
from edgelift_fleet.site import create_site
from edgelift_fleet.telemetry.joining import quantiles
from edgelift_fleet.telemetry.packing import pack_part
from edgelift_fleet.testing import SimulatedDevice
from tests.fleet.conftest import Server, edgelift
from tests.fleet.telemetry.conftest import batch, window
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet

#: Two whole hours that are over, however long after the import a test runs: commands ask from 6 h back.
HOUR = time.time() // 3600 * 3600 - 7200
CLASSES = {"pi-1": "arm64-neon", "pi-2": "arm64-neon", "pc-1": "x86-64-avx2"}
SLOW, FAST = [900.0, 1000.0, 1100.0], [90.0, 100.0, 110.0]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose three devices delivered two hours of windows, gauges and an event."""
    site, _ = create_site(tmp_path_factory.mktemp("asked") / "site")
    server = Server(site.folder, "--broker", "none").start()
    try:
        for name, hardware_class in CLASSES.items():
            device = SimulatedDevice(
                server.url, server.token, name, facts=DeviceFacts(hardware_class=hardware_class),
                tags={"barn": "north"} if name == "pi-1" else {},
            )  # fmt: skip
            device.enrol()
            deliver(server, name)
        yield server
    finally:
        server.stop()


def deliver(server: Server, name: str) -> None:
    values = FAST if name == "pc-1" else SLOW
    items: dict[int, object] = {}
    for minute in range(0, 120, 10):
        at = HOUR + 60 * minute
        items[minute] = window(
            at, values, phases=("total", "infer"), version="1" if minute < 60 else "2", errors=1
        )
        items[minute + 1] = window(at, [5000.0], phases=("total",), throttled=True)
        items[minute + 2] = Gauges(start=at, end=at + 60, values={"soc_temp_c": 50.0 + minute / 10, "odd": 1.0})
    items[1000] = DeviceEvent(at=HOUR, kind="agent-started")
    made = codec.canonical_json(batch(name, items))
    for _ in range(2):  # a second delivery changes nothing
        headers = {"Authorization": f"Bearer {server.token}"}
        url = f"{server.url}/v1/devices/{name}/telemetry"
        answer = requests.post(url, data=made, headers=headers, timeout=LONG_S)
        assert answer.status_code == 200, answer.text


def get(server: Server, path: str, kind: type) -> object:
    return Client(server.url, server.operator).get(path, kind)


def latency(server: Server, asked: str = "") -> LatencyReply:
    found = get(server, f"/v1/latency?from={HOUR}&to={HOUR + 7200}&{asked}", LatencyReply)
    assert isinstance(found, LatencyReply)
    return found


def expected(values: list[float], times: int):
    whole = Histogram()
    whole.record_all(values * times)
    return quantiles(pack_part(whole.to_data()))


def test_latency_of_the_fleet_by_version_class_and_throttling(asked: Server) -> None:
    groups = {(g.version, g.hardware_class, g.throttled): g for g in latency(asked).groups}
    assert set(groups) == {
        (v, c, t) for v in "12" for c in ("arm64-neon", "x86-64-avx2") for t in (False, True) if v == "1" or not t
    }
    first = groups["1", "arm64-neon", False]
    assert (first.windows, first.ok, first.errors, first.slot) == (12, 36, 12, "digits")
    assert first.phases == {"total": expected(SLOW, 12), "infer": expected(SLOW, 12)}
    assert groups["1", "x86-64-avx2", False].phases["total"] == expected(FAST, 6)
    assert groups["1", "arm64-neon", True].phases == {"total": expected([5000.0], 24)}
    (only,) = latency(asked, "version=2&class=x86-64-avx2&phase=infer").groups
    assert only.phases == {"infer": expected(FAST, 6)}


def test_latency_of_a_device_and_of_a_tag_and_in_steps(asked: Server) -> None:
    for question in ("device=pi-1", "tag=barn", "tag=barn%3Dnorth"):
        groups = {(g.version, g.throttled): g for g in latency(asked, question).groups}
        assert groups["1", False].phases["total"] == expected(SLOW, 6)
    assert latency(asked, "tag=barn%3Dsouth").groups == []
    for question in ("step=3600&version=1", "step=3600&version=1&device=pi-1"):
        (group,) = [g for g in latency(asked, question).groups if g.throttled and g.hardware_class == "arm64-neon"]
        assert [(s.start, s.ok) for s in group.steps] == [(HOUR, group.ok // 2), (HOUR + 3600, group.ok // 2)]
    minutes = get(asked, f"/v1/latency?from={HOUR}&to={HOUR + 1200}&device=pi-1&step=600", LatencyReply)
    assert [s.ok for s in minutes.groups[0].steps] == [3, 3]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/latency?device=nobody", 404), ("/v1/latency?phase=brew", 400), ("/v1/latency?from=5&to=5", 400),
        ("/v1/latency?from=nan", 400), ("/v1/latency?to=1e300", 400), ("/v1/latency?step=1", 400),
        ("/v1/latency?step=-5", 400), ("/v1/latency?model=%00", 200), ("/v1/latency?from=0&to=1e11", 200),
        ("/v1/devices/nobody/gauges", 404), ("/v1/devices/pi-1/gauges?step=0.001", 400),
        ("/v1/telemetry?what=all", 400), ("/v1/telemetry?device=nobody", 404),
    ],
)  # fmt: skip
def test_a_question_that_is_none(asked: Server, path: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {asked.operator}"}
    answer = requests.get(asked.url + path, headers=headers, timeout=LONG_S)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]


def test_the_command_shows_latency(asked: Server) -> None:
    done = edgelift("latency", "--from", "6h", "--step", "1h", "--class", "x86-64-avx2", "--site", asked.site)
    assert done.returncode == 0, done.stderr
    assert "digits@2" in done.stdout and "infer p50" in done.stdout and "x86-64-avx2" in done.stdout
    told = json.loads(edgelift("latency", "--json", "--version", "1", "--site", asked.site).stdout)
    assert {g["version"] for g in told["groups"]} == {"1"}
    assert "No windows" in edgelift("latency", "--model", "other", "--site", asked.site).stdout
    wrong = edgelift("latency", "--from", "tea-time", "--site", asked.site)
    assert wrong.returncode == 1 and "is no time" in wrong.stderr


def test_gauges_are_read_back(asked: Server) -> None:
    newest = get(asked, "/v1/gauges", list[DeviceGauges])
    assert [(d.device, d.values) for d in newest] == [
        (n, {"soc_temp_c": 61.0, "odd": 1.0}) for n in sorted(CLASSES)
    ]
    steps = get(asked, f"/v1/devices/pi-2/gauges?from={HOUR}&to={HOUR + 7200}&step=3600", list[GaugeStep])
    temperatures = [(s.start, s.values["soc_temp_c"]) for s in steps]
    assert [(at, v.min, v.mean, v.max) for at, v in temperatures] == [
        (HOUR, 50.0, 52.5, 55.0), (HOUR + 3600, 56.0, 58.5, 61.0),
    ]  # fmt: skip
    shown = edgelift("gauges", "pi-2", "--site", asked.site).stdout
    assert "soc_temp_c" in shown and "50 / 52.5 / 55" in shown, shown
    assert "pc-1" in edgelift("gauges", "--site", asked.site).stdout


def test_export_as_json_lines(asked: Server, tmp_path: Path) -> None:
    out = tmp_path / "w.jsonl"
    done = edgelift("telemetry", "export", "--out", out, "--from", "6h", "--site", asked.site)
    assert done.returncode == 0 and "Wrote 72 windows" in done.stdout, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(row["ok"] for row in rows) == 3 * (12 * 3 + 12)
    assert {row["hardware_class"] for row in rows} == set(CLASSES.values())
    mine = [r for r in rows if r["device"] == "pi-1" and r["version"] == "2"]
    assert len(mine) == 6 and mine[0]["latency_us"]["infer"]["high"] == 1100.0
    again = edgelift("telemetry", "export", "--out", out, "--site", asked.site)
    assert again.returncode == 1 and "is there already" in again.stderr
    for what, number in (("gauges", 12), ("events", 1), ("swaps", 0)):
        one = edgelift(
            "telemetry",
            "export",
            "--what",
            what,
            "-d",
            "pi-1",
            "--out",
            tmp_path / what,
            "--from",
            "6h",
            "--site",
            asked.site,
        )
        assert f"Wrote {number} {what}" in one.stdout, one.stderr


def test_parquet_needs_its_extra(asked: Server, tmp_path: Path) -> None:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        parquet = None
    out = tmp_path / "w.parquet"
    done = edgelift(
        "telemetry", "export", "--format", "parquet", "--out", out, "--from", "6h", "--site", asked.site
    )
    if parquet is None:
        assert done.returncode == 1 and "[parquet]" in done.stderr and not out.exists()
        return
    assert done.returncode == 0, done.stderr
    rows = parquet.read_table(out).to_pylist()
    assert (
        len(rows) == 72
        and sum(sum(h["counts"]) for r in rows for h in r["latency_us"] if h["phase"] == "total") == 144
    )


def test_sampling_a_device(asked: Server) -> None:
    said = edgelift("telemetry", "sample", "pi-2", "--for", "2h", "--site", asked.site)
    assert said.returncode == 0 and "kept at full resolution" in said.stdout, said.stderr
    reply = json.loads(
        edgelift("telemetry", "sample", "pi-2", "--for", "1h", "--json", "--site", asked.site).stdout
    )
    assert codec.decode_json(json.dumps(reply).encode(), SampleReply, what="reply").until - reply["since"] == 3600
    assert edgelift("telemetry", "sample", "nobody", "--site", asked.site).returncode == 1
    assert "up to 30 days" in edgelift("telemetry", "sample", "pi-2", "--for", "31d", "--site", asked.site).stderr
