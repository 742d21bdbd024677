"""What `status` and `doctor` say of whom a device trusts; and that one which runs on learns it too."""

import json
from pathlib import Path

import pytest
from tests.agent.trust.test_freshness import Clock
from tests.simulators.device import Device
from tests.simulators.signer import Signer, moment
from tests.simulators.signing_site import SigningSite

from edgelift_agent.cli import main
from edgelift_agent.config import load_config
from edgelift_agent.doctor import Finding, RunningAgent, check_trust
from edgelift_agent.parts.trust import Trust
from edgelift_agent.ports import Committed
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Assignment
from edgelift_contract.report import DeviceFacts

DAY = 86400.0


def doctor(device: Device) -> Finding:
    return check_trust(RunningAgent(load_config(device.config)))


def test_status_and_doctor_say_who_signs_until_when_and_when_they_last_did(
    host: ToyHost, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> str:
        main(["--config", str(device.config), *words])
        return capsys.readouterr().out

    host.assign("pi-1", toy=host.publish("1", ToyModelFile()))
    device.start()
    host.wait_for("pi-1", lambda r: r.revision_applied == 1)
    assert "certificate: none; this device shows the token that all share" in command("status")
    assert "trust: nobody; what is assigned is taken unsigned" in command("status")
    assert json.loads(command("status", "--json"))["trust"] == {}
    assert doctor(device).state == "warn" and "takes what the host says" in doctor(device).message
    device.stop()
    site = SigningSite(host).begin()
    device.start()
    host.wait_for("pi-1", lambda r: r.nonce != "" and site.answers == 1)
    host.assign("pi-1", toy=host.publish("2", ToyModelFile()))
    host.wait_for("pi-1", lambda r: r.revision_applied == 2)
    trust = json.loads(command("status", "--json"))["trust"]
    now = site.signer.now
    assert {name: root["version"] for name, root in trust["roots"].items()} == {"director": 1, "image": 1}
    assert all(abs(root["expires"] - now - 365 * DAY) < 2 for root in trust["roots"].values())
    assert trust["floor"] == int(now) and trust["heard_at"] >= now - 1
    said = command("status")
    assert (
        "trust: director root 1 (until 20" in said
        and "last fresh answer 20" in said
        and "no earlier than 20" in said
    )
    assert doctor(device).state == "ok" and "director root 1" in doctor(device).message
    site.signs = False
    host.assign("pi-1", toy=host.publish("3", ToyModelFile()))
    host.wait_for("pi-1", lambda r: any(one.code == "not-signed" for one in r.degraded))
    assert doctor(device).state == "fail" and "not signed" in doctor(device).message


@pytest.fixture
def trust(tmp_path: Path) -> tuple[Trust, Clock]:
    clock, facts = Clock(), DeviceFacts(hardware_class="arm64-neon")
    made = Trust(tmp_path, Disk(), clock, Degraded(clock), "pi-1", lambda: facts, Committed)
    return made, clock


def test_an_agent_that_runs_on_asks_once_a_day_whom_to_trust_and_never_again_once_it_knows(
    trust: tuple[Trust, Clock],
) -> None:
    made, clock = trust
    assert not made.wants_roots()  # it is being enrolled
    for _ in range(3):
        clock.pass_(0.79 * DAY)
        assert not made.wants_roots()
        clock.pass_(0.21 * DAY)
        assert made.wants_roots()
        assert not made.wants_roots()
    made.learn({})  # the site does not sign
    assert not made.must_be_signed() and not made.asks_anew()
    made.learn({name: data.decode() for name, data in Signer("pi-1").roots().items()})
    clock.pass_(2 * DAY)
    assert not made.wants_roots() and made.must_be_signed() and made.asks_anew()
    nonce = made.nonce
    made.learn({name: data.decode() for name, data in Signer("pi-1").roots().items()})
    assert made.nonce == nonce


def test_a_week_without_a_fresh_answer_is_told_until_one_comes(trust: tuple[Trust, Clock], tmp_path: Path) -> None:
    made, clock = trust
    signer = Signer("pi-1", now=clock.shows)
    made.learn({name: data.decode() for name, data in signer.roots().items()})

    def answer() -> None:
        signer.direct(Assignment(schema=1, device="pi-1", revision=1), [])
        signer.nonce = made.nonce
        signer.publish()
        made.open(signer.bundle())

    answer()
    for _ in range(9):
        clock.pass_(DAY)
        assert made.asks_anew()
        made.look_again()
    assert [(one.part, one.code) for one in made._degraded.reasons()] == [("freshness", "not-fresh")]
    signer.now = clock.shows
    for repo in (signer.image, signer.director):
        for role in ("snapshot", "timestamp"):
            repo.signed(role).expires = moment(signer.now + 7 * DAY)
    made.told(made.nonce)
    answer()
    assert made._degraded.reasons() == []
