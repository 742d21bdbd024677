"""What the machine is and how it fares: facts for the report, gauges for the windows.

A reading that the system refuses (no descriptors left, a disk that is gone) is left out; nothing here raises for it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil

from edgelift_agent.system.board import Board
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.timezone import timezone_name
from edgelift_contract.bundle import BUNDLE_ABILITY
from edgelift_contract.errors import disk_code
from edgelift_contract.hardware import ACCEPTS, HardwareClass
from edgelift_contract.report import DeviceFacts

#: Before and after these no clock can be right, seconds since 1970: this agent did not exist yet; 2100.
_EARLIEST, _LATEST = 1_767_225_600.0, 4_102_444_800.0

T = TypeVar("T")


def clock_fault(now: float) -> str:
    """What is wrong with a wall clock that can't be right; empty for one that may be."""
    if _EARLIEST <= now <= _LATEST:
        return ""
    return f"The clock says {time.strftime('%Y-%m-%d', time.gmtime(min(max(now, 0.0), 2.0**36)))}: it is not set."


class Health:
    """Reads psutil for what every machine has, and a `Board` for what only boards tell."""

    def __init__(self, hardware_class: HardwareClass, state_dir: Path, board: Board, degraded: Degraded) -> None:
        self._hardware_class, self._state_dir, self._board = hardware_class, state_dir, board
        self._degraded = degraded
        self._cores = psutil.cpu_count() or 0
        self._memory_bytes = _read(lambda: psutil.virtual_memory().total, 0)

    def facts(self, runtimes: Mapping[str, str]) -> DeviceFacts:
        """The machine, with the runtimes that were found; 0 and empty for what can't be read now."""
        return DeviceFacts(
            hardware_class=self._hardware_class,
            accepts=list(ACCEPTS[self._hardware_class]),
            runtimes=dict(runtimes),
            cores=self._cores,
            memory_bytes=self._memory_bytes,
            disk_free_bytes=_read(lambda: psutil.disk_usage(str(self._state_dir)).free, 0),
            board=_read(self._board.model, ""),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            timezone=timezone_name(),
            abilities=[BUNDLE_ABILITY],
        )

    def available_memory_bytes(self) -> int:
        """Memory that a new model may take now; everything where that can't be read."""
        return _read(lambda: int(psutil.virtual_memory().available), self._memory_bytes or 1 << 62)

    def gauges(self) -> dict[str, float]:
        """Values of now, units in their names; those that can't be read are left out."""
        memory = _read(psutil.virtual_memory, None)
        values = {
            "cpu_pct": _read(lambda: psutil.cpu_percent(interval=None), None),
            "load_1m": _read(lambda: psutil.getloadavg()[0], None),
            "memory_used_bytes": float(memory.total - memory.available) if memory else None,
            "memory_available_bytes": float(memory.available) if memory else None,
            "disk_free_bytes": _read(lambda: float(psutil.disk_usage(str(self._state_dir)).free), None),
            "agent_rss_bytes": _read(lambda: float(psutil.Process().memory_info().rss), None),
            "uptime_s": _read(lambda: time.time() - psutil.boot_time(), None),
            **self._board_says(self._board.readings),
        }
        self.check_descriptors()
        return {name: value for name, value in values.items() if value is not None}

    @staticmethod
    def _board_says(source: Callable[[], dict[str, float]]) -> dict[str, float]:
        nothing: dict[str, float] = {}
        return _read(source, nothing)

    def check_descriptors(self) -> None:
        """State in `degraded` whether the process can open anything at all."""
        try:
            os.close(os.open("/", os.O_RDONLY))
        except OSError as error:
            self._degraded.begin(
                "descriptors", disk_code(error.errno), f"Nothing can be opened: {error.strerror}."
            )
        else:
            self._degraded.end("descriptors")

    def check_clock(self, now: float) -> None:
        """State in `degraded` whether the wall clock can be right."""
        fault = clock_fault(now)
        if fault:
            self._degraded.begin("clock", "clock-wrong", f"{fault} Updates go on; records carry this clock.")
        else:
            self._degraded.end("clock")

    @property
    def tells_throttling(self) -> bool:
        """Does this board say whether it is throttled?"""
        return "throttled" in self._board_says(self._board.throttling)

    def throttled(self) -> bool:
        """Is the processor being slowed down now? False where the board doesn't say."""
        return bool(self._board_says(self._board.throttling).get("throttled", 0.0))


def _read(source: Callable[[], T], otherwise: T) -> T:
    try:
        return source()
    except (OSError, psutil.Error, RuntimeError):
        return otherwise


def boot_id(root: Path = Path("/")) -> str:
    """The kernel's id of this boot, shortened to 8 characters; empty where there is none."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return ""
