"""Agent and server of different releases, one of them the last that landed: all of a device's life works, by both links.

What is promised stands in docs/versions.md. Both are processes of their own; which code they run is a matter of
PYTHONPATH. The operator speaks plain HTTP: a tool of the other release is a client like any other.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.fleet.conftest import Server, environment
from tests.fleet.identity.sites import plain
from tests.simulators.device import Device
from tests.simulators.released import environment_of, unpack_release, why_not_here
from tests.simulators.releases import write_release
from tests.waiting import LONG_S, until

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.runtime import ToyModelFile

pytestmark = [pytest.mark.fleet, pytest.mark.broker]

QUICK = {"probation_s": 0.2, "probation_min_requests": 0, "max_latency_ratio": 0}
SOON = "[telemetry]\nwindow_s = 1.0\npublish_interval_s = 1.0\nprobation_window_s = 1.0\n"


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables by which a process runs the last landed release."""
    if why := why_not_here():
        pytest.skip(f"the last landed release is not at hand: {why}")
    return environment_of(unpack_release(tmp_path_factory.mktemp("released")))


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`toy@1` … `toy@5`, of which the fourth answers otherwise than its goldens say."""
    found = {}
    for version in "12345":
        slot, blobs = toy_artifact(version, ToyModelFile(scale=int(version)), golden_offset=float(version == "4"))
        folder = tmp_path_factory.mktemp("toys") / version
        write_release(folder, [blobs[slot.artifact]], blobs)
        found[version] = folder
    return found


@dataclass
class Site:
    """A site, its server of some release, and a device of another."""

    server: Server
    device: Device

    def ask(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self.server.operator}"}
        answer = requests.request(method, self.server.url + path, json=body, headers=headers, timeout=LONG_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def detail(self) -> Any:
        return self.ask("GET", "/v1/devices/pi-1")

    def slot(self) -> Any:
        slots = self.detail()["device"]["slots"]
        return slots[0] if slots else {}

    def assign(self, version: str, **policy: object) -> None:
        body = {"release": f"toy@{version}", "policy": {**QUICK, **policy}}
        self.ask("POST", "/v1/devices/pi-1/assign", body)

    def serves(self, version: str, outcome: str = "committed") -> bool:
        slot = self.slot()
        update = slot.get("update") or {}
        return (slot.get("state"), slot.get("version"), update.get("outcome")) == ("serving", version, outcome)


def edgelift(env: dict[str, str], *arguments: object) -> None:
    command = [sys.executable, "-c", "from edgelift.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(
        command, env={**environment(), **env}, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def make_site(folder: Path, env: dict[str, str], toys: dict[str, Path]) -> Path:
    """By that release's own command; its devices have no certificates, as those of the older release."""
    edgelift(env, "init", folder)
    plain(folder)
    for release in toys.values():
        edgelift(env, "publish", release, "--site", folder)
    return folder


@pytest.fixture
def start(tmp_path: Path, toys: dict[str, Path], mosquitto_program: str) -> Iterator[Callable[..., Site]]:
    """Makes a site and starts a server and a device, each with the variables that choose its code."""
    made: list[Site] = []

    def begin(of_server: dict[str, str], of_device: dict[str, str], link: str) -> Site:
        folder = make_site(tmp_path / "site", of_server, toys)
        server = Server(folder, *(("--broker", "none") if link == "http" else ()), env=of_server).start()
        device = Device(tmp_path / "device", server.url, server.token, extra=SOON)
        device.environment = of_device
        made.append(Site(server, device))
        device.start()
        return made[-1]

    yield begin
    for site in made:
        site.device.stop()
        site.server.stop()


@pytest.mark.parametrize("link", ["http", "mqtt"])
@pytest.mark.parametrize("older", ["agent", "server"])
def test_a_device_lives_with_a_server_of_the_other_release(
    start: Callable[..., Site], released: dict[str, str], older: str, link: str
) -> None:
    of_server, of_device = ({}, released) if older == "agent" else (released, {})
    site = start(of_server, of_device, link)
    device = site.device
    until(lambda: any(one["device"] == "pi-1" for one in site.ask("GET", "/v1/devices")), "its enrolment")
    until(lambda: device.status()["transport"] == link, link)

    site.assign("1")
    until(lambda: site.serves("1"), "the first model served and reported")
    assert device.answer() == 1

    site.assign("2")
    answers = []
    while not site.serves("2"):
        answers.append(device.answer())  # no request fails in the swap
    assert set(answers) <= {1, 2}
    assert device.answer() == 2

    def told() -> bool:
        detail = site.detail()
        seen = {one["version"] for one in detail["latency"] if one["ok"]}
        return "2" in seen and len(detail["swaps"]) == 2 and len(detail["history"]) == 2

    until(told, "its windows, swaps and history")
    detail = site.detail()
    assert [swap["dropped"] for swap in detail["swaps"]] == [0, 0]
    assert detail["device"]["revision_applied"] == detail["device"]["revision"] == 2
    assert detail["device"]["online"]

    # What was assigned while it was away is retained, by whichever link it comes.
    device.stop()
    until(lambda: not site.detail()["device"]["online"] or link == "http", "its good-bye")
    site.assign("3")
    device.start()
    until(lambda: site.serves("3"), "what was assigned meanwhile")

    site.assign("2", allow_older=True)
    until(lambda: site.serves("2"), "the version before, again")

    site.assign("4")
    until(lambda: site.serves("2", "refused"), "a release that is not what its goldens say")
    assert site.slot()["update"]["code"] == "golden-mismatch"
    assert device.answer() == 2

    rollout = {"release": "toy@5", "to": "all", "waves": ["100%"], "policy": QUICK}
    number = site.ask("POST", "/v1/rollouts", rollout)["id"]
    until(lambda: site.ask("GET", f"/v1/rollouts/{number}")["state"] == "done", "the rollout's end")
    assert device.answer() == 5

    device.order("rollback")
    until(lambda: site.slot()["state"] == "pinned", "its own way back, told")
    assert device.answer() == 2


def test_a_site_and_its_device_are_brought_to_this_release_one_after_the_other(
    start: Callable[..., Site], released: dict[str, str]
) -> None:
    """The server first: it migrates its database; then the agent, on the state that the older one left."""
    site = start(released, released, "mqtt")
    device = site.device
    until(lambda: device.status()["transport"] == "mqtt", "mqtt")
    site.assign("1")
    until(lambda: site.serves("1"), "the first model")

    port, broker = site.server.url.rsplit(":", 1)[1], site.server.info["broker"].rsplit(":", 1)[1]
    site.server.stop()
    assert device.answer() == 1
    site.server = Server(site.server.site, "--port", port, "--mqtt-port", broker).start()
    until(lambda: site.detail()["device"]["online"], "the older agent, back")
    site.assign("2")
    until(lambda: site.serves("2"), "an update by the newer server")

    device.stop()
    device.environment = {}
    site.assign("3")
    device.start()
    until(lambda: site.serves("3"), "what was assigned meanwhile")
    assert {one["update"]["version"] for one in site.detail()["history"]} == {"1", "2", "3"}
    assert site.detail()["facts"]["abilities"] == ["bundle"]
    device.order("rollback")
    until(lambda: device.answer() == 2, "what the older agent had installed")
