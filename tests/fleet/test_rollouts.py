"""Rollouts over a real server: waves, failures that go back, commands, restarts, late joiners."""

import json
import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from edgelift.rollout_progress import headline
from edgelift_agent.testing.ports import free_port
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.messages import (
    RolloutRequest,
    RolloutSummary,
    RolloutView,
)
from edgelift_fleet.testing import Behaviour, simulated_fleet, wait_until
from edgelift_fleet.testing.device import FACTS
from tests.fleet.conftest import Server, edgelift, make_site
from tests.fleet.operating import Fleet, Operator, hold, start_fleet

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Iterator[Server]:
    with Server(make_site(tmp_path_factory.mktemp("rollouts") / "site", releases), "--broker", "none") as made:
        yield made


@pytest.fixture
def operator(shared: Server, request: pytest.FixtureRequest) -> Operator:
    return Operator(shared, f"t{zlib.crc32(request.node.name.encode()):08x}-")


@pytest.fixture
def fleet(shared: Server, operator: Operator) -> Iterator[Fleet]:
    with simulated_fleet(shared.site) as simulator:
        yield Fleet(simulator, operator.prefix)


def test_waves_go_out_one_after_another(operator: Operator, fleet: Fleet) -> None:
    names = [f"pi-{n}" for n in range(1, 6)]
    start_fleet(fleet, operator, *names, behaviour=Behaviour(delay_s=0.3))
    rollout = operator.start("digits@2", "1,50%,100%", soak_s=0.2)
    done = operator.wait(rollout, "done")
    assert operator.versions(*names) == ["2"] * 5
    assert [d.wave for d in done.devices] == [1, 2, 2, 3, 3]
    for earlier, later in ((1, 2), (2, 3)):
        committed = max(d.status_at for d in done.devices if d.wave == earlier)
        begun = next(e.at for e in done.events if e.kind == "wave" and f"wave {later} of" in e.text)
        assert begun >= committed + 0.2
    assert (done.committed, done.failed, done.cohort) == (5, 0, 5)


@pytest.mark.parametrize("outcome", ["refused", "rolled-back", "inconsistent"])
def test_a_failure_stops_it_and_the_wave_goes_back(operator, fleet, outcome: str) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2", behaviour=Behaviour(bad={"3": outcome}))
    rollout = operator.start("digits@3")
    ended = operator.wait(rollout, "rolled-back")
    assert "pi-1" in ended.reason and "golden-mismatch" in ended.reason
    (device,) = ended.devices  # pi-2 was never touched
    assert (device.device, device.status, device.code, device.previous) == (
        "pi-1", "restored", "golden-mismatch", "digits@1",
    )  # fmt: skip
    assert operator.versions("pi-1", "pi-2") == ["1", "1"]
    wanted = operator.detail("pi-1").device.slots[0].desired
    assert (wanted.version, wanted.policy.allow_older, wanted.rollout) == ("1", True, rollout.id)


