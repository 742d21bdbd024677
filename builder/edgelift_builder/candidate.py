"""A candidate on its way: `Candidate` → `Made` → `Examined` → `Measured`, or `Failed` at one of them; in the end
`Shipped` or `Rejected`, and what is shipped `Packaged`.

A stage is a type: it has everything the stage before has, and what its own work found. Whoever takes an `Examined`
need not ask whether there is a judgement.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

import msgspec

from edgelift_builder.exceptions import as_reason
from edgelift_builder.judge.judgement import Judgement, Verdict
from edgelift_builder.judge.panel import Judgements, Opinion
from edgelift_builder.measure.emulated_guest import Emulation
from edgelift_builder.measure.examine import Examination
from edgelift_builder.measure.latency import Latency, Ratio
from edgelift_builder.measure.memory import Cost
from edgelift_builder.measure.runtimes import RUNTIMES, ModelSpec
from edgelift_builder.piece import Piece
from edgelift_builder.recipe import AS_IT_CAME, FLOATS, Variant
from edgelift_builder.targets import Target
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.manifest import RuntimeName

_WORST_FIRST: tuple[Verdict, ...] = ("fails", "cannot-tell", "holds")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One variant for one target, before anything is done.

    Attributes:
        target, variant: what it is.
    """

    target: Target
    variant: Variant

    @property
    def runtime(self) -> RuntimeName:
        """Who loads it."""
        return RUNTIMES[self.variant.format]

    @property
    def is_float(self) -> bool:
        """Is it what the others of its format are compared with."""
        return self.variant.name in FLOATS

    @property
    def as_it_came(self) -> bool:
        """Did it come in 8 bits, to be shipped as it is."""
        return self.variant.name == AS_IT_CAME

    @property
    def label(self) -> str:
        """As a person would name it: `int8-static onnx for rpi4`."""
        return f"{self.variant.name} {self.variant.format} for {self.target.name}"

    def made(self, piece: Piece, spec: ModelSpec, size_bytes: int) -> Made:
        """The next stage; float is called by what its graph holds from here on."""
        held = _held(self, Candidate)
        if self.is_float and piece.precision in FLOATS:
            held["variant"] = msgspec.structs.replace(self.variant, name=piece.precision)
        return Made(**held, piece=piece, spec=spec, size_bytes=size_bytes)


@dataclass(frozen=True, eq=False)
class Made(Candidate):
    """Its steps have run.

    Attributes:
        piece, spec: the model's files, and how to open them.
        size_bytes: of graph and weights, without goldens.
    """

    piece: Piece
    spec: ModelSpec
    size_bytes: int

    def examined(self, examination: Examination, opinion: Opinion, *, guessed: bool = False) -> Examined:
        """The next stage."""
        return Examined(**_held(self, Made), examination=examination, opinion=opinion, guessed=guessed)


@dataclass(frozen=True, eq=False)
class Examined(Made):
    """It has run on the whole evaluation set.

    Attributes:
        examination, opinion: what it answers, and how good that is.
        emulation: what it did on its target's emulated processor; None where that was not tried.
        guessed: were the inputs drawn, for want of data.
    """

    examination: Examination
    opinion: Opinion
    emulation: Emulation | None = None
    guessed: bool = False

    @property
    def judgements(self) -> Judgements:
        """By each metric, all of which have to hold."""
        return self.opinion.judgements

    @property
    def judgement(self) -> Judgement:
        """By the first metric: the one to show."""
        return self.judgements[0]

    @property
    def verdict(self) -> Verdict:
        """The worst of all metrics; `fails` where a class is gone, too."""
        if self.opinion.a_class_is_gone:
            return "fails"
        return next((v for v in _WORST_FIRST if any(j.verdict == v for j in self.judgements)), "holds")

    @property
    def known_latency(self) -> Latency | None:
        """Of single inferences on a machine of the target's own class; see `Measured.known_latency`."""
        return None

    @property
    def known_ratio(self) -> Ratio | None:
        """How many times as fast as float, on a machine of the target's own class."""
        return None

    def measured(
        self, latency: Latency, float_ratio: Ratio | None, cost: Cost | None, on: HardwareClass
    ) -> Measured:
        """The next stage, measured `on` a machine of that class; of what was measured already, the new figures."""
        return Measured(
            **_held(self, Examined), latency=latency, float_ratio=float_ratio, cost=cost, measured_on=on
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured(Examined):
    """It was timed on this machine.

    Attributes:
        latency: of single inferences.
        float_ratio: time of the float32 of the same format ÷ this one's, above 1 is faster, see `latency.ratio`;
            None where that float could not be made.
        cost: what loading it costs; None where only its time was asked for.
        measured_on: class of the machine.
    """

    latency: Latency
    float_ratio: Ratio | None
    cost: Cost | None
    measured_on: HardwareClass

    @property
    def known_latency(self) -> Latency | None:
        """None where the machine is of another class than the target, even one that runs the same artifacts: other
        instructions run there, and a time by those says nothing of a time without them.
        """
        return self.latency if self.measured_on == self.target.hardware_class else None

    @property
    def known_ratio(self) -> Ratio | None:
        """As `known_latency`."""
        return self.float_ratio if self.measured_on == self.target.hardware_class else None


def _held(candidate: Candidate, stage: type[Candidate]) -> dict[str, Any]:
    return {field.name: getattr(candidate, field.name) for field in fields(stage)}


@dataclass(frozen=True, eq=False)
class Failed:
    """It could not be made, run or emulated: `candidate` is how far it came, `error` why not further."""

    candidate: Candidate
    error: EdgeliftError

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", as_reason(self.error))


#: What the stages leave for the gates.
Outcome: TypeAlias = Examined | Failed


@dataclass(frozen=True, eq=False)
class Decided:
    """What the gates said: `code` and `reason` of the first one that was not passed, both empty when all were."""

    candidate: Candidate
    code: str
    reason: str

    @property
    def verdict(self) -> Verdict | Literal[""]:
        """Accuracy's verdict; empty where it did not run."""
        return self.candidate.verdict if isinstance(self.candidate, Examined) else ""


@dataclass(frozen=True, eq=False)
class Rejected(Decided):
    """It stays in the report."""


@dataclass(frozen=True, eq=False)
class Shipped(Decided):
    """It goes into the release; with a code when a person accepted what that gate refused."""

    candidate: Examined

    @property
    def verdict(self) -> Verdict:
        """Accuracy's verdict. A float variant that passed its gate holds: it was judged by its outputs, which are the
        source's own; how many samples there were does not matter to that.
        """
        by_outputs = self.candidate.is_float or self.candidate.as_it_came
        return "holds" if by_outputs and not self.code else self.candidate.verdict


@dataclass(frozen=True, eq=False)
class Packaged(Shipped):
    """It lies in the release's folder as `artifact`."""

    artifact: str


def reached(outcome: Candidate | Failed) -> Candidate:
    """The stage that it came to."""
    return outcome.candidate if isinstance(outcome, Failed) else outcome


def find_float(outcomes: Iterable[Candidate | Failed], other: Candidate) -> Examined | None:
    """The float32 of the same format for the same target, if it could be made and run."""
    for candidate in map(reached, outcomes):
        same = candidate.target is other.target and candidate.variant.format == other.variant.format
        if same and candidate.is_float and isinstance(candidate, Examined):
            return candidate
    return None
