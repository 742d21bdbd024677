"""Replayed boards: the files of /proc and /sys, and `vcgencmd`, of a Pi 4, a Pi 5 and an Orin Nano.

NOT RECORDED ON A BOARD. Written from the kernel's and the vendors' documents: Raspberry Pi documentation
(`get_throttled`, thermal), `drivers/hwmon/raspberrypi-hwmon.c` (name `rpi_volt`, `in0_lcrit_alarm`), the
thermal sysfs ABI, `drivers/hwmon/ina3221.c`, NVIDIA's developer guide for Jetson Linux (rails VDD_IN,
VDD_CPU_GPU_CV, VDD_SOC; devfreq `17000000.gpu`).
"""

from collections.abc import Sequence
from pathlib import Path

from edgelift_agent.system.board import Board

PI_4 = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "48686",
    "sys/class/hwmon/hwmon0/name": "cpu_thermal",
    "sys/class/hwmon/hwmon1/name": "rpi_volt",
    "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0",
}
PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "61950",
    "sys/class/hwmon/hwmon2/name": "rpi_volt",
    "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "1",
}
ORIN = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "52312",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "50781",
    "sys/class/thermal/thermal_zone8/type": "tj-thermal",
    "sys/class/thermal/thermal_zone8/temp": "52312",
    "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0",
    "sys/class/thermal/cooling_device0/cur_state": "3",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "1200",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "5000",
    "sys/class/hwmon/hwmon1/curr2_input": "400",
    "sys/class/hwmon/hwmon1/curr1_crit_alarm": "0",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000",
    "sys/class/devfreq/17000000.gpu/device/load": "437",
}


def replay(folder: Path, files: dict[str, str], programs: dict[str, str] | None = None) -> Board:
    """A board whose files lie below `folder` and whose programs print what `programs` says."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)

    def run(command: Sequence[str]) -> str:
        return (programs or {}).get(command[0], "")

    return Board(folder, run)
