"""A control plane that people look at, and halls of simulated boards, which a test leads step by step."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edgelift_contract.assignment import Policy
from edgelift_contract.telemetry import Gauges
from edgelift_fleet.messages import RolloutRequest, RolloutView
from edgelift_fleet.messages.people import PersonRequest, PersonView
from edgelift_fleet.testing import Behaviour, FleetSimulator, simulated_fleet, wait_until
from tests.console.browser import NAME, PASSWORD
from tests.fleet.conftest import Server
from tests.fleet.operating import Operator

#: As many as a gate needs, of which at most 1 in 100 may be wrong: three of them can be drawn in 120 ways.
HALL = 10
_AT_ONCE = Policy(probation_s=0.1, probation_min_requests=0, max_latency_ratio=0)


class Stage:
    """One site that is served, with a person who may do everything.

    Attributes:
        server, operator: it, and what programs do to it.
        boards: all that are simulated, by name.
    """

    def __init__(self, server: Server, simulator: FleetSimulator) -> None:
        self.server, self._simulator = server, simulator
        self.operator, self.boards = Operator(server), simulator.devices
        self.operator.client.post("/v1/people", PersonRequest(NAME, "admin", PASSWORD), PersonView)

    def add(self, *names: str, **tags: str) -> None:
        """Boards that run nothing."""
        self._simulator.add(*names, tags=tags)

    def hall(self, hall: str, number: int = HALL) -> list[str]:
        """Boards with the tag `hall=…` that serve `digits@1`; returns their names."""
        names = [f"{hall}-{n:02}" for n in range(1, number + 1)]
        self.add(*names, hall=hall)
        self.operator.assign("digits@1", *names)
        wait_until(lambda: self.operator.versions(*names) == ["1"] * number, what=f"hall {hall}")
        self.serve(names, ago_s=100.0)
        return names

    def close(self, names: list[str]) -> None:
        """Switch boards off."""
        for name in names:
            self.boards[name].ask_to_stop()
        for name in names:
            self.boards.pop(name).stop()

    def serve(self, names: list[str], slower: float = 1.0, version: str = "", ago_s: float = 0.0) -> None:
        """They tell of 300 requests and more of a moment; what runs `version` is so much `slower` than the others."""
        for place, name in enumerate(names):
            board = self.boards[name]
            board.behaviour.latency_us = {version: 500.0 * slower}
            start = time.time() - ago_s
            window = board.window("digits", requests_made=300 + place)
            board.deliver(msgspec.structs.replace(window, start=start, end=start + 0.01))
        board.report()  # of a report the controller looks at once, of telemetry at its next round

    def heat(self, name: str, celsius: float = 86.5) -> None:
        """A board says how hot it is; from 80 °C on it is throttled."""
        now = time.time()
        values = {"soc_temp_c": celsius, "throttled": float(celsius >= 80), "disk_free_bytes": 9e9}
        self.boards[name].deliver(Gauges(start=now - 60, end=now, values=values))

    def hold(self, names: list[str]) -> threading.Event:
        """Their next update ends only once what is returned is set."""
        gate = threading.Event()
        for name in names:
            self.boards[name].behaviour = Behaviour(gate=gate)
        return gate


def furnish(stage: Stage) -> dict[str, str]:
    """Bring about what there is to see: rollouts that went back, run and wait; returns their ids and a hot board's."""
    bad, held, waiting = stage.hall("bad"), stage.hall("held", 2), stage.hall("waiting", 2)
    back = _start(stage, "3", "bad", ["3", "100%"])
    stage.operator.wait(back, lambda view: view.committed == 3)
    stage.serve(bad, 1.4, "3")
    stage.hold(held)
    running = _start(stage, "2", "held", ["1", "100%"])
    waits = _start(stage, "2", "waiting", ["1", "100%"], approval=True)
    back = stage.operator.wait(back, "rolled-back")
    stage.operator.wait(running, lambda view: view.counts.get("updating") == 1)
    stage.operator.wait(waits, lambda view: view.committed == 1 and "approve" in view.reason)
    stage.heat(waiting[0])
    new = "a-board-with-a-rather-long-name-as-people-give-them-to-boards"
    stage.add(new)
    rollouts = {"back": back.id, "running": running.id, "waiting": waits.id}
    return {**rollouts, "hot": waiting[0], "bad": back.devices[0].device, "new": new}


def _start(stage: Stage, version: str, hall: str, waves: list[str], *, approval: bool = False) -> RolloutView:
    request = RolloutRequest(f"digits@{version}", f"tag:hall={hall}", waves, policy=_AT_ONCE, approval=approval)
    return stage.operator.client.post("/v1/rollouts", request, RolloutView)


@contextmanager
def staged(site: Path) -> Iterator[Stage]:
    """A stage on a site, as long as the block; boards enrol by a token over HTTPS, which it speaks beside HTTP."""
    with Server(site, "--broker", "none", "--tls-port", "0") as server, simulated_fleet(site) as simulator:
        yield Stage(server, simulator)
