"""The floor of release counters: nothing lowers it, it stops nothing that a slot runs or ran just before (real agents)."""

from __future__ import annotations

import json

import msgspec
import pytest
from tests.agent.test_damaged_store import blob_of, damage, serves
from tests.simulators.device import Device
from tests.simulators.signing_site import SigningSite
from tests.waiting import until

from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.assignment import Policy

PLAIN, BACK = Policy(probation_s=0.1), Policy(probation_s=0.1, allow_older=True)


@pytest.fixture(params=[False, True], ids=["unsigned", "signed"])
def site(request: pytest.FixtureRequest, host: ToyHost) -> ToyHost:
    if request.param:
        SigningSite(host).begin()
    return host


def give(host: ToyHost, version: str, policy: Policy = PLAIN, **words: str) -> str:
    """Assign it and wait until that is carried out; its artifact."""
    wanted = host.publish(version, ToyModelFile(scale=float(version)), policy=policy)
    revision = host.assign("pi-1", toy=msgspec.structs.replace(wanted, **words))
    host.wait_for("pi-1", lambda r: serves(r, version) and r.revision_applied == revision)
    return wanted.artifact


def went_back(host: ToyHost, device: Device) -> tuple[str, str]:
    device.start()
    first, second = give(host, "1"), give(host, "2")
    assert give(host, "1", BACK) == first
    return first, second


def test_going_back_lowers_nothing_and_what_runs_may_be_swapped_to_itself(site: ToyHost, device: Device) -> None:
    went_back(site, device)
    assert json.loads((device.state / "committed.json").read_bytes())["floors"] == {"toy": 2}
    give(site, "1", PLAIN, placebo="r7.1")
    until(lambda: any(one.reason == "placebo" for one in site.of_kind("swap")), "the placebo swap")
    assert device.answer() == 1.0


def test_what_it_went_back_to_and_the_card_damaged_comes_again(site: ToyHost, device: Device) -> None:
    first, _ = went_back(site, device)
    device.stop()
    damage(blob_of(device, first, "model"))
    device.start()
    until(lambda: device.answer() == 1.0, "what was ordered to be served again")
    assert json.loads((device.state / "committed.json").read_bytes())["floors"] == {"toy": 2}


def test_what_ran_just_before_and_was_lost_with_what_ran_may_be_gone_back_to(
    site: ToyHost, device: Device
) -> None:
    device.start()
    first, second = give(site, "1"), give(site, "2")
    device.stop()
    for one in (first, second):
        damage(blob_of(device, one, "model"))
    device.start()
    until(lambda: device.answer() == 2.0, "what is assigned to be served again")
    give(site, "1", BACK)
    assert device.answer() == 1.0
