"""A stick carries signed assignments to a board without a network: what a real agent takes from it, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.fleet.conftest import Server, edgelift, make_site
from tests.fleet.trust.sites import sign
from tests.simulators.device import Device
from tests.simulators.releases import write_release

from edgelift_agent.system.inside import open_inside
from edgelift_agent.testing.artifact import toy_artifact
from edgelift_agent.testing.ports import free_port
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.carried import BLOBS, DEVICES
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.hardware import this_machine
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignReply, AssignRequest, DeviceDetail
from edgelift_fleet.site import load_site
from edgelift_fleet.testing import wait_until

pytestmark = pytest.mark.fleet

DAY_S = 86400


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`toy@1` … `toy@5`, which answer their own number."""
    folder, made = tmp_path_factory.mktemp("toys"), {}
    for number in range(1, 6):
        slot, blobs = toy_artifact(str(number), ToyModelFile(scale=float(number)), padding=50_000)
        made[f"toy@{number}"] = folder / f"toy@{number}"
        write_release(made[f"toy@{number}"], [blobs[slot.artifact]], blobs)
    return made


class Away:
    """A signing site, and a board that enrolled there and then lost its network."""

    def __init__(self, folder: Path, releases: dict[str, Path]) -> None:
        self.folder = folder
        self.site = make_site(folder / "site", releases)
        sign(load_site(self.site), releases.values())
        self.server = Server(self.site, "--broker", "none").start()
        self.device = Device(folder / "pi-1", self.server.url, self.server.token)
        self.operator = Client(self.server.url, self.server.operator)
        self.config = self.device.config.read_text()

    def cut(self) -> None:
        self.device.stop()
        self.device.config.write_text(self.config.replace(self.server.url, f"http://127.0.0.1:{free_port()}"))

    def join(self) -> None:
        self.device.stop()
        self.device.config.write_text(self.config)
        self.device.start()

    def assign(self, number: int, device: str = "pi-1", policy: Policy | None = None) -> None:
        wanted = AssignRequest(f"toy@{number}", policy=policy or Policy(probation_s=0.1, probation_min_requests=0))
        self.operator.post(f"/v1/devices/{device}/assign", wanted, AssignReply)

    def export(self, name: str, *options: str) -> Path:
        stick = self.folder / name
        done = edgelift("export", "--device", "pi-1", *options, stick, "--site", self.site)
        assert done.returncode == 0, done.stderr
        return stick

    def take(self, stick: Path) -> dict:
        return self.device.ask("POST", "/import", {"folder": str(stick)})

    def refusal(self, stick: Path) -> str:
        """The code by which the board refuses a stick; what it serves and trusts is left as it was."""
        trusted, serves = (self.device.state / "trust.json").read_bytes(), self.device.answer()
        with pytest.raises(EdgeliftError) as caught:
            self.take(stick)
        assert self.device.answer() == serves
        blobs_at_fault = caught.value.code in ("digest-mismatch", "size-mismatch", "missing-blob", "bad-path")
        assert blobs_at_fault or (self.device.state / "trust.json").read_bytes() == trusted
        assert not [
            one for one in self.device.status()["report"].get("degraded", []) if one["part"] == "assignment"
        ]
        return caught.value.code

    def serves(self, number: int) -> None:
        wait_until(lambda: self.device.answer() == float(number))

    def enrol(self, name: str) -> None:
        facts = DeviceFacts(this_machine(), [this_machine()], {"onnxruntime": "1.30.0"})
        body = codec.canonical_json(EnrolRequest(schema=1, device=name, facts=facts, agent_version="0.1.0"))
        headers = {"Authorization": f"Bearer {self.server.token}", "Content-Type": "application/json"}
        assert requests.post(f"{self.server.url}/v1/enroll", body, headers=headers, timeout=60).ok


@pytest.fixture
def away(tmp_path: Path, releases: dict[str, Path]) -> Iterator[Away]:
    made = Away(tmp_path, releases)
    try:
        made.device.start()
        wait_until(lambda: (made.device.state / "trust.json").exists())
        wait_until(lambda: made.operator.get("/v1/devices/counts", dict)["total"] == 1)
        made.assign(1)
        made.serves(1)
        made.cut()
        yield made
    finally:
        if made.device.process is not None and made.device.process.poll() is None:
            made.device.stop()
        made.server.stop()


def blob_of(stick: Path) -> Path:
    """The model's file: the largest."""
    return max((stick / BLOBS).iterdir(), key=lambda path: path.stat().st_size)


def signed_of(stick: Path, device: str = "pi-1") -> Path:
    return stick / DEVICES / f"{device}.signed"


