"""A site comes back beside a broker that outlived it and retains newer assignments; a real agent was on it all the while."""

import json
import shutil
from pathlib import Path

import pytest

from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.ports import free_port
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy
from edgelift_contract.enrol import BrokerAccess
from edgelift_fleet.messages import AssignReply, AssignRequest
from edgelift_fleet.mqtt.publisher import ALL_DESIRED
from edgelift_fleet.testing import SimulatedDevice, connect_mqtt
from tests.fleet.conftest import Server, edgelift, make_site
from tests.fleet.operating import Operator
from tests.fleet.test_backup import put_back, shown, take
from tests.fleet.test_sharing import broker as broker
from tests.fleet.test_sharing import health
from tests.simulators.device import Device
from tests.simulators.releases import write_release
from tests.waiting import until

pytestmark = [pytest.mark.fleet, pytest.mark.broker]

ANY = Policy(probation_s=0.1, probation_min_requests=0, max_latency_ratio=0, allow_older=True)


def toys(folder: Path) -> dict[str, Path]:
    found = {}
    for version in "123":
        # Of a class that both have: the simulated devices are of this one, and the real one takes it.
        slot, blobs = toy_artifact(version, ToyModelFile(scale=int(version)), hardware_class="x86-64-avx2")
        write_release(folder / version, [blobs[slot.artifact]], blobs)
        found[f"toy@{version}"] = folder / version
    return found


class Retained:
    """What the broker retains of assignments: device → (revision, version), as somebody sees it who comes now."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self) -> dict[str, tuple[int, str]]:
        found, client = {}, connect_mqtt(BrokerAccess("127.0.0.1", self._port), "looker")

        def came(_client: object, _data: object, message: object) -> None:
            if message.topic == "end":
                found["end"] = (0, "")
            elif message.payload:
                body = json.loads(message.payload)
                slots = list(body["slots"].values())
                found[body["device"]] = body["revision"], slots[0]["version"] if slots else ""

        client.on_message = came
        client.subscribe([(ALL_DESIRED, 1), ("end", 1)])
        client.publish("end", b"", 1)  # it comes after all that is retained
        until(lambda: "end" in found)
        client.disconnect()
        client.loop_stop()
        return {device: one for device, one in found.items() if device != "end"}


def is_at_peace(device: Device) -> bool:
    """The host said something older than what it has seen, and said so no more."""
    log = device.log.read_text()
    return 0 < log.rfind("code=older-assignment") < log.rfind("the host is there again")


def test_boards_stay_or_end_on_what_the_restored_site_says_and_nothing_flaps(tmp_path: Path, broker: int) -> None:
    site = make_site(tmp_path / "site", toys(tmp_path / "toys"))
    server = Server(site, "--broker", f"mqtt://127.0.0.1:{broker}", "--port", str(free_port())).start()
    device, retained, operator = (
        Device(tmp_path / "pi-1", server.url, server.token),
        Retained(broker),
        Operator(server),
    )

    def assign(release: str, *names: str) -> None:
        for name in names:
            operator.client.post(f"/v1/devices/{name}/assign", AssignRequest(release, policy=ANY), AssignReply)

    try:
        device.start()
        until(lambda: device.status()["transport"] == "mqtt", "mqtt")
        for name in ("pi-2", "pi-3"):  # they are off from now on
            SimulatedDevice(server.url, server.token, name).enrol()
        assign("toy@2", "pi-1", "pi-2")
        until(lambda: operator.versions("pi-1") == ["2"])
        take(site, tmp_path / "site.tar", "--with-secrets")
        assign("toy@1", "pi-1")  # toy@2 is taken back, where it was
        assign("toy@3", "pi-2", "pi-3")  # what they do not hear of
        until(lambda: operator.versions("pi-1") == ["1"])
        until(lambda: retained() == {"pi-1": (2, "1"), "pi-2": (2, "3"), "pi-3": (1, "3")})
        generation = operator.detail("pi-1").device.slots[0].generation

        server.stop()
        shutil.rmtree(site)
        put_back(tmp_path / "site.tar", site)
        server.start()
        until(lambda: health(server).broker == "connected")
        until(
            lambda: retained() == {"pi-1": (1, "2"), "pi-2": (1, "2")}, "what the restored site says, and no more"
        )
        until(lambda: shown(server) == [("pi-1", "toy@2", "1")], "who went on")
        until(lambda: is_at_peace(device), "an answer that it can live with")
        assert (device.answer(), operator.detail("pi-1").device.slots[0].generation) == (1, generation)
        assert operator.detail("pi-1").device.revision == 1

        assert edgelift("restored", "pi-1", "--tell", "--site", site).returncode == 0
        until(lambda: operator.versions("pi-1") == ["2"])
        assert device.answer() == 2
        now = operator.detail("pi-1").device
        assert (now.slots[0].generation, now.revision, now.revision_seen) == (generation + 1, 3, 3)
        assert retained()["pi-1"] == (3, "2")
        until(lambda: shown(server) == [])
    finally:
        device.stop()
        server.stop()
