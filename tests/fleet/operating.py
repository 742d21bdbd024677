"""What an operator does to a real server, and simulated devices with a test's own names."""

import itertools
import threading
from collections.abc import Callable

import msgspec

from edgelift_contract.assignment import Policy
from edgelift_fleet.client import Client
from edgelift_fleet.cohorts import Member
from edgelift_fleet.messages import (
    AssignReply,
    AssignRequest,
    DeviceDetail,
    RolloutOrder,
    RolloutRequest,
    RolloutView,
    TagsRequest,
)
from edgelift_fleet.rollout.draw import order
from edgelift_fleet.testing import Behaviour, FleetSimulator, SimulatedDevice, wait_until
from tests.fleet.conftest import Server

QUICK = Policy(probation_s=0.1, probation_min_requests=0)


def seed_in_order(prefix: str) -> int:
    """A seed by which `pi-1` is drawn first, then `pi-2` and `pi-3`, of as many as there are up to `pi-6`."""

    def drawn(seed: int, wave: int) -> list[str]:
        members = [Member(f"{prefix}pi-{n}") for n in range(wave + 1, 7)]
        return [device.removeprefix(f"{prefix}pi-") for device in order(members, seed, wave)]

    return next(s for s in itertools.count() if drawn(s, 0)[0] == "1" and drawn(s, 1)[:2] == ["2", "3"])


class Operator:
    """What an operator does, by HTTP. One server serves all tests: each has devices and a tag of its own."""

    def __init__(self, server: Server, prefix: str = "") -> None:
        self._server, self.prefix = server, prefix
        self.client = Client(server.url, server.operator)

    def assign(self, release: str, *devices: str) -> None:
        for device in devices:
            path = f"/v1/devices/{self.prefix}{device}/assign"
            self.client.post(path, AssignRequest(release, policy=QUICK), AssignReply)

    def detail(self, device: str) -> DeviceDetail:
        return self.client.get(f"/v1/devices/{self.prefix}{device}", DeviceDetail)

    def versions(self, *devices: str) -> list[str]:
        found = [self.detail(device).device.slots for device in devices]
        return [slots[0].version if slots else "" for slots in found]

    def start(self, release: str, waves: str = "1,100%", **options: object) -> RolloutView:
        options = {"seed": seed_in_order(self.prefix), "to": f"tag:{self.prefix}demo", **options}
        request = RolloutRequest(release=release, waves=waves.split(","), policy=QUICK, **options)
        return self.client.post("/v1/rollouts", request, RolloutView)

    def show(self, rollout: RolloutView) -> RolloutView:
        view = self.client.get(f"/v1/rollouts/{rollout.id}", RolloutView)
        devices = [msgspec.structs.replace(d, device=d.device.removeprefix(self.prefix)) for d in view.devices]
        return msgspec.structs.replace(view, devices=devices)

    def order(self, rollout: RolloutView, command: str, *devices: str, why: str = "") -> RolloutView:
        order = RolloutOrder(why, [self.prefix + device for device in devices])
        return self.client.post(f"/v1/rollouts/{rollout.id}/{command}", order, RolloutView)

    def tag(self, device: str, *keys: str, remove: tuple[str, ...] = ()) -> None:
        wanted = TagsRequest({self.prefix + key: "" for key in keys}, [self.prefix + key for key in remove])
        self.client.post(f"/v1/devices/{self.prefix}{device}/tags", wanted, dict[str, str])

    def wait(self, rollout: RolloutView, condition: Callable[[RolloutView], bool] | str):
        def holds() -> RolloutView | None:
            view = self.show(rollout)
            ok = view.state == condition if isinstance(condition, str) else condition(view)
            return view if ok else None

        try:
            return wait_until(holds, what=str(condition))
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.show(rollout)}") from error


class Fleet:
    """A `FleetSimulator` whose devices have the test's prefix and tag."""

    def __init__(self, simulator: FleetSimulator, prefix: str = "") -> None:
        self._simulator, self._prefix = simulator, prefix

    def add(self, *names: str, **options: object) -> None:
        self._simulator.add(*(self._prefix + n for n in names), tags={f"{self._prefix}demo": ""}, **options)

    @property
    def devices(self) -> dict[str, SimulatedDevice]:
        return {name.removeprefix(self._prefix): d for name, d in self._simulator.devices.items()}


def start_fleet(fleet: Fleet, operator: Operator, *names: str, **options: object) -> None:
    fleet.add(*names, **options)
    operator.assign("digits@1", *names)
    wait_until(lambda: operator.versions(*names) == ["1"] * len(names))


def hold(fleet: Fleet, *names: str) -> dict[str, threading.Event]:
    """Let these end their next update only once their gate is set: what is seen meanwhile stays until then."""
    gates = {name: threading.Event() for name in names}
    for name, gate in gates.items():
        fleet.devices[name].behaviour = Behaviour(gate=gate)
    return gates
