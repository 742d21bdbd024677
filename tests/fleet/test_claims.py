"""A device's word that it committed counts only when the host's own figures agree: time, windows, errors."""

import time
from collections.abc import Iterator

import pytest

from edgelift_contract.assignment import Policy
from edgelift_contract.report import SlotReport, UpdateReport
from edgelift_fleet.client import Client
from edgelift_fleet.messages import AssignRequest, DeviceDetail, RolloutDeviceView, RolloutRequest, RolloutView
from edgelift_fleet.rollout.claims import Proof, committed_by, doubt
from edgelift_fleet.testing import FleetSimulator, SimulatedDevice, simulated_fleet, wait_until
from tests.fleet.conftest import Server, edgelift

pytestmark = pytest.mark.fleet

POLICY = Policy(probation_s=60, probation_min_requests=20, max_error_rate=0.02)
SAYS = UpdateReport("a" * 64, outcome="committed", requests=40)


def doubted(policy: Policy = POLICY, *, passed_s: float = 60, update: UpdateReport = SAYS, **evidence: int) -> str:
    seen = Proof(**{"requests": 40, **evidence})
    return doubt(update, policy, assigned_at=1000.0, evidence=seen, now=1000.0 + passed_s)


def test_a_claim_that_agrees_is_believed() -> None:
    assert doubted() == ""
    assert doubted(requests=20) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"passed_s": 59.9}, "probation of 60 s began 60 s ago"),
        ({"passed_s": -5.0}, "began 0 s ago"),
        ({"requests": 19}, "its windows show 19 of 20 requests"),
        ({"requests": 0}, "its windows show 0 of 20 requests"),
        ({"errors": 2}, "its windows show 2 failures in 40 requests; 2.0% may fail"),
        ({"update": UpdateReport("a" * 64, requests=40, errors=2)}, "its report counts 2 failures"),
        ({"update": UpdateReport("a" * 64, requests=3, errors=9)}, "its report counts 9 errors in 3 requests"),
    ],
)
def test_what_is_lacking_is_said(options: dict, words: str) -> None:
    assert words in doubted(**options)


def test_what_failed_as_often_before_excuses_failures() -> None:
    failing = UpdateReport("a" * 64, requests=40, errors=4)
    assert doubted(update=failing, errors=4, before_requests=1000, before_errors=100) == ""
    assert doubted(update=failing, errors=4, before_requests=1000, before_errors=1)


def test_without_traffic_it_commits_on_goldens_and_is_counted_so() -> None:
    silent = Policy(probation_s=0, probation_min_requests=0)
    assert doubted(silent, requests=0) == ""
    assert committed_by(silent, Proof()) == "goldens"
    assert committed_by(silent, Proof(requests=1)) == "requests"
    assert committed_by(POLICY, Proof(requests=20)) == "requests"


class Operator:
    """Starts rollouts of `digits@2` to everything, and looks at one device of them."""

    def __init__(self, server: Server) -> None:
        self.client = Client(server.url, server.operator)

    def roll_out(self, policy: Policy) -> RolloutView:
        return self.client.post(
            "/v1/rollouts", RolloutRequest("digits@2", "all", ["100%"], policy=policy), RolloutView
        )

    def device(self, rollout: RolloutView) -> RolloutDeviceView | None:
        return next(iter(self.show(rollout).devices), None)

    def show(self, rollout: RolloutView) -> RolloutView:
        return self.client.get(f"/v1/rollouts/{rollout.id}", RolloutView)


@pytest.fixture
def operator(server: Server) -> Operator:
    return Operator(server)


def forged(server: Server, rollout: RolloutView, device: RolloutDeviceView) -> SimulatedDevice:
    """A board that says whatever one likes: here that it committed, at once and without having done anything."""
    made = SimulatedDevice(server.url, server.token, device.device)
    made.epoch, made.revision = "forged-1", device.revision
    update = UpdateReport(
        device.artifact,
        "digits",
        "2",
        device.revision,
        rollout.id,
        "committed",
        requests=5000,
        finished_at=time.time(),
    )
    made.slots = {"digits": SlotReport("serving", 9, device.artifact, "digits", "2", time.time(), update)}
    made.report()
    return made


@pytest.fixture
def board(server: Server) -> Iterator[SimulatedDevice]:
    """A device that enrolled, and then does nothing by itself."""
    made = SimulatedDevice(server.url, server.token, "pi-1")
    made.epoch = "boot-1"
    made.enrol()
    made.report()
    yield made


def test_a_forged_commit_is_shown_and_advances_nothing(
    server: Server, operator: Operator, board: SimulatedDevice
) -> None:
    rollout = operator.roll_out(Policy(probation_s=300, probation_min_requests=20))
    device = wait_until(lambda: operator.device(rollout))
    liar = forged(server, rollout, device)
    liar.deliver(liar.window("digits", requests_made=500))
    shown = wait_until(lambda: (d := operator.device(rollout)) and d.message.startswith("It says committed") and d)
    assert shown.status == "updating" and "probation of 300 s began" in shown.message
    assert (operator.show(rollout).state, operator.show(rollout).committed) == ("running", 0)
    assert "It says committed" in edgelift("rollout", "show", rollout.id, "--site", server.site).stdout


def test_it_counts_once_its_windows_have_come(server: Server, operator: Operator, board: SimulatedDevice) -> None:
    rollout = operator.roll_out(Policy(probation_s=0, probation_min_requests=50))
    device = wait_until(lambda: operator.device(rollout))
    liar = forged(server, rollout, device)
    liar.deliver(liar.window("digits", requests_made=49))
    wait_until(lambda: "its windows show 49 of 50 requests" in operator.device(rollout).message)
    assert operator.show(rollout).state == "running"
    liar.deliver(liar.window("digits", requests_made=1))
    wait_until(lambda: operator.show(rollout).state == "done")
    assert operator.device(rollout).committed_by == "requests"


def test_windows_from_before_the_assignment_prove_nothing(server: Server, operator: Operator) -> None:
    with simulated_fleet(server.site) as simulator:
        FleetSimulator.add(simulator, "pi-1")
        path = "/v1/devices/pi-1/assign"
        operator.client.post(path, AssignRequest("digits@2"), object)
        wait_until(lambda: operator.client.get("/v1/devices/pi-1", DeviceDetail).windows_received)
    rollout = operator.roll_out(Policy(probation_s=0, probation_min_requests=20))
    device = wait_until(lambda: operator.device(rollout))
    forged(server, rollout, device)
    wait_until(lambda: "its windows show 0 of 20 requests" in operator.device(rollout).message)


def test_a_board_without_traffic_commits_on_its_goldens(
    server: Server, operator: Operator, board: SimulatedDevice
) -> None:
    rollout = operator.roll_out(Policy(probation_s=0, probation_min_requests=0))
    forged(server, rollout, wait_until(lambda: operator.device(rollout)))
    wait_until(lambda: operator.show(rollout).state == "done")
    assert operator.device(rollout).committed_by == "goldens"