def test_a_board_takes_its_own_stick_and_no_other(away: Away) -> None:
    away.device.start()
    away.serves(1)
    away.assign(2)
    older = away.export("older")
    away.assign(3)
    stick = away.export("stick")

    def copy(name: str) -> Path:
        return Path(shutil.copytree(stick, away.folder / name, symlinks=True))

    away.enrol("pi-2")
    away.assign(3, "pi-2")
    other = copy("other")
    assert edgelift("export", "--device", "pi-2", other, "--site", away.site).returncode == 0
    signed_of(other).write_bytes(signed_of(other, "pi-2").read_bytes())
    unsigned = copy("unsigned")
    signed_of(unsigned).write_bytes(b'{"schema":1,"device":"pi-1","revision":9,"slots":{}}')
    garbled = copy("garbled")
    signed_of(garbled).write_bytes(signed_of(stick).read_bytes()[:-20])
    huge = copy("huge")
    os.truncate(signed_of(huge), 10 << 20)
    leads_away = copy("leads-away")
    signed_of(leads_away).unlink()
    signed_of(leads_away).symlink_to(away.site / "secrets" / "operator-token")
    pipe = copy("pipe")
    signed_of(pipe).unlink()
    os.mkfifo(signed_of(pipe))

    found = {
        name: away.refusal(folder)
        for name, folder in {
            "other": other, "unsigned": unsigned, "garbled": garbled, "huge": huge, "leads-away": leads_away,
            "pipe": pipe, "empty": away.folder / "nothing-here",
        }.items()
    }  # fmt: skip
    assert found == {
        "other": "wrong-device", "unsigned": "not-signed", "garbled": "malformed", "huge": "too-large",
        "leads-away": "bad-path", "pipe": "bad-path", "empty": "not-found",
    }  # fmt: skip

    tampered, longer, lacking, linked = (copy(name) for name in ("tampered", "longer", "lacking", "linked"))
    blob = blob_of(tampered)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    os.truncate(blob_of(longer), 1 << 30)
    blob_of(lacking).unlink()
    target = blob_of(linked).rename(linked / "elsewhere")
    (linked / BLOBS / blob_of(stick).name).symlink_to(target)
    assert away.refusal(tampered) == "digest-mismatch"
    assert away.refusal(longer) == "size-mismatch"
    assert away.refusal(lacking) == "missing-blob"
    assert away.refusal(linked) == "bad-path"

    taken = away.take(stick)
    shutil.rmtree(stick)  # pulled at once: everything is in the store
    assert taken["revision"] == 3
    away.serves(3)
    assert away.refusal(older) == "metadata-older"

    # It is back on the network: told of all that, and the next honest update comes as ever.
    away.join()
    wait_until(lambda: detail(away).device.revision_seen == 3)
    wait_until(lambda: {"imported", "import-refused"} <= {event.kind for event in detail(away).events})
    refused = {event.code for event in detail(away).events if event.kind == "import-refused"}
    assert {"wrong-device", "digest-mismatch", "metadata-older"} <= refused
    away.assign(4)
    away.serves(4)


def detail(away: Away) -> DeviceDetail:
    return away.operator.get("/v1/devices/pi-1", DeviceDetail)


def test_what_is_carried_ends_and_may_come_in_the_middle_of_an_update(away: Away) -> None:
    away.assign(2, policy=Policy(probation_s=1.0, probation_min_requests=0))
    first = away.export("first", "--days", "1")
    away.assign(3)
    second = away.export("second", "--days", "30")

    away.device.start("--clock-offset-s", str(2 * DAY_S))
    away.serves(1)
    assert away.refusal(first) == "metadata-expired"
    away.device.stop()
    away.device.start()
    away.take(first)
    away.take(second)  # while the one before is being tried, or on its way
    away.serves(3)
    wait_until(lambda: away.device.status()["report"]["slots"]["toy"]["update"]["outcome"] == "committed")
    assert away.take(second)["copied_bytes"] == 0  # the same once more changes nothing

    # Nobody runs: it is taken all the same, and carried out at the next start.
    away.device.stop()
    away.assign(5)
    third = away.export("third", "--days", "30")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(("agent", "builder"))}
    done = run_agent(away, environ, "import", str(third), "--json")
    assert json.loads(done)["revision"] == 4
    shutil.rmtree(third)
    away.device.start("--clock-offset-s", str(29 * DAY_S))
    away.serves(5)


def run_agent(away: Away, environ: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgelift_agent.cli", "--config", str(away.device.config), *words],
        capture_output=True, text=True, env=environ, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_link_on_the_way_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"x")
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "folder").symlink_to(tmp_path / "real")
    for name in ("folder/file", "../real/file", "folder/../../real/file", "/etc/passwd", ""):
        with pytest.raises(OSError):
            open_inside(tmp_path / "stick", name)
