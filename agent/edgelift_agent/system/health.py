"""What the machine is and how it fares: facts for the report, gauges for the windows."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from edgelift_agent.system.board import Board
from edgelift_contract.hardware import ACCEPTS, HardwareClass
from edgelift_contract.report import DeviceFacts


class Health:
    """Reads psutil for what every machine has, and a `Board` for what only boards tell."""

    def __init__(self, hardware_class: HardwareClass, state_dir: Path, board: Board) -> None:
        self._hardware_class, self._state_dir, self._board = hardware_class, state_dir, board

    def facts(self, runtimes: Mapping[str, str]) -> DeviceFacts:
        """The machine, with the runtimes that were found."""
        return DeviceFacts(
            hardware_class=self._hardware_class,
            accepts=list(ACCEPTS[self._hardware_class]),
            runtimes=dict(runtimes),
            cores=psutil.cpu_count() or 0,
            memory_bytes=psutil.virtual_memory().total,
            disk_free_bytes=psutil.disk_usage(str(self._state_dir)).free,
            board=self._board.model(),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )

    def gauges(self) -> dict[str, float]:
        """Values of now, units in their names."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._state_dir))
        return {
            "cpu_pct": psutil.cpu_percent(interval=None),
            "load_1m": psutil.getloadavg()[0],
            "memory_used_bytes": float(memory.total - memory.available),
            "memory_available_bytes": float(memory.available),
            "disk_free_bytes": float(disk.free),
            "agent_rss_bytes": float(psutil.Process().memory_info().rss),
            "uptime_s": time.time() - psutil.boot_time(),
            **self._board.readings(),
        }

    @property
    def tells_throttling(self) -> bool:
        """Does this board say whether it is throttled?"""
        return "throttled" in self._board.throttling()

    def throttled(self) -> bool:
        """Is the processor being slowed down now? False where the board doesn't say."""
        return bool(self._board.throttling().get("throttled", 0.0))


def boot_id(root: Path = Path("/")) -> str:
    """The kernel's id of this boot, shortened to 8 characters; empty where there is none."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
