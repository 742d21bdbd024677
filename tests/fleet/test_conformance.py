"""The toy host and the real control plane answer a device's routes alike: one test over both."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from edgelift_agent.testing.host import ToyHost
from edgelift_contract import codec, routes
from edgelift_contract.assignment import SlotAssignment, parse_assignment
from edgelift_contract.enrol import EnrolReply, EnrolRequest
from edgelift_contract.errors import CODES
from edgelift_contract.replies import ASSIGNMENT_HEADER, MARK, MARK_VALUE, BatchReply, ErrorReply, ReportReply
from edgelift_contract.report import DeviceFacts, Report
from edgelift_contract.telemetry import Batch, DeviceEvent, Item
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest
from tests.fleet.conftest import Server
from tests.waiting import LONG_S

pytestmark = [pytest.mark.fleet]

FACTS = DeviceFacts(
    hardware_class="x86-64-avx2", accepts=["x86-64-avx2"], runtimes={"onnxruntime": "1.30.0"}, board="conformance"
)


@dataclass
class Host:
    """Either of them.

    Attributes:
        device: an id that nobody had before.
        assign: has the device run another release than before.
        blob: digest of something that the host has.
    """

    url: str
    token: str
    device: str
    assign: Callable[[], None]
    blob: str

    def ask(self, method: str, path: str, message: object = None, **headers: str) -> requests.Response:
        data = message if isinstance(message, bytes) else codec.canonical_json(message) if message else None
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        return requests.request(
            method, self.url + path, data=data, headers=headers, timeout=LONG_S, allow_redirects=False
        )


@pytest.fixture(scope="module")
def real(idle_site: Path) -> Iterator[Server]:
    with Server(idle_site, "--broker", "none") as made:
        yield made


@pytest.fixture(params=["toy", "real"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    device = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-64:]
    versions = iter("123")
    if request.param == "real":
        server: Server = request.getfixturevalue("real")
        operator = Client(server.url, server.operator)

        def assign() -> None:
            wanted = AssignRequest(f"digits@{next(versions)}")
            operator.post(f"/v1/devices/{device}/assign", wanted, AssignReply)

        blob = next(path.name for path in (server.site / "blobs").iterdir() if path.stat().st_size > 10)
        yield Host(server.url, server.token, device, assign, blob)
        return
    toy, data = ToyHost(), bytes(range(200))
    toy.blobs[codec.digest(data)] = data

    def assign_toy() -> None:
        toy.assign(device, digits=SlotAssignment("a" * 64, 10, "digits", next(versions)))

    yield Host(toy.url, toy.token, device, assign_toy, codec.digest(data))
    toy.close()


def enrol(host: Host) -> EnrolReply:
    response = host.ask("POST", routes.ENROL, EnrolRequest(schema=1, device=host.device, facts=FACTS))
    assert response.status_code == 200
    return codec.decode_json(response.content, EnrolReply, what="reply")


def report(host: Host, sequence: int = 1, **fields: object) -> Report:
    return Report(
        schema=1, device=host.device, epoch="e1", sequence=sequence, at=time.time(), agent_version="x", **fields
    )


def batch(host: Host, *numbers: int) -> Batch:
    items = [Item(number, event=event_at(number)) for number in numbers]
    return Batch(schema=1, device=host.device, epoch="o1", items=items)


def event_at(at: float) -> DeviceEvent:
    return DeviceEvent(at=at, kind="agent-started")


def refused(response: requests.Response, status: int, code: str) -> None:
    told = codec.decode_json(response.content, ErrorReply, what="refusal")
    assert (response.status_code, told.code) == (status, code)
    assert told.code in CODES and told.error
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers[MARK] == MARK_VALUE


def test_enrolment(host: Host) -> None:
    reply = enrol(host)
    assert (reply.schema, reply.device) == (1, host.device)
    assert reply.poll_wait_s > 0
    refused(host.ask("POST", routes.ENROL, b"<html>"), 400, "malformed")
    refused(host.ask("POST", routes.ENROL, {"schema": 99, "device": host.device}), 400, "unknown-schema")


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_who_is_unknown_or_has_no_token(host: Host, method: str) -> None:
    path_of = {"GET": routes.desired_path, "PUT": routes.report_path, "POST": routes.telemetry_path}
    path = path_of[method](host.device)
    message = report(host) if method == "PUT" else batch(host, 1) if method == "POST" else None
    refused(host.ask(method, path, message), 404, "not-found")
    refused(host.ask(method, path, message, Authorization="Bearer wrong"), 401, "not-authorised")


def test_the_assignment(host: Host) -> None:
    enrol(host)
    path = routes.desired_path(host.device)
    first = host.ask("GET", path)
    assert (first.status_code, first.content, first.headers[MARK]) == (304, b"", MARK_VALUE)
    host.assign()
    found = host.ask("GET", path)
    assignment = parse_assignment(found.content, device=host.device)
    assert found.status_code == 200
    assert found.headers["ETag"] == f'"{assignment.revision}"'
    assert found.headers["Content-Type"] == "application/json"
    assert assignment.slots["digits"].asked == assignment.revision
    known = {"If-None-Match": found.headers["ETag"]}
    assert host.ask("GET", path, **known).status_code == 304
    assert host.ask("GET", path, **known, **{ASSIGNMENT_HEADER: codec.digest(found.content)}).status_code == 304
    assert host.ask("GET", path, **known, **{ASSIGNMENT_HEADER: "b" * 64}).status_code == 200
    host.assign()
    later = host.ask("GET", f"{path}?wait_s=30", **known)
    assert parse_assignment(later.content, device=host.device).revision == assignment.revision + 1


def test_a_report(host: Host) -> None:
    enrol(host)
    path = routes.report_path(host.device)
    for sequence, news in ((1, True), (2, True), (2, False), (1, False)):
        reply = codec.decode_json(host.ask("PUT", path, report(host, sequence)).content, ReportReply, what="reply")
        assert reply == ReportReply(schema=1, device=host.device, epoch="e1", sequence=sequence, news=news)
    refused(host.ask("PUT", path, b"{}"), 400, "malformed")
    refused(host.ask("PUT", path, {"schema": 2}), 400, "unknown-schema")
    other = codec.canonical_json(report(host)).replace(host.device.encode(), b"pi-2")
    refused(host.ask("PUT", path, other), 400, "wrong-device")


def test_who_has_seen_more_than_the_host_is_overtaken(host: Host) -> None:
    enrol(host)
    host.assign()
    path = routes.desired_path(host.device)
    before = host.ask("GET", path).content
    held = codec.digest(before)
    host.ask("PUT", routes.report_path(host.device), report(host, 1, revision_seen=1, assignment=held))
    assert host.ask("GET", path).content == before
    host.ask("PUT", routes.report_path(host.device), report(host, 2, revision_seen=41, assignment="b" * 64))
    after = parse_assignment(host.ask("GET", path).content, device=host.device)
    assert after.revision == 42
    assert after.slots == parse_assignment(before, device=host.device).slots
    host.ask("PUT", routes.report_path(host.device), report(host, 3, revision_seen=42, assignment="b" * 64))
    assert parse_assignment(host.ask("GET", path).content, device=host.device).revision == 43


def test_telemetry(host: Host) -> None:
    enrol(host)
    path = routes.telemetry_path(host.device)
    for numbers, new in (((1, 2), 2), ((1, 2), 0), ((2, 3), 1), ((), 0)):
        reply = codec.decode_json(host.ask("POST", path, batch(host, *numbers)).content, BatchReply, what="reply")
        last = max(numbers, default=-1)
        assert reply == BatchReply(schema=1, device=host.device, epoch="o1", last=last, new=new)
    refused(host.ask("POST", path, b"[]"), 400, "malformed")
    other = codec.canonical_json(batch(host, 1)).replace(host.device.encode(), b"pi-2")
    refused(host.ask("POST", path, other), 400, "wrong-device")


def test_a_blob(host: Host) -> None:
    path = routes.blob_path(host.blob)
    whole = host.ask("GET", path)
    assert whole.status_code == 200 and codec.digest(whole.content) == host.blob
    size = len(whole.content)
    rest = host.ask("GET", path, Range="bytes=7-")
    assert (rest.status_code, rest.content) == (206, whole.content[7:])
    assert rest.headers["Content-Range"] == f"bytes 7-{size - 1}/{size}"
    for answer, length in ((whole, size), (rest, size - 7)):
        assert answer.headers["ETag"] == f'"{host.blob}"'
        assert answer.headers["Content-Length"] == str(length)
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers[MARK] == MARK_VALUE
    assert host.ask("GET", path, Range=f"bytes={size}-").status_code == 416
    refused(host.ask("GET", routes.blob_path("0" * 64)), 404, "missing-blob")
