"""Hardware classes: what decides which kernels run.

Judged from the processor's own flags and the devices that are there, never from a model name: onnxruntime's
docs call "Skylake-SP" VNNI, yet a Gold 5118 of that family has the saturation error (onnxruntime#5849).
The flags' sources: Linux `arch/arm64/kernel/cpuinfo.c` (asimddp, i8mm) and `arch/x86` cpufeatures.

Rules only: reading `/proc/cpuinfo` and looking for devices is the caller's business.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from edgelift_contract.errors import DeviceError

HardwareClass = Literal[
    "arm64-neon",
    "arm64-dotprod",
    "arm64-i8mm",
    "x86-64-avx2",
    "x86-64-vnni",
    "jetson-maxwell",
    "jetson-ampere",
]

#: class → the classes whose artifacts it may run, best first. A newer processor runs what was built for an
#: older one of its family; never the other way, and a Jetson falls back to its processor's class.
ACCEPTS: dict[HardwareClass, tuple[HardwareClass, ...]] = {
    "arm64-neon": ("arm64-neon",),
    "arm64-dotprod": ("arm64-dotprod", "arm64-neon"),
    "arm64-i8mm": ("arm64-i8mm", "arm64-dotprod", "arm64-neon"),
    "x86-64-avx2": ("x86-64-avx2",),
    "x86-64-vnni": ("x86-64-vnni", "x86-64-avx2"),
    "jetson-maxwell": ("jetson-maxwell", "arm64-neon"),
    "jetson-ampere": ("jetson-ampere", "arm64-dotprod", "arm64-neon"),
}


def classify(machine: str, flags: Iterable[str], *, jetson: str = "") -> HardwareClass:
    """The hardware class of a processor.

    Args:
        machine: as `uname -m` gives it.
        flags: the processor's flags from `/proc/cpuinfo` (`flags` on x86, `Features` on ARM).
        jetson: the device-tree's `compatible` text where there is one; `tegra210` and `tegra234` are known.

    Raises:
        DeviceError: `unsupported-platform`, with the way on.
    """
    have = set(flags)
    if "tegra234" in jetson:
        return "jetson-ampere"
    if "tegra210" in jetson:
        return "jetson-maxwell"
    if machine in ("aarch64", "arm64"):
        if "i8mm" in have:
            return "arm64-i8mm"
        return "arm64-dotprod" if "asimddp" in have else "arm64-neon"
    if machine in ("x86_64", "AMD64"):
        if have & {"avx512_vnni", "avx_vnni"}:
            return "x86-64-vnni"
        if "avx2" in have:
            return "x86-64-avx2"
        raise DeviceError(
            "unsupported-platform",
            "This x86 processor has no AVX2.",
            hint="edgelift's runtimes need AVX2; use a processor from 2013 or later.",
        )
    raise DeviceError(
        "unsupported-platform",
        f"There are no runtimes for the machine type {machine!r}.",
        hint="On a 32-bit Raspberry Pi OS, install the 64-bit system (Pi 3 and later, Zero 2 W).",
    )


def this_machine(root: Path = Path("/")) -> HardwareClass:
    """The class of the machine that runs this, read from `/proc` and the device tree below `root`.

    Raises:
        DeviceError: `unsupported-platform`.
    """
    flags: set[str] = set()
    try:
        for line in (root / "proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                flags.update(value.split())
                break
    except OSError:
        pass  # without /proc the machine type alone decides
    try:
        jetson = (root / "proc/device-tree/compatible").read_text(errors="replace")
    except OSError:
        jetson = ""
    return classify(platform.machine(), flags, jetson=jetson)
