"""The machine as the agent knows it: its processor, its runtimes, how it fares."""

from __future__ import annotations

from pathlib import Path

from edgelift_agent.ports import Runtime
from edgelift_agent.runtime import all_runtimes, available
from edgelift_agent.system.board import Board
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.health import Health
from edgelift_contract.hardware import these_kernels, this_machine
from edgelift_contract.report import DeviceFacts


class ThisMachine:
    """What does not change while the agent runs, and the health that does.

    Attributes:
        kernels: of the processor, for the goldens' tolerance.
        runtimes: by name, installed or not.
        health: gauges, throttling, clock.
    """

    def __init__(
        self, state_dir: Path, degraded: Degraded, runtimes: dict[str, Runtime] | None, board: Board | None
    ) -> None:
        """Look at the machine.

        Raises:
            DeviceError: `unsupported-platform`.
        """
        self.kernels = these_kernels()
        self.runtimes = runtimes or all_runtimes()
        self.health = Health(this_machine(), state_dir, board or Board(), degraded)
        self._available = available(self.runtimes)

    def facts(self) -> DeviceFacts:
        """The machine as it is now."""
        return self.health.facts(self._available)
