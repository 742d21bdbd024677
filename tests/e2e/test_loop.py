"""The whole loop with real processes: control plane, mosquitto, two agents; a good release, a bad one, a dead broker."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from tests.fleet.identity.sites import enroll
from tests.simulators.device import Device
from tests.simulators.releases import write_release
from tests.waiting import until

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile

pytestmark = [pytest.mark.fleet, pytest.mark.broker, pytest.mark.usefixtures("mosquitto_program")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def edgelift(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "from edgelift.cli import main; main()", *arguments],
        capture_output=True, text=True, timeout=600, env=ENVIRONMENT,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done


def toy_release(folder: Path, version: str, file: ToyModelFile, **options: object) -> Path:
    """A release folder with one toy artifact."""
    assignment, blobs = toy_artifact(version, file, **options)
    write_release(folder, [blobs[assignment.artifact]], blobs)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "site"
    edgelift("init", str(folder))
    for version, file, options in (
        ("1", ToyModelFile(scale=1), {}),
        ("2", ToyModelFile(scale=2), {}),
        ("3", ToyModelFile(scale=3), {"golden_offset": 1.0}),
    ):
        edgelift("publish", str(toy_release(tmp_path / version, version, file, **options)), "--site", str(folder))
    with (tmp_path / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", "from edgelift.cli import main; main()",
             "serve", "--site", str(folder), "--port", "0"],
            stdout=log, stderr=log, env=ENVIRONMENT,
        )  # fmt: skip
    try:
        until(lambda: (folder / "run" / "server.json").exists(), "the control plane")
        yield folder
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    assert status == 0


@pytest.fixture
def devices(site: Path, tmp_path: Path) -> Iterator[dict[str, Device]]:
    url = json.loads((site / "run" / "server.json").read_text())["url"]
    token = edgelift("token", "create", "--uses", "2", "--site", str(site)).stdout
    made = {}
    try:
        for name in ("pi-1", "pi-2"):
            device = made[name] = Device(tmp_path / name, url, "", name=name)
            text = device.config.read_text().replace("[host]", 'tags = { hall = "2" }\n[host]', 1)
            if name == "pi-2":
                text = text.replace("[serve]", 'transport = "http"\n[serve]')
            device.config.write_text(text)
            assert enroll(device, token).returncode == 0
            device.start()
        yield made
    finally:
        for device in made.values():
            with contextlib.suppress(AssertionError):
                device.stop()


def show(site: Path, device: str) -> dict:
    return json.loads(edgelift("device", device, "--site", str(site), "--json").stdout)


def rollout(site: Path, version: str) -> subprocess.CompletedProcess[str]:
    return edgelift(
        "rollout", "start", f"toy@{version}", "--to", "tag:hall=2", "--waves", "1,100%", "--soak", "0s",
        "--probation", "1s", "--min-requests", "0", "--wait", "--site", str(site), check=False,
    )  # fmt: skip


def test_a_good_release_reaches_all_and_a_bad_one_only_the_first(site: Path, devices: dict[str, Device]) -> None:
    until(lambda: len(json.loads(edgelift("devices", "--site", str(site), "--json").stdout)) == 2)
    assert rollout(site, "1").returncode == 0
    assert [device.answer() for device in devices.values()] == [1, 1]
    assert rollout(site, "2").returncode == 0
    assert [device.answer() for device in devices.values()] == [2, 2]
    until(lambda: [show(site, name)["device"]["transport"] for name in devices] == ["mqtt", "http"], "both ways")
    bad = rollout(site, "3")
    assert bad.returncode == 1
    assert "golden-mismatch" in bad.stdout + bad.stderr
    assert [device.answer() for device in devices.values()] == [2, 2]
    tried = [
        name for name in devices if any(h["update"].get("version") == "3" for h in show(site, name)["history"])
    ]
    assert len(tried) == 1


def test_without_its_broker_an_mqtt_device_goes_on_over_http(site: Path, devices: dict[str, Device]) -> None:
    until(lambda: len(json.loads(edgelift("devices", "--site", str(site), "--json").stdout)) == 2)
    edgelift("assign", "toy@1", "--device", "pi-1", "--probation", "0s", "--site", str(site))
    until(lambda: devices["pi-1"].answer() == 1)
    until(lambda: devices["pi-1"].status()["transport"] == "mqtt")
    pid = json.loads((site / "run" / "server.json").read_text())["pid"]
    broker = next(p for p in psutil.Process(pid).children(recursive=True) if "mosquitto" in p.name())
    broker.kill()  # the server starts it again; until then HTTP must do
    edgelift("assign", "toy@2", "--device", "pi-1", "--probation", "0s", "--site", str(site))
    until(lambda: devices["pi-1"].answer() == 2)
    until(lambda: show(site, "pi-1")["device"]["slots"][0]["version"] == "2")


def test_the_windows_of_a_probation_come_with_its_commit(site: Path, tmp_path: Path) -> None:
    """A window lasts an hour here: the host, which believes a commit only by windows, would wait for it in vain."""
    running = json.loads((site / "run" / "server.json").read_text())
    token = edgelift("token", "create", "--site", str(site)).stdout
    slow = "[telemetry]\nwindow_s = 3600\nprobation_window_s = 3600\npublish_interval_s = 3600\n"
    device = Device(tmp_path / "pi-3", running["url"], "", name="pi-3", extra=slow)
    device.config.write_text(device.config.read_text().replace("[host]", 'tags = { hall = "3" }\n[host]', 1))
    assert enroll(device, token).returncode == 0
    device.start()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with contextlib.suppress(requests.RequestException):
                device.answer()
            ended.wait(0.01)

    client = threading.Thread(target=ask, daemon=True)
    try:
        until(lambda: len(json.loads(edgelift("devices", "--site", str(site), "--json").stdout)) == 1)
        client.start()
        done = edgelift(
            "rollout", "start", "toy@1", "--to", "tag:hall=3", "--waves", "100%", "--probation", "2s",
            "--min-requests", "20", "--deadline", "1h", "--wait", "--json", "--site", str(site),
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        assert (found["state"], found["devices"][0]["committed_by"]) == ("done", "requests")
    finally:
        ended.set()
        if client.is_alive():
            client.join()
        device.stop()
