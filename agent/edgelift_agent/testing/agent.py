"""The real agent with a toy runtime and, if wanted, a faulty disk: `python -m edgelift_agent.testing.agent`.

Prints `operations: N` on leaving, so that a harness knows how many crash points there are.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from edgelift_agent.app import Agent
from edgelift_agent.config import load_config
from edgelift_agent.testing.faults import ERRORS, FaultyDisk, ShiftedClock
from edgelift_agent.testing.runtime import ToyRuntime
from edgelift_contract.errors import EdgeliftError


def main() -> None:
    """Run until SIGTERM, or until the fault ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--kill-after", type=int, default=0)
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--error", choices=sorted(ERRORS), default="ENOSPC")
    parser.add_argument("--lasting", type=int, default=1)
    parser.add_argument("--real-runtimes", action="store_true")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--clock-offset-s", type=float, default=0.0)
    parsed = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    disk = FaultyDisk(
        kill_after=parsed.kill_after, fail_at=parsed.fail_at, error=parsed.error, lasting=parsed.lasting
    )
    config = load_config(parsed.config)
    clock = ShiftedClock(parsed.clock_offset_s)
    try:
        if parsed.real_runtimes:
            agent = Agent(config, disk=disk, clock=clock)
        else:
            runtime = ToyRuntime()
            agent = Agent(
                config,
                disk=disk,
                runtimes={runtime.name: runtime},
                preflight_module="edgelift_agent.testing.preflight_child",
                clock=clock,
            )
        agent.run(once=parsed.once)
    except EdgeliftError as error:
        sys.stderr.write(f"error: {error} ({error.code})\n")
        sys.exit(1)
    finally:
        sys.stderr.write(f"operations: {disk.count}\n")


if __name__ == "__main__":
    main()
