"""`--emulate`: the real ARM runtimes under qemu-user, with the target's own processor, on this machine.

Proves that an artifact loads there, answers its goldens within their tolerance and agrees with this machine's
outputs; an artifact that does not is rejected here instead of on a device. Proves nothing about time: latency stays
to be measured on the device. `scripts/setup-emulation` makes the folder that this needs.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

import edgelift_builder
import edgelift_contract
from edgelift_builder.candidate import Examined
from edgelift_builder.exceptions import in_short
from edgelift_builder.facts import EVALUATION
from edgelift_builder.measure.emulated_guest import Emulation, Order
from edgelift_builder.measure.guest import Guest, GuestEndedError, Guests
from edgelift_contract.errors import ContractError, DeviceError

QEMU = "qemu-aarch64-static"

#: Evaluation samples run beside the goldens; qemu takes some ten times as long as the processor that it emulates.
SAMPLES = 48
TIMEOUT_S = 900.0  # of one candidate

#: Runtimes that the emulated machine has; torch's ARM wheel alone is larger than the rest of it.
RUNTIMES = ("onnxruntime", "litert")


def find_root() -> Path:
    """The emulated machine's folder: `arm64-bookworm` in $EDGELIFT_CACHE or ~/.cache/edgelift.

    Raises:
        DeviceError: `tool-missing`, with the way to get it.
    """
    cache = os.environ.get("EDGELIFT_CACHE")
    root = (Path(cache) if cache else Path.home() / ".cache" / "edgelift") / "arm64-bookworm"
    if shutil.which(QEMU) is None or not (root / ".wheels").is_file() or not (root / "cpus").is_dir():
        raise DeviceError(
            "tool-missing",
            "There is no emulated ARM machine on this one.",
            hint="Make it with scripts/setup-emulation (a minute, some 400 MB), or leave --emulate out.",
        )
    return root


def able(candidate: Examined) -> bool:
    """Can this candidate be emulated at all."""
    return bool(candidate.target.emulated_cpu and candidate.runtime in RUNTIMES)


def machine_at(root: Path) -> Guests:
    """The emulated machine at work: processes on its processors.

    Args:
        root: from `find_root`.
    """
    return Guests(lambda cpu: Guest(_command(root, cpu)))


def emulate(candidate: Examined, data_folder: Path, machine: Guests) -> Emulation:
    """Run an examined candidate on its target's processor.

    Args:
        candidate: `able` to be emulated.
        data_folder: where the evaluation data lies.
        machine: from `machine_at`.

    Raises:
        ContractError: `load-failed` when it does not run there, `golden-mismatch` when it answers otherwise.
        DeviceError: `tool-missing` when qemu itself fails.
    """
    cpu = candidate.target.emulated_cpu
    try:
        found = machine.ask(cpu, _order(candidate, data_folder), TIMEOUT_S)
    except GuestEndedError as error:
        raise ContractError(
            "load-failed",
            f"On an emulated {cpu} {candidate.runtime} could not run the artifact: {in_short(str(error))}.",
        ) from error
    if found.golden_failures:
        raise ContractError(
            "golden-mismatch",
            f"On an emulated {cpu} {found.golden_failures} of {found.goldens} goldens differ by up to {found.worst:.3g}, "
            f"more than {found.atol:.3g}, or have another largest element.",
        )
    return msgspec.structs.replace(found, cpu=cpu)


def _order(candidate: Examined, data_folder: Path) -> Order:
    spec, examined = candidate.spec, candidate.examination
    return Order(
        runtime=spec.runtime,
        path=str(spec.path),
        options=spec.options,
        inputs=list(spec.inputs),
        outputs=list(spec.outputs),
        batch_free=spec.batch_free,
        goldens=str(examined.goldens),
        atol=examined.near.atol,
        argmax=examined.near.argmax,
        evaluation=str(data_folder / EVALUATION),
        expected=str(examined.outputs),
        samples=SAMPLES,
        axes=dict(spec.axes),
        kinds=dict(spec.kinds),
    )


def _command(root: Path, cpu: str) -> list[str]:
    """How to start the guest's program on that processor.

    Raises:
        DeviceError: `tool-missing` where the machine has none such.
    """
    prefix = root / "cpus" / cpu
    if not prefix.is_dir():
        raise DeviceError(
            "tool-missing",
            f"The emulated machine has no processor {cpu}.",
            hint=f"It has {', '.join(sorted(p.name for p in (root / 'cpus').iterdir()))}; see emulated_cpu in the target.",
        )
    code = [str(Path(package.__path__[0]).parent) for package in (edgelift_builder, edgelift_contract)]
    paths = ":".join([str(root / "wheels"), *dict.fromkeys(code)])
    settings = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    given = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    python = next((root / "usr" / "bin").glob("python3.??"))
    program = [str(python), "-m", "edgelift_builder.measure.emulated_guest"]
    return [QEMU, "-cpu", cpu, "-L", str(prefix), *given, *program]
