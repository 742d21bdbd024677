"""Rollouts to a whole simulated fleet: when the last board was told, when all were done, what waiting costs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.fleets.serving import PATIENCE_S, Serving
from edgelift_contract.assignment import Policy
from edgelift_fleet.messages import RolloutRequest, RolloutView
from edgelift_fleet.simulate.engine import Simulation
from edgelift_fleet.simulate.profile import BoardClass, Profile


def profile(transport: str) -> Profile:
    """Boards that answer at once: windows of a second while something is on probation, else none of their own."""
    kind = BoardClass(name="board", transport=transport, requests_per_s=1, latency_ms=1)  # type: ignore[arg-type] # one of two
    return Profile(schema=1, window_s=1, publish_s=60, poll_s=86400, fetch="none", classes=[kind])


@contextmanager
def boards(server: Serving, devices: int, transport: str) -> Iterator[Simulation]:
    """A simulated fleet, connected whole, in a thread of this process."""
    made = Simulation(server.address, profile(transport), devices, prefix="bench")
    loop, until = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(made.run(until)), daemon=True)
    thread.start()
    try:
        wait(lambda: made.connected() == devices, f"{devices} boards", made, nudge=server.nudge_broker)
        yield made
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join(120)


def wait(
    condition: Callable[[], bool], what: str, simulation: Simulation | None = None, *,
    nudge: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Until it is so; looked at ten times a second, each look of next to no cost. `nudge` is called every few seconds."""
    began = time.monotonic()
    nudged = 0.0
    while not condition():
        passed = time.monotonic() - began
        if passed > PATIENCE_S:
            raise SystemExit(f"{what} did not come: {simulation.figures() if simulation else ''}")
        if nudge is not None and passed > nudged + 5:
            nudged = passed
            nudge()
        time.sleep(0.1)


def rollout(server: Serving, release: str, probation_s: float = 0.0) -> RolloutView:
    """Begun, to all boards in one wave."""
    policy = Policy(probation_s=probation_s, probation_min_requests=0, max_latency_ratio=0)
    wanted = RolloutRequest(
        release=release, to="all", waves=["100%"], deadline_s=7200, max_failures=0, policy=policy
    )
    return server.client().post("/v1/rollouts", wanted, RolloutView)


def told_and_done(server: Serving, simulation: Simulation, release: str) -> dict[str, float]:
    """`told_s`: from the start until the last board had its assignment; `done_s`: until the rollout was done."""
    devices = len(simulation.boards)
    simulation.told_at.clear()
    began, spent = time.monotonic(), server.cpu_s()
    made = rollout(server, release)
    wait(lambda: len(simulation.told_at) == devices, f"{release} told", simulation)
    told_s = max(simulation.told_at.values()) - began
    # Asked seldom: one look at a rollout of thousands costs the server more than the answer is worth.
    client, pause_s = server.client(), max(0.2, devices / 2000)
    while (state := client.get(f"/v1/rollouts/{made.id}", RolloutView)).state == "running":
        if time.monotonic() - began > PATIENCE_S:
            raise SystemExit(f"{release} is not done: {state.reason} {simulation.figures()}")
        time.sleep(pause_s)
    if state.state != "done":
        raise SystemExit(f"{release} ended as {state.state}: {state.reason}")
    return {
        "told_s": round(told_s, 2),
        "done_s": round(state.changed_at - state.created_at, 2),
        "cpu_ms_per_board": round(1000 * (server.cpu_s() - spent) / devices, 2),
    }


@contextmanager
def silence(server: Serving, simulation: Simulation, release: str) -> Iterator[None]:
    """Inside the block every board is in a probation of an hour, and says nothing."""
    simulation.told_at.clear()
    made = rollout(server, release, probation_s=3600.0)
    wait(lambda: len(simulation.told_at) == len(simulation.boards), f"{release} told", simulation)
    simulation.silent = True
    last = -1
    while (
        simulation.counts.reports + simulation.counts.batches != last
    ):  # until the last has said what it had to say
        last = simulation.counts.reports + simulation.counts.batches
        time.sleep(3)
    # What the broker still has of it is taken in first, and summed: else that is measured, and not the waiting.
    wait(lambda: server.observing() == len(simulation.boards), f"{release} on probation", simulation)
    wait(lambda: not server.waiting_windows(), "telemetry summed", simulation)
    yield
    simulation.silent = False
    server.client().post(f"/v1/rollouts/{made.id}/cancel", {}, RolloutView)
