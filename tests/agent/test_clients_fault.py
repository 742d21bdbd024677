"""What a client did wrong is never the model's error: ninety malformed kinds of requests against models in probation."""

import json
import re
import socket
from collections.abc import Iterator

import msgspec
import pytest
import requests
from tests.reports import is_committed
from tests.simulators import malformed
from tests.simulators.device import Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost
from edgelift_contract.assignment import Policy
from edgelift_contract.report import Report

pytestmark = pytest.mark.onnx

#: So long that nothing but a verdict ends it, and a single counted failure would.
PROBATION = Policy(probation_s=3600, probation_min_requests=0, max_error_rate=0.0, max_attempts=1)


@pytest.fixture
def device(tmp_path, host: ToyHost) -> Iterator[Device]:
    """Two models in probation: one that nothing served before, one with its predecessor standing by."""
    from tests.simulators.models import publish_onnx  # late: makes models with onnx

    made = Device(tmp_path, host.url, host.token)
    before = publish_onnx(host, "many", "1")
    host.assign(made.name, second=before)
    made.start("--real-runtimes")
    try:
        # Committed, not just done with: without a predecessor there is nothing to go back to.
        host.wait_for(made.name, lambda r: is_committed(r, "1", "second"))
        new = publish_onnx(host, "many", "2", policy=PROBATION, fails_from=50)
        host.assign(made.name, first=new, second=before)
        host.wait_for(made.name, lambda r: states(r) == {"first": "observing"})
        host.assign(made.name, first=new, second=new)
        host.wait_for(made.name, lambda r: states(r) == {"first": "observing", "second": "observing"})
        yield made
    finally:
        made.stop()


def states(report) -> dict[str, str]:
    """Where each slot's update to version 2 stands; how it ended, once it has."""
    updates = {name: slot.update for name, slot in report.slots.items() if slot.update}
    return {
        name: update.phase if update.outcome == "in-progress" else update.outcome
        for name, update in updates.items()
        if update.version == "2"
    }


def send(device: Device, data: bytes) -> bytes:
    """What is answered to bytes on the wire; empty where the server just closes."""
    with socket.create_connection(("127.0.0.1", device.port), timeout=LONG_S) as sock:
        try:
            sock.sendall(data)
            return sock.recv(65536)
        except ConnectionError:
            return b""


def failures(device: Device) -> dict[tuple[str, str], int]:
    """(slot, generation) → requests that count as the model's own failures."""
    port = device.status()["admin_port"]
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG_S).text
    found = re.findall(r'nv_inference_request_failure\{model="(\w+)",[^}]*version="(\d+)"\} (\d+)', text)
    return {(slot, generation): int(count) for slot, generation, count in found}


def index_into(device: Device, slot: str, b: int) -> int:
    body = malformed.whole(inputs=[malformed.A, {**malformed.B, "data": [b]}])
    return requests.post(f"{device.url}/v2/models/{slot}/infer", data=body, timeout=LONG_S).status_code


def test_no_malformed_request_counts_against_a_model(device: Device, host: ToyHost) -> None:
    kinds = set()
    for slot in ("first", "second"):
        path = f"/v2/models/{slot}/infer"
        for _ in range(2):
            for name, data in malformed.requests(path):
                kinds.add(name)
                answer = send(device, data)
                assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), (name, answer[:300])
                assert b"Traceback" not in answer
            good = requests.post(f"{device.url}{path}", data=malformed.whole(), timeout=LONG_S)
            assert good.status_code == 200
            assert good.json()["outputs"][0]["data"] == [2, 3, 4]
    assert len(kinds) >= 90
    assert set(failures(device).values()) == {0}
    log = device.log.read_text()
    assert "should have been refused by name" not in log
    assert "Traceback" not in log
    # A failure that is the model's own ends the probation all the same; and only now.
    now = report_now(device)
    assert states(now) == {"first": "observing", "second": "observing"}
    assert index_into(device, "second", 60) == 400
    report = host.wait_for(device.name, lambda r: states(r) == {"first": "observing", "second": "rolled-back"})
    back = report.slots["second"]
    assert back.version == "1" and back.generation > now.slots["second"].generation
    assert back.update is not None and back.update.code == "probation-errors", back.update


def report_now(device: Device) -> Report:
    return msgspec.convert(device.status()["report"], Report)


def test_what_the_model_before_fails_on_too_is_the_requests_fault(device: Device, host: ToyHost) -> None:
    """Indices from 100 fail on both releases, from 50 on the new one alone."""
    for _ in range(5):
        assert index_into(device, "second", 500) == 400
    assert failures(device)["second", "2"] == 0
    assert index_into(device, "second", 60) == 400
    report = host.wait_for(device.name, lambda r: r.slots["second"].update.outcome == "rolled-back")
    assert report.slots["second"].update.code == "probation-errors"
    assert "1 of 1 requests failed" in report.slots["second"].update.message
    assert json.loads(requests.get(f"{device.url}/v2/models/second", timeout=LONG_S).text)["versions"] != ["2"]


def test_a_users_own_program_is_judged_alike() -> None:
    """Embedded: arrays of the wrong name, type or shape are the caller's; what the model raises on right ones is its own."""
    import numpy as np

    from edgelift_agent.embedded import MeasuredSlot
    from edgelift_agent.serving.slots import Slot, make_generation
    from edgelift_agent.telemetry.latency import LatencyRecorder
    from edgelift_agent.testing.artifact import toy_artifact
    from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
    from edgelift_contract.manifest import parse_manifest

    wanted, blobs = toy_artifact("1", ToyModelFile())
    slot, recorder = Slot("toy"), LatencyRecorder(0.0)
    model = ToyModel(ToyModelFile(on_run="fail"), ["x"], ["y"])
    made = make_generation("toy", 1, wanted.artifact, parse_manifest(blobs[wanted.artifact]), model, 0.0)
    slot.swap(made)
    right = np.zeros((1, 4), np.float32)
    for given in (
        {},
        {"z": right},
        {"x": right.astype(np.int32)},
        {"x": right[0]},
        {"x": right[:, :3]},
        {"x": [1]},
    ):
        with MeasuredSlot(slot, recorder).lease() as leased, pytest.raises(Exception):  # noqa: B017 - a runtime's own
            leased.run(given)
    assert recorder.totals(made.key).errors == 0
    with MeasuredSlot(slot, recorder).lease() as leased, pytest.raises(RuntimeError):
        leased.run({"x": right})
    assert recorder.totals(made.key).errors == 1
