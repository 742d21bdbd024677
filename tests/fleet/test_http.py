"""The devices' side over real HTTP: who may, how much, in which order, and what it is told."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from edgelift_contract import codec
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.report import Report, SlotReport, UpdateReport
from edgelift_contract.telemetry import DeviceEvent, Item, Window
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail, DeviceSummary
from edgelift_fleet.testing import FACTS, Behaviour, SimulatedDevice, simulated_fleet, wait_until
from tests.fleet.conftest import Server, edgelift
from tests.waiting import LONG_S

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def shared(idle_site: Path) -> Iterator[Server]:
    with Server(idle_site, "--broker", "none") as made:
        yield made


@pytest.fixture
def http(shared: Server) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {shared.token}"
        yield session


@pytest.fixture
def device(shared: Server, request: pytest.FixtureRequest) -> Iterator[SimulatedDevice]:
    """An enrolled device that does nothing by itself."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50]
    made = SimulatedDevice(shared.url, shared.token, name)
    made.epoch = "boot-1"
    made.enrol()
    yield made
    made.stop()


def operator(server: Server) -> Client:
    return Client(server.url, server.operator)


def detail(server: Server, name: str) -> DeviceDetail:
    return operator(server).get(f"/v1/devices/{name}", DeviceDetail)


def assign(server: Server, name: str, release: str) -> AssignReply:
    return operator(server).post(f"/v1/devices/{name}/assign", AssignRequest(release), AssignReply)


@pytest.mark.parametrize("name", ["a/b", "a+b", "a#b", "A", "ä", "", "x" * 65, "a b"])
def test_a_device_id_that_is_none(shared, http, name: str) -> None:
    body = json.dumps({"schema": 1, "device": name, "facts": {"hardware_class": "x86-64-avx2"}})
    answer = http.post(f"{shared.url}/v1/enroll", data=body.encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-id")
    assert answer.json()["hint"]
    result = edgelift("device", name, "--site", shared.site) if name in ("a/b", "a+b", "a#b") else None
    assert result is None or (result.returncode == 1 and "Traceback" not in result.stderr)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/enroll"), ("GET", "/v1/devices/pi-1/desired"), ("PUT", "/v1/devices/pi-1/report"),
        ("POST", "/v1/devices/pi-1/telemetry"), ("GET", f"/v1/blobs/{'0' * 64}"), ("GET", "/v1/devices"),
        ("GET", "/v1/devices/pi-1"), ("POST", "/v1/devices/pi-1/assign"), ("GET", "/v1/rollouts"),
        ("POST", "/v1/rollouts"), ("GET", "/v1/health"), ("GET", "/v1/releases"),
    ],
)  # fmt: skip
def test_no_entry_without_the_right_token(shared, method: str, path: str) -> None:
    mine = (
        shared.operator if "enroll" in path or path.endswith(("desired", "report", "telemetry")) else shared.token
    )
    if "/blobs/" in path:
        mine = shared.operator
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {mine}"}):
        answer = requests.request(method, shared.url + path, headers=headers, data=b"{}", timeout=LONG_S)
        assert (answer.status_code, answer.json()["code"]) == (401, "not-authorised")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_assignment_by_etag_and_long_poll(shared, http, device) -> None:
    url = f"{shared.url}/v1/devices/{device.name}/desired"
    began = time.monotonic()
    assert http.get(f"{url}?wait_s=0.3").status_code == 304  # nothing assigned yet
    assert time.monotonic() - began > 0.25
    answers: list[requests.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(http.get(f"{url}?wait_s=60")))
    waiting.start()
    time.sleep(0.3)
    assigned_at = time.monotonic()
    assert assign(shared, device.name, "digits@1").changed
    waiting.join()
    (answer,) = answers
    assert time.monotonic() - assigned_at < 58  # woken: its own wait would not be over yet
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert answer.content == codec.canonical_json(json.loads(answer.content))
    known = {"If-None-Match": '"1"'}
    assert http.get(url, headers=known).status_code == 304
    again = assign(shared, device.name, "digits@1")
    assert (again.changed, again.revision) == (False, 1)
    assert http.get(url, headers=known).status_code == 304
    assert assign(shared, device.name, "digits@2").revision == 2
    assert http.get(url, headers=known).headers["ETag"] == '"2"'


