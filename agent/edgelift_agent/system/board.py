"""What a board tells of itself: temperatures, throttling, under-voltage, power, GPU; behind a port.

`Board` reads `/proc` and `/sys` and runs `vcgencmd`; tests give it another root and other programs. Each
reading is left out where the board has no such source: absence is normal, not an error.

Sources: Raspberry Pi documentation, `vcgencmd get_throttled` (bits 0–3 now, 16–19 since boot) and the kernel's
`raspberrypi-hwmon` (`in0_lcrit_alarm` is bit 0); the kernel's thermal sysfs (`temp` in thousandths of a degree)
and `ina3221` hwmon (`in*_input` in mV, `curr*_input` in mA); NVIDIA's devfreq for the GPU (`load` in tenths of
a percent).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

#: `get_throttled` bits that slow the processor down now: frequency capped, throttled, soft temperature limit.
_SLOWED_NOW = 0b1110
_UNDER_VOLTAGE_NOW = 0b0001
_SINCE_BOOT_SHIFT = 16

Run = Callable[[Sequence[str]], str]


def run_program(command: Sequence[str]) -> str:
    """A program's output; empty where it is not installed or fails."""
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


class Board:
    """A board's readings."""

    def __init__(self, root: Path = Path("/"), run: Run = run_program) -> None:
        """Look below `root` and run programs by `run`, so that another board can be replayed."""
        self._root, self._run = root, run
        self._vcgencmd: bool | None = None

    def model(self) -> str:
        """The board's own name from the device tree; empty where there is none."""
        return self._text("proc/device-tree/model")

    def readings(self) -> dict[str, float]:
        """Everything the board tells now, with units in the names."""
        return {**self._temperatures(), **self.throttling(), **self._power(), **self._gpu()}

    def throttling(self) -> dict[str, float]:
        """`throttled`, `under_voltage` now and `…_since_boot`, 0 or 1 each; empty where unknown."""
        bits = self._throttled_bits()
        if bits is not None:
            past = bits >> _SINCE_BOOT_SHIFT
            return {
                "throttled": float(bool(bits & _SLOWED_NOW)),
                "under_voltage": float(bool(bits & _UNDER_VOLTAGE_NOW)),
                "throttled_since_boot": float(bool(past & _SLOWED_NOW)),
                "under_voltage_since_boot": float(bool(past & _UNDER_VOLTAGE_NOW)),
            }
        found: dict[str, float] = {}
        for chip in self._hwmon():
            alarm = self._number(chip / "in0_lcrit_alarm")
            if self._text(chip / "name") == "rpi_volt" and alarm is not None:
                found["under_voltage"] = float(alarm > 0)
            alarms = [self._number(path) for path in sorted(self._glob(chip, "*_crit_alarm"))]
            if self._text(chip / "name") == "ina3221" and alarms:
                found["over_current"] = float(any(value for value in alarms if value))
        cooling = [self._number(p / "cur_state") for p in self._glob("sys/class/thermal", "cooling_device*")
                   if self._text(p / "type").startswith(("cpufreq", "thermal-cpufreq", "cpu-throttle"))]  # fmt: skip
        if cooling:
            found["throttled"] = float(any(value for value in cooling if value))
        return found

    def _throttled_bits(self) -> int | None:
        if self._vcgencmd is False:
            return None  # not there at the first look: don't start a process every time
        match = re.search(r"throttled=0x([0-9a-fA-F]+)", self._run(["vcgencmd", "get_throttled"]))
        self._vcgencmd = match is not None
        return int(match[1], 16) if match else None

    def _temperatures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for zone in sorted(self._glob("sys/class/thermal", "thermal_zone*")):
            value, kind = self._number(zone / "temp"), _name(self._text(zone / "type"))
            if value is not None and kind:
                found[f"{kind}_temp_c"] = value / 1000
        if found:
            found["soc_temp_c"] = max(found.values())
        return found

    def _power(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for chip in self._hwmon():
            if self._text(chip / "name") != "ina3221":
                continue
            for label in sorted(self._glob(chip, "in*_label")):
                number = label.name.removeprefix("in").removesuffix("_label")
                volts, amperes = (
                    self._number(chip / f"in{number}_input"),
                    self._number(chip / f"curr{number}_input"),
                )
                if volts is not None and amperes is not None:
                    found[f"{_name(self._text(label))}_power_w"] = volts * amperes / 1e6
        if found:
            # The input rail feeds the others; without one of that name their sum is the best there is.
            total = next((w for name, w in found.items() if name.startswith("vdd_in")), sum(found.values()))
            found["power_w"] = total
        return found

    def _gpu(self) -> dict[str, float]:
        for device in sorted(self._glob("sys/class/devfreq", "*g*")):
            if not re.search(r"gpu|gv11b|ga10b|gp10b|gm20b", device.name):
                continue
            found: dict[str, float] = {}
            frequency, load = self._number(device / "cur_freq"), self._number(device / "device" / "load")
            if frequency is not None:
                found["gpu_freq_mhz"] = frequency / 1e6
            if load is not None:
                found["gpu_load_pct"] = load / 10
            return found
        return {}

    def _hwmon(self) -> list[Path]:
        return sorted(self._glob("sys/class/hwmon", "hwmon*"))

    def _glob(self, folder: Path | str, pattern: str) -> list[Path]:
        try:
            return [path.relative_to(self._root) for path in (self._root / folder).glob(pattern)]
        except OSError:
            return []

    def _text(self, path: Path | str) -> str:
        try:
            return (self._root / path).read_text(errors="replace").strip().strip("\0")
        except OSError:
            return ""

    def _number(self, path: Path | str) -> float | None:
        text = self._text(path)
        return float(text) if re.fullmatch(r"-?\d+", text) else None


def _name(text: str) -> str:
    """A source's own label as part of a gauge's name: `CPU-therm` → `cpu_therm`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
