"""A device that answers requests while trust is at work on it: enrolled, updated, robbed of its release, put out, let in.

Everything is a user's command against a real control plane with its broker; the load never stops.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import enroll, operator
from tests.simulators.device import PATIENT, Device
from tests.simulators.releases import write_release

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_fleet.messages import DeviceDetail

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0
RATE_HZ = 100.0
QUICK = ("--probation", "1s", "--min-requests", "0", "--max-latency-ratio", "0")


class Load:
    """Requests at a fixed rate, from due times."""

    def __init__(self, device: Device) -> None:
        self.sent, self.failed = 0, 0
        self._url = f"{device.url}/v2/models/toy/infer"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
        due = time.monotonic()
        with requests.Session() as session:
            while not self._over.is_set():
                self.sent += 1
                try:
                    self.failed += not session.post(self._url, json=body, timeout=PATIENCE_S).ok
                except requests.RequestException:
                    self.failed += 1
                due += 1 / RATE_HZ
                self._over.wait(max(0.0, due - time.monotonic()))


def measure(folder: Path, times: int) -> dict[str, Any]:
    """`enrol_s`: the median of enrolments, the command's start included; and what became of the requests meanwhile."""
    with _served(folder) as server:
        took = [_enrolled(server, folder / f"board-{number}", f"board-{number}") for number in range(times)]
        device = Device(folder / "pi-1", server.url, "", serve=PATIENT)
        _said(enroll(device, _token(server)))
        device.start()
        try:
            _assign(server, device, "1", 1.0)
            load = Load(device)
            happened = _befall(server, device, folder, load)
            load.stop()
        finally:
            device.stop()
    return {
        "enrol_s": round(statistics.median(took), 3), "requests": load.sent, "requests_failed": load.failed,
        "while": happened,
    }  # fmt: skip


def _befall(server: Server, device: Device, folder: Path, load: Load) -> list[str]:
    """One thing after the other, each to its end."""
    _assign(server, device, "2", 2.0)
    _alter(server.site, folder / "3")
    _run("assign", "toy@3", "--device", "pi-1", *QUICK, "--site", server.site)
    _until(lambda: _outcome(server) == ("3", "refused"), "the altered release's refusal")
    _run("keys", "rotate", "online", "--site", server.site)
    _assign(server, device, "4", 4.0)
    _run("device", "replace", "pi-1", "--site", server.site)
    _until(lambda: "identity-revoked" in device.log.read_text(), "the device to be put out")
    _said(enroll(device, _token(server), "--again"))
    _assign(server, device, "5", 5.0)
    server.stop()  # nobody is there any more: what is committed serves
    alone = load.sent
    _until(lambda: load.sent > alone + 100, "a hundred requests")
    server.start()
    return [
        "an update", "a release altered in the store", "the online key rotated, and an update",
        "put out, enrolled again, and an update", "the control plane stopped and started",
    ]  # fmt: skip


@contextmanager
def _served(folder: Path) -> Iterator[Server]:
    site = folder / "site"
    _run("init", site)
    for number in range(1, 6):
        assignment, blobs = toy_artifact(str(number), ToyModelFile(scale=number))
        write_release(folder / str(number), [blobs[assignment.artifact]], blobs)
        _run("publish", folder / str(number), "--site", site)
    with Server(site) as server:
        yield server


def _enrolled(server: Server, folder: Path, name: str) -> float:
    """How long an enrolment takes, seconds; its token is made before."""
    token, device = _token(server), Device(folder, server.url, "", name=name)
    began = time.monotonic()
    _said(enroll(device, token))
    return time.monotonic() - began


def _token(server: Server) -> str:
    return _run("token", "create", "--site", server.site)


def _assign(server: Server, device: Device, version: str, answer: float) -> None:
    _run("assign", f"toy@{version}", "--device", "pi-1", *QUICK, "--site", server.site)
    _until(lambda: device.answer() == answer, f"toy@{version}")
    _until(lambda: _outcome(server) == (version, "committed"), f"toy@{version} committed")


def _outcome(server: Server) -> tuple[str, str]:
    slots = operator(server).get("/v1/devices/pi-1", DeviceDetail).device.slots
    update = slots[0].update if slots else None
    return (update.version, update.outcome) if update is not None else ("", "")


def _alter(site: Path, release: Path) -> None:
    """As one who broke into the control plane's store would."""
    for blob in (release / "blobs").iterdir():
        path = site / "blobs" / blob.name
        data = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not come about")
        time.sleep(0.05)


def _run(*words: object) -> str:
    return str(_said(edgelift(*words)).stdout)


def _said(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode:
        raise SystemExit(f"{done.args}: {done.stderr}")
    return done


def main() -> None:
    """For `benchmarks.trust`, which prints what this prints: its own process, with a passphrase of its own."""
    os.environ.setdefault("EDGELIFT_PASSPHRASE", "correct horse battery staple")
    with tempfile.TemporaryDirectory(prefix="edgelift-trusting-") as folder:
        print(json.dumps(measure(Path(folder), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