def test_an_unknown_device_is_told_to_enrol(shared, http) -> None:
    report = Report(schema=1, device="nobody", epoch="e", sequence=1, at=0, agent_version="x")
    for answer in (
        http.get(f"{shared.url}/v1/devices/nobody/desired"),
        http.put(f"{shared.url}/v1/devices/nobody/report", data=codec.canonical_json(report)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def send(shared, http, device, epoch: str, sequence: int, version: str) -> bool:
    slots = {"digits": SlotReport("serving", 1, "a" * 64, "digits", version, 1.0)}
    report = Report(
        schema=1, device=device.name, epoch=epoch, sequence=sequence, at=0, agent_version="x", slots=slots
    )
    answer = http.put(f"{shared.url}/v1/devices/{device.name}/report", data=codec.canonical_json(report))
    assert answer.status_code == 200
    return answer.json()["news"]


def test_an_older_report_never_overwrites_a_newer(shared, http, device) -> None:
    def serving() -> str:
        return detail(shared, device.name).device.slots[0].version

    assert send(shared, http, device, "boot-1", 5, "5")
    assert not send(shared, http, device, "boot-1", 4, "4") and serving() == "5"
    assert not send(shared, http, device, "boot-1", 5, "other") and serving() == "5"
    assert send(shared, http, device, "boot-2", 1, "6") and serving() == "6"  # a new epoch begins anew
    assert not send(shared, http, device, "boot-1", 99, "99") and serving() == "6"  # a late one of the old epoch
    assert send(shared, http, device, "boot-2", 2, "7") and serving() == "7"


def test_history_keeps_every_update(shared, http, device) -> None:
    for sequence, outcome in enumerate(("in-progress", "in-progress", "committed"), 1):
        update = UpdateReport("a" * 64, "digits", "1", revision=1, outcome=outcome)
        slots = {"digits": SlotReport("serving", 1, "a" * 64, "digits", "1", 1.0, update)}
        report = Report(
            schema=1, device=device.name, epoch="e", sequence=sequence, at=0, agent_version="x", slots=slots
        )
        http.put(f"{shared.url}/v1/devices/{device.name}/report", data=codec.canonical_json(report))
    (entry,) = detail(shared, device.name).history
    assert entry.update.outcome == "committed" and entry.last_at >= entry.first_at


def test_telemetry_counts_once(shared, http, device) -> None:
    device.slots["digits"] = SlotReport("serving", 1, "a" * 64, "digits", "1", 1.0)
    batch = device.deliver(
        device.window("digits"), device.window("digits"), DeviceEvent(at=1.0, kind="agent-started")
    )
    url = f"{shared.url}/v1/devices/{device.name}/telemetry"
    assert http.post(url, data=codec.canonical_json(batch)).json()["new"] == 0
    found = detail(shared, device.name)
    assert (found.windows_received, len(found.events), found.latency[0].ok) == (2, 1, 100)
    assert found.latency[0].total.count == 100
    more = [*batch.items, Item(99, event=DeviceEvent(at=2.0, kind="throttled"))]
    wider = codec.canonical_json({"schema": 1, "device": device.name, "epoch": batch.epoch, "items": more})
    assert http.post(url, data=wider).json()["new"] == 1


def test_quantiles_come_from_merged_histograms(shared, device) -> None:
    from edgelift_contract.histogram import Histogram

    slow, quick = Histogram(), Histogram()
    for _ in range(990):
        quick.record(100.0)
    for _ in range(10):
        slow.record(10_000.0)
    windows = [
        Window(
            start=float(n), end=n + 1.0, slot="digits", generation=1, artifact="b" * 64, model="digits", version="1",
            ok=h.count, latency_us={"total": h.to_data()},
        )
        for n, h in enumerate((quick, slow))
    ]  # fmt: skip
    device.deliver(*windows)
    total = detail(shared, device.name).latency[0].total
    assert total.p50_us == pytest.approx(100, rel=0.03) and total.p99_us == pytest.approx(100, rel=0.03)
    assert total.high_us == pytest.approx(10_000, rel=0.03) and total.count == 1000


@pytest.mark.parametrize(
    ("path", "limit", "method"),
    [("/v1/enroll", 64 * 1024, "POST"), ("/v1/devices/{}/report", 64 * 1024, "PUT"),
     ("/v1/devices/{}/telemetry", 512 * 1024, "POST")],
)  # fmt: skip
def test_a_body_that_is_too_large_is_refused_unread(shared, http, device, path, limit, method) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    head = f"{method} {path.format(device.name)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shared.token}\r\n"
    with socket.create_connection((host, int(port)), timeout=LONG_S) as link:
        # Only the length is sent, not one byte of the body: the refusal comes all the same.
        link.sendall(f"{head}Content-Length: {limit + 1}\r\n\r\n".encode())
        assert link.recv(4096).startswith(b"HTTP/1.1 413 ")
    pieces = (b" " * 65536 for _ in range(limit // 65536 + 2))  # chunked: no length announced
    answer = http.request(method, shared.url + path.format(device.name), data=pieces)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed"), (b"{", "malformed"), (b"\xff\xfe", "malformed"), (b"[]", "malformed"),
        (b'{"schema":2,"device":"D"}', "unknown-schema"), (b"[" * 50_000, "malformed"),
    ],
)  # fmt: skip
def test_a_report_that_is_none(shared, http, device, body: bytes, code: str) -> None:
    answer = http.put(f"{shared.url}/v1/devices/{device.name}/report", data=body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_nobody_speaks_for_another(shared, http, device) -> None:
    data = codec.canonical_json(Report(schema=1, device="other", epoch="e", sequence=1, at=0, agent_version="x"))
    answer = http.put(f"{shared.url}/v1/devices/{device.name}/report", data=data)
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong-device")


def test_blobs_by_ranges(shared, http, releases) -> None:
    path = max((releases["digits@1"] / "blobs").iterdir(), key=lambda p: p.stat().st_size)
    data, url = path.read_bytes(), f"{shared.url}/v1/blobs/{path.name}"
    whole = http.get(url)
    assert whole.content == data and whole.headers["ETag"] == f'"{path.name}"'
    assert "immutable" in whole.headers["Cache-Control"]
    rest = http.get(url, headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.content) == (206, data[1000:])
    assert rest.headers["Content-Range"] == f"bytes 1000-{len(data) - 1}/{len(data)}"
    assert http.get(url, headers={"Range": "bytes=-10"}).content == data[-10:]
    same = {"Range": "bytes=10-19", "If-Range": f'"{path.name}"'}
    assert http.get(url, headers=same).content == data[10:20]
    assert http.get(url, headers={**same, "If-Range": '"other"'}).content == data
    past = http.get(url, headers={"Range": f"bytes={len(data)}-"})
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    missing = http.get(f"{shared.url}/v1/blobs/{'0' * 64}")
    assert (missing.status_code, missing.json()["code"]) == (404, "missing-blob")
    for wrong in ("../edgelift.db", "%2e%2e%2fedgelift.db", "abc"):
        assert http.get(f"{shared.url}/v1/blobs/{wrong}").status_code in (400, 404)


def test_a_device_of_other_hardware_is_refused_with_both_named(shared, http) -> None:
    facts = {"hardware_class": "jetson-ampere", "accepts": ["jetson-ampere"], "runtimes": {"onnxruntime": "1.30"}}
    http.post(f"{shared.url}/v1/enroll", data=json.dumps({"schema": 1, "device": "orin", "facts": facts}))
    result = edgelift("assign", "digits@1", "--device", "orin", "--site", shared.site)
    assert result.returncode == 1 and "jetson-ampere" in result.stderr and "x86-64-avx2" in result.stderr
    for release, device in (("digits@9", "orin"), ("digits@1", "nobody")):
        result = edgelift("assign", release, "--device", device, "--site", shared.site)
        assert result.returncode == 1 and "(not-found)" in result.stderr and "Traceback" not in result.stderr


def test_tags_of_device_and_operator(shared, http) -> None:
    def enrol(tags: dict[str, str]) -> None:
        body = codec.canonical_json(EnrolRequest(schema=1, device="tagged", facts=FACTS, tags=tags))
        assert http.post(f"{shared.url}/v1/enroll", data=body).ok

    enrol({"demo": "", "site": "barn"})
    result = edgelift("tag", "tagged", "site=hall", "night", "--site", shared.site)
    assert result.stdout.strip() == "tagged: demo night site=hall"
    enrol({"demo": "2"})
    assert detail(shared, "tagged").device.tags == {"demo": "2", "night": "", "site": "hall"}
    edgelift("tag", "tagged", "night-", "--site", shared.site)
    assert "night" not in detail(shared, "tagged").device.tags
    dashed = edgelift("tag", "tagged", "site=hall-", "--site", shared.site)
    assert dashed.stdout.strip() == "tagged: demo=2 site=hall-", "a value that ends with a dash is set, too"
    assert edgelift("tag", "tagged", "no/good", "--site", shared.site).returncode == 1


def test_the_wrong_operator_token(shared, tmp_path) -> None:
    from edgelift_contract.errors import TransportError

    with pytest.raises(TransportError) as refused:
        Client(shared.url, "wrong").get("/v1/devices", list[DeviceSummary])
    assert refused.value.code == "not-authorised"


def test_openapi_names_every_route_and_message(shared) -> None:
    document = requests.get(f"{shared.url}/openapi.json", timeout=LONG_S).json()
    for path in ("/v1/enroll", "/v1/devices/{device}/desired", "/v1/blobs/{sha256}", "/v1/rollouts"):
        for operation in document["paths"][path].values():
            assert operation["description"]
    assert {"Report", "Batch", "EnrolRequest", "RolloutView", "DeviceDetail"} <= set(
        document["components"]["schemas"]
    )
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"]


def test_the_whole_way_as_people_see_it(shared) -> None:
    with simulated_fleet(shared.site) as fleet:
        fleet.add("way", behaviour=Behaviour(latency_us={"1": 800.0, "2": 200.0}), tags={"demo": ""})
        for release in ("digits@1", "digits@2"):
            assert edgelift("assign", release, "--device", "way", "--site", shared.site).returncode == 0
            wait_until(lambda r=release: detail(shared, "way").windows_received == int(r[-1]))
            # It reports after it has delivered: only then is the update told as committed.
            wait_until(lambda r=release: detail(shared, "way").device.slots[0].version == r[-1])
        listed = edgelift("devices", "--site", shared.site).stdout
        assert "digits@2" in listed and "demo" in listed and "committed" in listed
        shown = edgelift("device", "way", "--site", shared.site).stdout
        assert "1 → 2" in shown and "Latency by version" in shown
        found = json.loads(edgelift("device", "way", "--json", "--site", shared.site).stdout)
        before, after = found["latency"]
        assert before["total"]["p50_us"] > 2 * after["total"]["p50_us"]
        assert found["swaps"][0]["before"]["p50_us"] > found["swaps"][0]["after"]["p50_us"]
        assert found["swaps"][0]["fetched_bytes"] > 5000
        cleared = operator(shared).delete("/v1/devices/way/slots/digits", dict)
        assert cleared["revision"] == 3
        wait_until(lambda: detail(shared, "way").device.slots == [])


def test_last_seen_is_written_in_batches(shared, http, device) -> None:
    import sqlite3

    def written() -> float:
        with sqlite3.connect(shared.site / "edgelift.db", timeout=LONG_S) as db:
            ((at,),) = db.execute("select last_seen from device where id = ?", (device.name,)).fetchall()
        db.close()
        return at

    before = written()
    for _ in range(20):
        http.get(f"{shared.url}/v1/devices/{device.name}/desired")
    shown = detail(shared, device.name).device.last_seen
    assert shown > before
    wait_until(lambda: written() >= shown)
