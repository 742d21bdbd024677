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


#: Flags by which onnxruntime's MLAS, XNNPACK and oneDNN choose among kernels that may differ in an answer's last bits.
_KERNEL_FLAGS = frozenset({
    "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16",
    "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
})  # fmt: skip


def kernels(hardware_class: HardwareClass, flags: Iterable[str], parts: Iterable[str] = ()) -> str:
    """A finer name than the class, for processors that run the same kernels: the class, then what they are chosen by.

    Args:
        hardware_class: of the processor.
        flags: as of `classify`.
        parts: the part numbers of its cores (`CPU part` in `/proc/cpuinfo`, ARM only): libraries have kernels for some.

    Returns:
        As `x86-64-vnni+avx512_vnni+avx512f` or `arm64-neon+0xd08`.
    """
    return "+".join([hardware_class, *sorted(_KERNEL_FLAGS & set(flags)), *sorted(set(parts))])


def this_machine(root: Path = Path("/")) -> HardwareClass:
    """The class of the machine that runs this, read from `/proc` and the device tree below `root`.

    Raises:
        DeviceError: `unsupported-platform`.
    """
    try:
        jetson = (root / "proc/device-tree/compatible").read_text(errors="replace")
    except OSError:
        jetson = ""
    return classify(platform.machine(), _flags(_cpuinfo(root)), jetson=jetson)


def these_kernels(root: Path = Path("/")) -> str:
    """`kernels` of the machine that runs this.

    Raises:
        DeviceError: `unsupported-platform`.
    """
    lines = _cpuinfo(root)
    return kernels(this_machine(root), _flags(lines), [value for key, value in lines if key == "CPU part"])


def _cpuinfo(root: Path) -> list[tuple[str, str]]:
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return []  # without /proc the machine type alone decides
    pairs = (line.partition(":") for line in text.splitlines())
    return [(key.strip(), value.strip()) for key, _, value in pairs]


def _flags(cpuinfo: list[tuple[str, str]]) -> list[str]:
    return next((value.split() for key, value in cpuinfo if key in ("flags", "Features")), [])