def test_a_failure_in_a_late_wave_takes_back_every_wave(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2", "pi-3")
    fleet.devices["pi-3"].behaviour = Behaviour(bad={"2": "rolled-back"}, delay_s=0.5)
    ended = operator.wait(operator.start("digits@2", "1,100%"), "rolled-back")
    assert operator.versions("pi-1", "pi-2", "pi-3") == ["1", "1", "1"]
    assert {d.device: d.status for d in ended.devices} == dict.fromkeys(("pi-1", "pi-2", "pi-3"), "restored")
    assert sorted(ended.events[-1].devices["restored"]) == [operator.prefix + f"pi-{n}" for n in (1, 2, 3)]


def test_earlier_waves_keep_it_when_that_was_asked_for_until_a_person_takes_it_back(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2", "pi-3")
    fleet.devices["pi-3"].behaviour = Behaviour(bad={"2": "rolled-back"}, delay_s=0.5)
    rollout = operator.start("digits@2", "1,100%", keep_earlier=True)
    ended = operator.wait(rollout, "wave-rolled-back")
    assert operator.versions("pi-1", "pi-2", "pi-3") == ["2", "1", "1"]
    assert {d.device: d.status for d in ended.devices} == {
        "pi-1": "committed", "pi-2": "restored", "pi-3": "restored",
    }  # fmt: skip
    assert f"edgelift rollout rollback {rollout.id}" in headline(ended)
    operator.order(rollout, "rollback", why="All of it.")
    again = operator.wait(rollout, "rolled-back")
    assert operator.versions("pi-1", "pi-2", "pi-3") == ["1", "1", "1"]
    assert "edgelift rollout rollback" not in headline(again)
    assert [(e.who, e.why) for e in again.events if e.why] == [("operator", "All of it.")]


def test_failures_that_are_allowed(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2", "pi-3")
    fleet.devices["pi-2"].behaviour = Behaviour(bad={"2": "refused"})
    ended = operator.wait(operator.start("digits@2", "1,100%", max_failures=1), "done")
    assert (ended.committed, ended.failed) == (2, 1)


def test_a_silent_device_holds_its_wave_until_its_deadline(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    fleet.devices["pi-1"].behaviour = Behaviour(bad={"2": "silent"})
    rollout = operator.start("digits@2", deadline_s=1)
    ended = operator.wait(rollout, "rolled-back")
    assert "no answer before its deadline" in ended.reason
    at = {event.kind: event.at for event in ended.events}
    assert at["rolling-back"] >= at["wave"] + 1
    assert [d.device for d in ended.devices] == ["pi-1"] and operator.versions("pi-2") == ["1"]


def test_a_first_release_that_fails_leaves_an_empty_slot(operator, fleet) -> None:
    fleet.add("pi-1", behaviour=Behaviour(outcome="refused"))
    ended = operator.wait(operator.start("digits@1", "100%"), "rolled-back")
    assert ended.devices[0].status == "restored"
    assert operator.detail("pi-1").device.slots == []
    assert any("pi-1 has an empty slot again" in event.text for event in ended.events)


def test_a_device_that_nothing_suits_is_named_and_sends_nobody_back(operator, fleet) -> None:
    facts = DeviceFacts("jetson-maxwell", ["jetson-maxwell"], {"onnxruntime": "1.30"})
    fleet.add("a-nano", facts=facts)
    start_fleet(fleet, operator, "pi-1", "pi-2")
    done = operator.wait(operator.start("digits@2", "1,100%"), "done")
    assert {d.device: d.status for d in done.devices} == {
        "a-nano": "unsuited", "pi-1": "committed", "pi-2": "committed",
    }  # fmt: skip
    nano = next(d for d in done.devices if d.device == "a-nano")
    assert (nano.code, done.failed) == ("wrong-hardware-class", 0) and "a-nano" in done.reason
    assert operator.versions("pi-1", "pi-2") == ["2", "2"]


def test_late_joiners_come_in_later_waves(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    gates = hold(fleet, "pi-1", "pi-2")
    rollout = operator.start("digits@2")
    operator.wait(rollout, lambda r: r.reached == 1)
    fleet.add("pi-0")
    gates["pi-1"].set()
    operator.wait(rollout, lambda r: r.reached == 3)
    fleet.add("pi-3")  # in the middle of a wave: it joins
    operator.wait(rollout, lambda r: r.reached == 4)
    gates["pi-2"].set()
    done = operator.wait(rollout, "done")
    assert {d.device: d.wave for d in done.devices} == {"pi-1": 1, "pi-2": 2, "pi-0": 2, "pi-3": 2}


def test_pause_resume_cancel(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    gates = hold(fleet, "pi-1", "pi-2")
    rollout = operator.start("digits@2")
    operator.wait(rollout, lambda r: r.counts == {"updating": 1})
    assert operator.order(rollout, "pause").state == "paused"
    gates["pi-1"].set()
    # It takes note that the wave is through, and yet begins no other.
    seen = operator.wait(rollout, lambda r: any(e.kind == "committed" for e in r.events))
    assert (seen.state, seen.reached) == ("paused", 1) and operator.versions("pi-2") == ["1"]
    with pytest.raises(ContractError) as refused:
        operator.order(rollout, "pause")
    assert refused.value.code == "conflict"
    operator.order(rollout, "resume")
    gates["pi-2"].set()
    operator.wait(rollout, "done")
    hold(fleet, "pi-1", "pi-2")
    other = operator.start("digits@3")
    cancelled = operator.order(other, "cancel", why="Not today.")
    named = [device for names in cancelled.events[-1].devices.values() for device in names]
    assert cancelled.state == "cancelled" and sorted(named) == [f"{operator.prefix}pi-{n}" for n in (1, 2)]
    assert "By operator: Not today." in cancelled.reason
    for command in ("pause", "resume", "cancel"):
        with pytest.raises(ContractError):
            operator.order(other, command)


def test_a_pause_takes_back_what_was_not_begun_and_resuming_gives_it_again(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    fleet.devices["pi-2"].stop()
    rollout = operator.start("digits@2", "100%")
    operator.wait(rollout, lambda r: r.committed == 1 and r.reached == 2)
    operator.order(rollout, "pause")
    operator.wait(rollout, lambda r: r.counts == {"committed": 1, "held": 1})
    fleet.devices["pi-2"].start()  # it comes back and is told nothing new
    wait_until(lambda: operator.detail("pi-2").device.revision_seen == operator.detail("pi-2").device.revision)
    assert operator.versions("pi-1", "pi-2") == ["2", "1"]
    operator.order(rollout, "resume")
    operator.wait(rollout, "done")
    assert operator.versions("pi-1", "pi-2") == ["2", "2"]


def test_a_person_rolls_all_back(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    rollout = operator.start("digits@2")
    operator.wait(rollout, "done")
    fleet.devices["pi-1"].behaviour = Behaviour(bad={"3": "refused"})
    operator.wait(operator.start("digits@3"), "rolled-back")  # gives pi-1 digits@2 back, under its own name
    operator.order(rollout, "rollback")
    ended = operator.wait(rollout, "rolled-back")
    assert operator.versions("pi-1", "pi-2") == ["1", "1"]
    assert [d.status for d in ended.devices] == ["restored", "restored"]


def test_a_direct_assignment_takes_a_device_out(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    fleet.devices["pi-1"].behaviour = Behaviour(bad={"2": "silent"})
    rollout = operator.start("digits@2")
    operator.wait(rollout, lambda r: r.reached == 1)
    operator.assign("digits@3", "pi-1")
    done = operator.wait(rollout, "done")
    assert {d.device: d.status for d in done.devices} == {"pi-1": "superseded", "pi-2": "committed"}
    assert "another assignment" in done.reason
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["3", "2"])


def test_only_one_rollout_at_a_time_on_a_slot(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1")
    hold(fleet, "pi-1")
    first = operator.start("digits@2")
    with pytest.raises(ContractError) as refused:
        operator.start("digits@3")
    assert refused.value.code == "conflict" and first.id in refused.value.message


def test_tagging_a_device_into_a_second_rollout_of_its_slot_is_refused(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    hold(fleet, "pi-1", "pi-2")
    operator.tag("pi-2", "other", "demo")
    operator.tag("pi-2", remove=("demo",))  # the device's own tag of that key comes again with its next report
    fleet.devices["pi-2"].tags.clear()
    fleet.devices["pi-2"].report()
    first = operator.start("digits@2")
    second = operator.start("digits@3", to=f"tag:{operator.prefix}other")
    with pytest.raises(ContractError) as refused:
        operator.tag("pi-1", "other")
    assert (
        refused.value.code == "conflict"
        and first.id in refused.value.message
        and second.id in refused.value.message
    )
    assert operator.detail("pi-1").device.tags == {f"{operator.prefix}demo": ""}
    operator.order(second, "cancel")
    operator.tag("pi-1", "other")  # nothing stands against it any more


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"release": "digits@9"}, "not-found"),
        ({"release": "digits"}, "bad-id"),
        ({"to": "tag:nobody"}, "not-found"),
        ({"to": "everyone"}, "bad-id"),
        ({"waves": ["100%", "1"]}, "malformed"),
        ({"waves": ["1", "50%"]}, "malformed"),
        ({"waves": ["0", "100%"]}, "malformed"),
        ({"waves": ["50%", "25%", "100%"]}, "malformed"),
        ({"deadline_s": 1.0, "policy": Policy(probation_s=5)}, "malformed"),
    ],
)
def test_what_cannot_be_started(operator, fleet, change, code) -> None:
    fleet.add("pi-1")
    before = operator.client.get("/v1/rollouts", list[RolloutSummary])
    wanted = {"release": "digits@1", "to": f"tag:{operator.prefix}demo", "waves": ["100%"], **change}
    with pytest.raises(ContractError) as refused:
        operator.client.post("/v1/rollouts", RolloutRequest(**wanted), RolloutView)
    assert refused.value.code == code
    assert len(operator.client.get("/v1/rollouts", list[RolloutSummary])) == len(before)


def test_a_restart_in_the_middle_loses_nothing(site) -> None:
    # The devices look for it where it was: no outgoing connection takes such a port meanwhile.
    server = Server(site, "--broker", "none", "--port", str(free_port())).start()
    try:
        operator = Operator(server)
        with simulated_fleet(site) as simulator:
            fleet = Fleet(simulator)
            start_fleet(fleet, operator, "pi-1", "pi-2", "pi-3")
            gates = hold(fleet, "pi-2")
            rollout = operator.start("digits@2", "1,2,100%")
            operator.wait(rollout, lambda r: any(e.text == "pi-2 is updating." for e in r.events))
            server.stop(9)
            gates["pi-2"].set()  # it has nobody to tell
            wait_until(lambda: fleet.devices["pi-2"].errors, what="a device that finds no server")
            server.start()
            done = operator.wait(rollout, "done")
            assert [d.wave for d in done.devices] == [1, 2, 3]
            assert operator.versions("pi-1", "pi-2", "pi-3") == ["2", "2", "2"]
    finally:
        server.stop()


def test_the_command_line(shared: Server, operator: Operator, fleet: Fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2", behaviour=Behaviour(bad={"3": "refused"}))
    at, to = ("--site", shared.site), ("--to", f"tag:{operator.prefix}demo")
    good = edgelift("rollout", "start", "digits@2", *to, "--waves", "1,100%", "--probation", "1s", "--wait", *at)
    assert good.returncode == 0, good.stderr
    assert "wave 2 of 2 begins" in good.stdout and "2 of 2 committed" in good.stdout
    bad = edgelift("rollout", "start", "digits@3", *to, "--probation", "2s", "--wait", "--json", *at)
    assert bad.returncode == 1
    view = json.loads(bad.stdout)
    assert view["state"] == "rolled-back" and "golden-mismatch" in view["reason"]
    assert view["id"] in edgelift("rollout", "list", *at).stdout
    shown = edgelift("rollout", "show", view["id"], *at).stdout
    assert "restored" in shown and "probation_s " in shown, "how each device updates is part of what was asked for"
    unknown = edgelift("rollout", "show", "r999", *at)
    assert unknown.returncode == 1 and "There is no rollout 'r999'" in unknown.stderr


def test_only_as_many_are_under_way_as_may_be(operator, fleet) -> None:
    names = ("pi-1", "pi-2", "pi-3")
    start_fleet(fleet, operator, *names)
    gates = hold(fleet, *names)
    rollout = operator.start("digits@2", "100%", concurrency=1)
    for number in (1, 2, 3):
        view = operator.wait(rollout, lambda r: r.counts.get("updating") == 1)
        assert view.reached == number
        (device,) = (d.device for d in view.devices if d.status == "updating")
        gates[device].set()
        operator.wait(rollout, lambda r, n=number: r.committed == n)
    assert operator.wait(rollout, "done").committed == 3


def test_what_fails_for_a_passing_reason_is_asked_again(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1", "pi-2")
    fleet.devices["pi-1"].behaviour = Behaviour(bad={"2": "refused"}, code="unreachable")
    rollout = operator.start("digits@2", retries=10, retry_after_s=0.5)
    operator.wait(rollout, lambda r: any(e.kind == "failed" and "pi-1" in e.text for e in r.events))
    fleet.devices["pi-1"].behaviour = Behaviour()
    done = operator.wait(rollout, "done")
    assert (done.committed, done.failed) == (2, 0) and operator.versions("pi-1", "pi-2") == ["2", "2"]


def test_each_device_begins_within_its_window_by_its_own_clock(operator, fleet) -> None:
    """The window is open now in Tokyo and shut in UTC, which is the zone of who tells none."""
    there = datetime.now(ZoneInfo("Asia/Tokyo"))
    begin, end = there - timedelta(hours=2), there + timedelta(hours=2)
    fleet.add("pi-1", facts=msgspec.structs.replace(FACTS, timezone="Asia/Tokyo"))
    fleet.add("pi-2")
    operator.assign("digits@1", "pi-1", "pi-2")
    wait_until(lambda: operator.versions("pi-1", "pi-2") == ["1", "1"])
    rollout = operator.start("digits@2", "100%", windows=[f"{begin:%H:%M}-{end:%H:%M}"])
    view = operator.wait(rollout, lambda r: r.committed == 1 and "waits for the window" in r.reason)
    assert (view.state, view.reached, [d.device for d in view.devices]) == ("running", 1, ["pi-1"])
    assert view.now + 3600 < view.due_at < view.now + 86400
    assert operator.order(rollout, "cancel").state == "cancelled" and operator.versions("pi-2") == ["1"]


def test_a_rollout_with_a_start_time_waits_for_it(operator, fleet) -> None:
    start_fleet(fleet, operator, "pi-1")
    rollout = operator.start("digits@2", "100%", start_at=time.time() + 3)
    assert rollout.state == "scheduled"
    done = operator.wait(rollout, "done")
    begun = next(event for event in done.events if event.kind == "wave")
    assert begun.at >= done.plan.start_at
