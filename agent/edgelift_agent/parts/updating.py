"""The updater, put together: where it fetches from, how it tries a candidate, what takes it over, how long it waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

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
from edgelift_agent.system.command import search_path
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.standby import StandbyThreads
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.own_check import OwnCheck
from edgelift_agent.update.steps import Steps
from edgelift_agent.update.updater import Updater
from edgelift_agent.worker import Worker

#: What of the agent's environment its owner's check has as well; no credential and no socket of systemd's.
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LOGNAME", "TMPDIR", "TZ", "USER")


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
        own_check=_own_check(config, serving, clock, worker),
        retry_delays=host.retry_delays,
        again_delays=again_delays,
    )


def _own_check(config: Config, serving: Serving, clock: Clock, worker: Worker) -> OwnCheck | None:
    if not config.update.check:
        return None

    def environment() -> Mapping[str, str]:
        return check_environment(config, serving.server.port)

    mark = str(Path(config.state_dir).absolute())  # one agent alone has this folder
    return OwnCheck(config.update, environment, mark, clock, StandbyThreads(1, "check"), worker.post)


def check_environment(config: Config, port: int) -> dict[str, str]:
    """What the device's own check is told of this agent; `port` is where it answers."""
    host = config.serve.host
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"PATH": search_path(), "EDGELIFT_DEVICE": config.device}
    environment["EDGELIFT_URL"] = f"http://{f'[{here}]' if ':' in here else here}:{port}"
    if config.serve.unix_socket:
        environment["EDGELIFT_UNIX_SOCKET"] = config.serve.unix_socket
    return environment
