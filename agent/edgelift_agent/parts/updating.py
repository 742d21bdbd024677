"""The updater, put together: where it fetches from, how it tries a candidate, what takes it over, how long it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgelift_agent.artifact.loading import Loader
from edgelift_agent.artifact.preflight import Preflight
from edgelift_agent.config import Config
from edgelift_agent.parts.host_link import HostLink
from edgelift_agent.parts.serving import Serving
from edgelift_agent.parts.state_folder import StateFolder
from edgelift_agent.parts.this_machine import ThisMachine
from edgelift_agent.parts.trust import Trust
from edgelift_agent.system.backoff import delays
from edgelift_agent.system.clock import Clock
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updater import Updater
from edgelift_agent.worker import Worker


def make_updater(
    config: Config, state: StateFolder, trust: Trust, machine: ThisMachine, host: HostLink, serving: Serving,
    loader: Loader, worker: Worker, clock: Clock, degraded: Degraded, on_committed: Callable[[], None],
    *, preflight_module: str, preflight_nice: int,
) -> Updater:  # fmt: skip
    """The updater of an agent with these parts; `on_committed` is called when an update is committed.

    `preflight_module` is the program that a candidate is tried in, at the niceness `preflight_nice`.
    """
    limits = config.update
    steps = Steps(
        store=state.store,
        source=host.http,
        preflight=Preflight(
            machine.kernels,
            timeout_s=limits.preflight_timeout_s,
            nice=preflight_nice,
            module=preflight_module,
        ),
        facts=machine.facts,
        available_memory_bytes=lambda: limits.memory_available_bytes or machine.health.available_memory_bytes(),
        reserve_bytes=limits.disk_reserve_bytes,
        must_be_signed=trust.must_be_signed,
    )
    exchange = Exchange(state.store, loader, serving.slots, serving.reaper, serving.recorder, clock)

    def again_delays() -> Iterator[float]:
        # What stopped an update on this machine ends less often than a link's trouble: begin where those end.
        longest_s = limits.retry_cap_s
        return delays(longest_s, 60 * longest_s)

    return Updater(
        config.device,
        state.journal,
        steps,
        exchange,
        state.queue,
        degraded,
        clock,
        worker,
        on_committed=on_committed,
        retry_delays=host.retry_delays,
        again_delays=again_delays,
    )
