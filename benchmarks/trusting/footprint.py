"""What an agent takes that has a certificate and takes nothing unsigned: idle, and serving the reference CNN.

Everything is a user's command against a real control plane with its broker, as in `serving`; the agent is the one of
`benchmarks.agent`, and so are the moments at which it is looked at.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

import psutil
from tests.fleet.conftest import Server
from tests.fleet.identity.sites import enroll, operator
from tests.simulators.device import Device
from tests.simulators.models import publish_onnx
from tests.simulators.releases import write_release

from benchmarks.trusting.serving import QUICK, _run, _said, _token, _until
from edgelift_agent.testing.host import ToyHost
from edgelift_fleet.messages import DeviceDetail


def measure(folder: Path) -> dict[str, float]:
    """Resident, MB."""
    site = folder / "site"
    _run("init", site)
    _write_cnn(folder / "cnn")
    _run("publish", folder / "cnn", "--site", site)
    with Server(site) as server, Device(folder / "pi-1", server.url, "") as device:
        _said(enroll(device, _token(server)))
        device.start(module="benchmarks.agent_process")
        assert device.process is not None
        process = psutil.Process(device.process.pid)
        _until(lambda: _online(server), "the device")
        time.sleep(5)
        idle = process.memory_info().rss
        _run("assign", "cnn@1", "--device", "pi-1", *QUICK, "--site", site)
        _until(lambda: _serves(server), "cnn@1 committed")
        time.sleep(1)
        return {"rss_idle_trusted_mb": idle / 1e6, "rss_serving_trusted_mb": process.memory_info().rss / 1e6}


def _write_cnn(folder: Path) -> None:
    host = ToyHost()
    try:
        wanted = publish_onnx(host, "cnn")
        write_release(folder, [host.blobs[wanted.artifact]], host.blobs)
    finally:
        host.close()


def _online(server: Server) -> bool:
    return operator(server).get("/v1/devices/pi-1", DeviceDetail).device.online


def _serves(server: Server) -> bool:
    slots = operator(server).get("/v1/devices/pi-1", DeviceDetail).device.slots
    return bool(slots) and slots[0].update is not None and slots[0].update.outcome == "committed"


def main() -> None:
    """For `benchmarks.agent`, which prints what this prints: its own process, with a passphrase of its own."""
    os.environ.setdefault("EDGELIFT_PASSPHRASE", "correct horse battery staple")
    with tempfile.TemporaryDirectory(prefix="edgelift-footprint-") as folder:
        print(json.dumps(measure(Path(folder))))


if __name__ == "__main__":
    main()
