"""Runs artifacts inside the emulated machine: `python -m edgelift_builder.measure.emulated_guest`.

A program of its own, started by `emulate` under qemu with the ARM wheels on its path; it needs nothing but numpy,
msgspec and the runtime. For each `Order`, a line of JSON on standard input, it says an `Emulation`, a line of JSON on
standard output, and ends over the first that cannot be run. Nothing is timed: qemu says nothing of that.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import msgspec
import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.measure.evaluate import apart
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session, version
from edgelift_contract.golden import Golden, Tensor, parse_goldens
from edgelift_contract.hardware import HardwareClass, classify
from edgelift_contract.manifest import DataType, RuntimeName, SessionOptions

#: Linux `arch/arm64/include/uapi/asm/hwcap.h`: getauxval's entry, the bit, the flag as /proc/cpuinfo has it.
_FLAGS = ((16, 10, "asimdhp"), (16, 20, "asimddp"), (26, 13, "i8mm"))


class Order(msgspec.Struct, frozen=True):
    """What to run.

    Attributes:
        runtime, path, options, inputs, outputs, batch_free, axes, kinds: as `runtimes.ModelSpec`.
        goldens, atol, argmax: file, and how near an output must come.
        evaluation, expected, samples: files with inputs and the host's outputs; how many to compare.
    """

    runtime: RuntimeName
    path: str
    options: SessionOptions
    inputs: list[str]
    outputs: list[str]
    batch_free: bool
    goldens: str
    atol: float
    argmax: bool
    evaluation: str
    expected: str
    samples: int
    axes: dict[str, int | None]
    kinds: dict[str, DataType] = {}


class Emulation(msgspec.Struct, frozen=True, kw_only=True):
    """What an artifact did on an emulated processor.

    Attributes:
        measured_on: hardware class, by the emulated processor's own flags; cpu: as qemu names it.
        runtime: with its version; machine: as `uname -m` has it there.
        goldens, golden_failures: how many there are, and how many are off by more than the tolerance.
        worst: largest difference to a golden; atol: what was allowed.
        samples, same_argmax: evaluation samples also run, and how many have the host's largest element.
        apart: largest difference to the host's outputs on those samples.
    """

    measured_on: HardwareClass
    runtime: str
    machine: str
    goldens: int
    golden_failures: int
    worst: float
    atol: float
    samples: int
    same_argmax: int
    apart: float
    cpu: str = ""


def run(order: Order) -> Emulation:
    """Run goldens and samples; raises what the runtime raises."""
    spec = ModelSpec(
        order.runtime, Path(order.path), order.options, tuple(order.inputs), tuple(order.outputs), order.batch_free,
        kinds=order.kinds,
    )  # fmt: skip
    session = open_session(spec)
    goldens = parse_goldens(Path(order.goldens).read_bytes())
    failures, worst = try_goldens(session, goldens, order)
    count, agree, furthest = try_samples(session, order)
    return Emulation(
        measured_on=classify(platform.machine(), flags()),
        runtime=f"{order.runtime} {version(order.runtime)}",
        machine=platform.machine(),
        goldens=len(goldens),
        golden_failures=failures,
        worst=worst,
        atol=order.atol,
        samples=count,
        same_argmax=agree,
        apart=furthest,
    )


def try_goldens(session: Session, goldens: list[Golden], order: Order) -> tuple[int, float]:
    """How many goldens fail, and the largest difference to one."""
    differences, failures = [], 0
    for golden in goldens:
        found = session.run({t.name: _array(t) for t in golden.inputs})
        pairs = [(found[t.name], _array(t)) for t in golden.outputs]
        worst = max(_apart(got, want) for got, want in pairs)
        same = not order.argmax or _same_argmax(*pairs[0])
        failures += not (worst <= order.atol and same)
        differences.append(worst)
    return failures, max(differences)


def try_samples(session: Session, order: Order) -> tuple[int, int, float]:
    """How many samples were run, how many have the host's largest element, the largest difference to the host's."""
    inputs, expected = data.load(Path(order.evaluation)), data.load(Path(order.expected))
    name, agree, furthest = order.outputs[0], 0, 0.0
    count = min(order.samples, data.length(inputs))
    for i in range(count):
        got = session.run(calls.one(inputs, i, order.axes))[name]
        want = calls.one({name: expected[name]}, i, order.axes)[name]
        agree += _same_argmax(got, want)
        furthest = max(furthest, _apart(got, want))
    return count, agree, furthest


def flags() -> set[str]:
    """The processor's flags that classes depend on, from the auxiliary vector: what the kernels' own dispatch reads."""
    auxiliary = ctypes.CDLL(None).getauxval
    auxiliary.restype, auxiliary.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return {name for entry, bit, name in _FLAGS if auxiliary(entry) >> bit & 1}


def _array(tensor: Tensor) -> data.Array:
    if tensor.dtype == "BYTES":
        return _text(tensor.data).reshape(tensor.shape)
    kinds = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "BOOL": "?"}
    kind = kinds.get(tensor.dtype) or f"<{tensor.dtype[0].lower()}{int(tensor.dtype.lstrip('UINT')) // 8}"
    return np.frombuffer(tensor.data, dtype=kind).reshape(tensor.shape)


def _text(packed: bytes) -> data.Array:
    items, at = [], 0
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "little")
        items.append(packed[at + 4 : end].decode())
        at = end
    return np.array(items, dtype=np.str_)


def _apart(got: data.Array, want: data.Array) -> float:
    difference = apart(got, want)
    return difference if np.isfinite(difference) else float("inf")


def _same_argmax(got: data.Array, want: data.Array) -> bool:
    if data.is_text(want):
        return np.array_equal(got, want)
    return got.ndim < 1 or bool((got.argmax(-1) == want.argmax(-1)).all())


def serve() -> None:
    """Run what is asked for until nobody asks any more; what a runtime prints is no answer."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            answers.write(msgspec.json.encode(run(msgspec.json.decode(line, type=Order))) + b"\n")


if __name__ == "__main__":
    serve()
