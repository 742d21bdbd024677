"""`--emulate`: the real ARM runtimes under qemu-user, with the target's own processor, on this machine.

Proves that an artifact loads there, answers its goldens within their tolerance and agrees with this machine's
outputs; an artifact that does not is rejected here instead of on a device. Proves nothing about time: latency stays
to be measured on the device. `scripts/setup-emulation` makes the folder that this needs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

import edgelift_builder
import edgelift_contract
from edgelift_builder.candidate import Examined
from edgelift_builder.exceptions import summarise
from edgelift_builder.facts import EVALUATION
from edgelift_builder.measure.emulated_guest import Emulation, Order
from edgelift_contract.errors import ContractError, DeviceError

QEMU = "qemu-aarch64-static"

#: Evaluation samples run beside the goldens; qemu takes some ten times as long as the processor that it emulates.
SAMPLES = 48
TIMEOUT_S = 900.0

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


def emulate(candidate: Examined, data_folder: Path, root: Path) -> Emulation:
    """Run an examined candidate on its target's processor.

    Args:
        candidate: `able` to be emulated.
        data_folder: where the evaluation data lies.
        root: from `find_root`.

    Raises:
        ContractError: `load-failed` when it does not run there, `golden-mismatch` when it answers otherwise.
        DeviceError: `tool-missing` when qemu itself fails.
    """
    cpu = candidate.target.emulated_cpu
    prefix = root / "cpus" / cpu
    if not prefix.is_dir():
        raise DeviceError(
            "tool-missing",
            f"The emulated machine has no processor {cpu}.",
            hint=f"It has {', '.join(sorted(p.name for p in (root / 'cpus').iterdir()))}; see emulated_cpu in the target.",
        )
    folder = candidate.examination.outputs.parent
    order = folder / f"emulate-{candidate.target.name}.json"
    order.write_bytes(msgspec.json.encode(_order(candidate, data_folder)))
    done = _run(prefix, cpu, root, order)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ContractError(
            "load-failed",
            f"On an emulated {cpu} {candidate.runtime} could not run the artifact: {lines[-1] if lines else 'no words'}.",
        )
    found = msgspec.structs.replace(msgspec.json.decode(done.stdout, type=Emulation), cpu=cpu)
    if found.golden_failures:
        raise ContractError(
            "golden-mismatch",
            f"On an emulated {cpu} {found.golden_failures} of {found.goldens} goldens differ by up to {found.worst:.3g}, "
            f"more than {found.atol:.3g}, or have another largest element.",
        )
    return found


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


def _run(prefix: Path, cpu: str, root: Path, order: Path) -> subprocess.CompletedProcess[bytes]:
    code = [str(Path(package.__path__[0]).parent) for package in (edgelift_builder, edgelift_contract)]
    paths = ":".join([str(root / "wheels"), *dict.fromkeys(code)])
    settings = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    given = [part for name, value in settings.items() for part in ("-E", f"{name}={value}")]
    python = next((root / "usr" / "bin").glob("python3.??"))
    command = [
        QEMU,
        "-cpu",
        cpu,
        "-L",
        str(prefix),
        *given,
        str(python),
        "-m",
        "edgelift_builder.measure.emulated_guest",
        str(order),
    ]
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, cwd="/")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError("tool-missing", f"qemu did not run the artifact: {summarise(error)}.") from error
