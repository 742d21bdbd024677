"""Targets: boards by their everyday names, as data files with the source beside each value.

A target says which hardware class a board is of, which runtimes to try in which order, how int8 is done there
and how sessions are set up. Adding one is writing one file: in this folder, or anywhere, named by its path.

What a target is not: a guess of latency. Only a machine of the same hardware class measures that.
"""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from edgelift_builder.exceptions import in_short
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.ids import check_name
from edgelift_contract.manifest import RuntimeName, SessionOptions

T = TypeVar("T")

_THIRTY_TWO_BIT = re.compile(
    r"arm-?v[67]|armhf|arm32|aarch32|^rpi-?[012]$|^rpi-?zero(-?w)?$|^pi-?zero(-?w)?$|i[36]86|x86-32"
)


class Sourced(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    """A value and where it comes from."""

    value: T
    source: str


class Int8Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a runtime's int8 kernels want their numbers on this hardware.

    Attributes:
        activation, weight: element types of activations and weights; weights are symmetric, in [-127, 127].
        reduce_range: quantise weights to 7 bits, for kernels that saturate.
        per_channel: a scale for each output channel instead of one for each tensor.
        symmetric: activations without a zero point too: TensorRT takes no others.
        source: who says so.
    """

    activation: Literal["uint8", "int8"]
    weight: Literal["int8"]
    source: str
    reduce_range: bool = False
    per_channel: bool = False
    symmetric: bool = False


class TargetOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Session options for one runtime; see `edgelift_contract.manifest.SessionOptions`."""

    threads: int
    source: str
    spinning: bool = False
    optimisation: Literal["disabled", "basic", "extended", "all"] = "all"
    entries: dict[str, str] = {}

    def session(self) -> SessionOptions:
        """The contract's form, without the source."""
        return SessionOptions(
            threads=self.threads, spinning=self.spinning, optimisation=self.optimisation, entries=self.entries
        )


class KnownBad(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What does not work on this hardware, for people; what can be checked is refused by the builder itself.

    Attributes:
        what: one sentence.
        issue: where it is followed, as `onnxruntime#31573`; may be empty.
        source: who says so.
    """

    what: str
    source: str
    issue: str = ""


#: What a weight may be stored in; a target lists those worth trying, best first.
Precision = Literal["int8", "float16", "float32"]

#: Where what computes in 8 bits must be faster, not only smaller, once a machine of the class has timed it: without VNNI
#: small convolutions gain nothing by 8 bits, and some lose (0.3 to 0.9 times as fast as float, measured). What only stores
#: its weights so must not be slower there. Until one has timed it, float comes first.
MUST_BE_FASTER: tuple[HardwareClass, ...] = ("x86-64-avx2",)


class _TargetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    hardware_class: Sourced[HardwareClass]
    cores: Sourced[Annotated[int, Meta(ge=1)]]
    memory_mb: Sourced[Annotated[int, Meta(ge=1)]]
    runtimes: Sourced[Annotated[list[RuntimeName], Meta(min_length=1)]]
    precisions: Sourced[list[Precision]] | None = None
    last: Sourced[list[str]] = Sourced([], "")
    emulated_cpu: Sourced[str] = Sourced("", "not given: this target is not emulated")
    pythons: Sourced[list[str]] = Sourced([], "not given: the board's Python is named by --python")
    int8: dict[RuntimeName, Int8Scheme] = {}
    options: dict[RuntimeName, TargetOptions] = {}
    known_bad: list[KnownBad] = []


class Target(msgspec.Struct, frozen=True):
    """A board to build for.

    Attributes:
        name, title: everyday name as on the command line, and in full.
        hardware_class: decides which devices accept the artifacts.
        cores, memory_mb: of the smallest board of this name.
        runtimes: to try, best first.
        int8, options: by runtime.
        precisions: worth trying, and so made; best first, where only the device can measure.
        emulated_cpu: qemu's name of its processor, as `cortex-a72`; empty where it is not emulated.
        pythons: that its systems bring, as `3.11`, the most usual first; empty where none can run the agent.
        last: what comes after everything else there, as `int8 litert` or `int8-dynamic onnxruntime`.
        known_bad: what does not work there.
        sources: field → where its value comes from.
    """

    name: str
    title: str
    hardware_class: HardwareClass
    cores: int
    memory_mb: int
    runtimes: list[RuntimeName]
    int8: dict[RuntimeName, Int8Scheme]
    options: dict[RuntimeName, SessionOptions]
    sources: dict[str, str]
    precisions: list[Precision]
    emulated_cpu: str = ""
    pythons: list[str] = []
    last: list[str] = []
    known_bad: list[KnownBad] = []

    def preference(self, precision: str) -> int:
        """Place of a precision among `precisions`; those not listed come last."""
        return self.precisions.index(precision) if precision in self.precisions else len(self.precisions)

    def order(self, variant: str, computes: str, runtime: RuntimeName) -> tuple[bool, bool, int, int, bool]:
        """Sorts what nobody measured on this board's class, best first, by what it `computes` in: TorchScript, the legacy,
        behind all others; plain float behind what computes in float from narrow weights.
        """
        behind = bool({f"{computes} {runtime}", f"{variant} {runtime}"} & {*self.last})
        place = self.preference(computes), self.runtimes.index(runtime)
        return runtime == "torchscript", behind, *place, variant == "float32"

    def session(self, runtime: RuntimeName) -> SessionOptions:
        """How `runtime` is to be set up on this target."""
        return self.options.get(runtime, SessionOptions(threads=self.cores))


def names() -> list[str]:
    """Every target that ships with edgelift, sorted."""
    return sorted(p.name.removesuffix(".toml") for p in resources.files(__name__).iterdir() if _is_toml(p.name))


def of_class(hardware_class: str) -> list[str]:
    """Names of the targets that ship with edgelift and are of that class, sorted."""
    return [name for name in names() if load_target(name).hardware_class == hardware_class]


def load_target(name: str) -> Target:
    """The target of that name, or of the `.toml` file at that path.

    Raises:
        ContractError: `unknown-target` with near names, or a file that is not a target.
        DeviceError: `unsupported-platform` for 32-bit systems, with the way on.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ContractError("unknown-target", f"There is no target file {name}.")
        return _parse(check_name("target", path.stem), path.read_bytes())
    if _THIRTY_TWO_BIT.search(name.lower()):
        raise DeviceError(
            "unsupported-platform",
            f"{name} is a 32-bit target: onnxruntime and LiteRT have no packages for it.",
            hint="On a Pi 2 v1.2, 3, 4, 5 or Zero 2 W install the 64-bit Raspberry Pi OS and build for that, "
            "as --target rpi4.",
        )
    if name not in names():
        near = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(names())}."
        raise ContractError(
            "unknown-target", f"There is no target {name!r}.", hint=f"{hint} See edgelift targets."
        )
    return _parse(name, resources.files(__name__).joinpath(f"{name}.toml").read_bytes())


_SOURCED = ("hardware_class", "cores", "memory_mb", "runtimes", "precisions", "last", "emulated_cpu", "pythons")


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _usual(hardware_class: HardwareClass) -> Sourced[list[Precision]]:
    if hardware_class in MUST_BE_FASTER:
        return Sourced(["float32", "int8"], "not given: int8 has to be measured faster there, so float until then")
    return Sourced(["int8", "float32"], "not given: the most usual")


def _parse(name: str, text: bytes) -> Target:
    try:
        found = msgspec.toml.decode(text, type=_TargetFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContractError(
            "unknown-target",
            f"The target file {name}.toml is not valid: {in_short(str(error))}.",
            hint="See docs/targets.md; edgelift targets rpi4 shows one.",
        ) from error
    precisions = found.precisions or _usual(found.hardware_class.value)
    given = {field: getattr(found, field) for field in _SOURCED} | {"precisions": precisions}
    sources = {field: value.source for field, value in given.items() if field != "last" or value.value}
    sources |= {f"int8.{runtime}": scheme.source for runtime, scheme in found.int8.items()}
    sources |= {f"options.{runtime}": options.source for runtime, options in found.options.items()}
    return Target(
        name=name,
        title=found.title,
        hardware_class=found.hardware_class.value,
        cores=found.cores.value,
        memory_mb=found.memory_mb.value,
        runtimes=found.runtimes.value,
        int8=found.int8,
        options={runtime: options.session() for runtime, options in found.options.items()},
        sources=sources,
        precisions=precisions.value,
        emulated_cpu=found.emulated_cpu.value,
        pythons=found.pythons.value,
        last=found.last.value,
        known_bad=found.known_bad,
    )
