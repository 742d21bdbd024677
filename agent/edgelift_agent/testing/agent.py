"""The real agent with a toy runtime and, if wanted, a faulty disk: `python -m edgelift_agent.testing.agent`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from edgelift_agent.app import Agent
from edgelift_agent.config import load_config
from edgelift_agent.system.quiet_log import quieten
from edgelift_agent.testing.faults import FAULTS, FaultyDisk, ShiftedClock
from edgelift_agent.testing.runtime import ToyRuntime
from edgelift_contract.errors import EdgeliftError

#: The slot whose update's state names the phase that a fault may strike in.
SLOT = "toy"
#: How often to look whether the disk's fault is over, seconds: tests don't wait as long as a device may.
LOOK_AGAIN_S = 0.5


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--fault", choices=FAULTS, default="")
    parser.add_argument("--at", metavar="POINT", default="0", help="a point as `FaultyDisk` names it, or a number")
    parser.add_argument("--mark", type=Path, help="made when the fault strikes")
    parser.add_argument("--lasting", action="store_true", help="the fault stays until the mark is gone")
    parser.add_argument("--record", type=Path, help="append every operation's point here")
    parser.add_argument("--real-runtimes", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--clock-offset-s", type=float, default=0.0)
    return parser


def _phase(agent: Agent, started: threading.Event) -> Callable[[], str]:
    """`opening` (until the agent is built), `starting`, a state of the update, `idle`, `stopping`."""

    def phase() -> str:
        if agent.worker.stopping:
            return "stopping"
        if not started.is_set():
            return "starting"
        update = agent.state.journal.updates.get(SLOT)
        return update.state if update else "idle"

    return phase


def main() -> None:
    """Run until SIGTERM, or until the fault ends it."""
    parsed = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    quieten()
    config = load_config(parsed.config)
    disk = FaultyDisk(
        parsed.fault,
        int(parsed.at) if parsed.at.isdigit() else parsed.at,
        root=Path(config.state_dir),
        mark=parsed.mark,
        lasting=parsed.lasting,
        record=parsed.record,
    )
    disk.phase = lambda: "opening"
    clock, started, runtime = ShiftedClock(parsed.clock_offset_s), threading.Event(), ToyRuntime()
    # A test waits for the preflight: beside one busy program it would take twenty times as long at a device's niceness.
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        if parsed.real_runtimes:
            agent = Agent(config, disk=disk, preflight_nice=nice, clock=clock, look_again_s=LOOK_AGAIN_S)
        else:
            agent = Agent(
                config,
                disk=disk,
                runtimes={runtime.name: runtime},
                preflight_module="edgelift_agent.testing.preflight_child",
                preflight_nice=nice,
                clock=clock,
                look_again_s=LOOK_AGAIN_S,
            )
        disk.phase = _phase(agent, started)
        agent.run(once=parsed.once, started=started)
    except EdgeliftError as error:
        sys.stderr.write(f"error: {error} ({error.code})\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
