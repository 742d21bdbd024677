"""Steps, and running a list of them.

A step is a small object: what it takes (`requires`), what it does (`run`), what it promises (`ensures`). The
pipeline checks both sides, so that an error names the step at fault; and it keeps each result under
a key of everything that went into it, so that two targets, or two variants, share the steps they have in
common. (Manner: onnx-ir's PassBase, `passes/_pass_infra.py`.)

Steps don't touch the model themselves: they call functions in the child process that holds the source.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from edgelift_builder import cache
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import SourceFacts
from edgelift_builder.judge.budgets import Allowed
from edgelift_builder.piece import Piece, PieceFormat
from edgelift_builder.recipe import FLOAT, FLOATS, StepCall
from edgelift_builder.targets import Target
from edgelift_contract import codec
from edgelift_contract.errors import ContractError, EdgeliftError


@dataclass(frozen=True)
class StepOutput:
    """A step's piece, and whether it differs from the one before."""

    piece: Piece
    changed: bool


@dataclass
class StepContext:
    """What steps work with.

    Attributes:
        child: the process that holds the source.
        facts: what is known of the source.
        folder: scratch space; data sets lie in it, results of steps below it.
        target: for whom this variant is made.
        allowed: what the variant may lose, for steps that keep to it themselves.
        fresh: leave aside what earlier builds left in the cache.
        done: results of this build.
    """

    child: Child
    facts: SourceFacts
    folder: Path
    target: Target
    allowed: Allowed = field(default_factory=Allowed)
    fresh: bool = False
    done: dict[str, StepOutput] = field(default_factory=dict)


class Step(Protocol):
    """One transformation. `settings` are all that its result depends on besides its piece."""

    @property
    def name(self) -> str:
        """As recipes have it."""

    def settings(self, options: dict[str, Any], target: Target) -> dict[str, Any]:
        """The recipe's options checked and completed by the target's; raises ContractError."""

    def requires(self, piece: Piece) -> None:
        """Refuse a piece that this step cannot work on; raises ContractError `step-failed`."""

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Do it, writing into the empty `folder`; raises EdgeliftError."""

    def ensures(self, before: Piece, result: StepOutput) -> None:
        """Check the promise on what was really written; raises ContractError `step-failed`."""


def run_steps(calls: Sequence[StepCall], steps: dict[str, Step], context: StepContext) -> Piece:
    """Run a variant's steps in order, from the last one whose result is known already.

    A step that leaves a module in the child cannot be kept across builds; what follows it can, and then the
    step itself need not run.

    Raises:
        ContractError: `step-failed` for a broken condition; else what the step raised.
    """
    piece = Piece(format="source", key=codec.digest(f"{context.facts.key}:{cache.tools_digest()}".encode()))
    planned = _plan(piece.key, calls, steps, context)
    begin = 0
    for position in range(len(planned), 0, -1):
        known = _known(planned[position - 1][2], context)
        if known is not None:
            piece, begin = known, position
            break
    for step, settings, key in planned[begin:]:
        context.done[key] = _run(step, piece, settings, context, key)
        piece = context.done[key].piece
    return piece


def _plan(
    key: str, calls: Sequence[StepCall], steps: dict[str, Step], context: StepContext
) -> list[tuple[Step, dict[str, Any], str]]:
    """Each step with its settings, and the key of its result."""
    planned = []
    for call in calls:
        step = steps[call.step]
        settings = step.settings(call.options, context.target)
        parts: list[Any] = [key, step.name, settings]
        if getattr(step, "keeps_budget", False):
            parts.append(context.allowed)
        key = codec.digest(codec.canonical_json(parts))
        planned.append((step, settings, key))
    return planned


def _known(key: str, context: StepContext) -> Piece | None:
    if key in context.done:
        return context.done[key].piece
    return None if context.fresh else cache.find(key)


def _run(step: Step, piece: Piece, settings: dict[str, Any], context: StepContext, key: str) -> StepOutput:
    step.requires(piece)
    folder = context.folder / "steps" / key[:16]
    shutil.rmtree(folder, ignore_errors=True)  # variants share steps: one that failed is tried again by the next
    folder.mkdir(parents=True)
    result = step.run(piece, settings, context, folder)
    made = replace(
        result.piece,
        key=key,
        steps=(*piece.steps, step.name),
        remarks=(*piece.remarks, *result.piece.remarks),
        sensitivity=result.piece.sensitivity or piece.sensitivity,
        ranges=result.piece.ranges or piece.ranges,
    )
    result = replace(result, piece=made)
    step.ensures(piece, result)
    if made.format != "source":
        cache.keep(made)
    return result


def demand(step: str, piece: Piece, format: PieceFormat, precision: str = FLOAT) -> None:  # noqa: A002 - the word
    """Refuse a piece of another format or precision; other floats are as good as float32, see `widen`.

    Raises:
        ContractError: `step-failed`.
    """
    taken = FLOATS if precision == FLOAT else (precision,)
    if piece.format != format or piece.precision not in taken:
        raise ContractError(
            "step-failed",
            f"The step {step} works on a {precision} {format}, not on a {piece.precision} {piece.format}.",
            hint="Reorder the steps of the recipe.",
        )


def demand_data(step: str, facts: SourceFacts) -> None:
    """Refuse to calibrate by inputs that were drawn: ranges of noise are no ranges of what will be asked.

    Raises:
        ContractError: `no-data`.
    """
    if facts.guessed:
        raise ContractError(
            "no-data",
            f"The step {step} calibrates, and there are no data to do it by.",
            hint="Give some with --data FILE.npz or --data FILE.py:FUNCTION.",
        )


def check_options(
    step: str, options: dict[str, Any], known: dict[str, Any], choices: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, Any]:
    """`known` (option → default) with the recipe's values in place of the defaults; `choices` (option → values) where not
    every value of a type will do.

    Raises:
        ContractError: `unknown-recipe` for an option the step does not have, of another type, or not among its choices.
    """
    for name, value in options.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ContractError(
                "unknown-recipe", f"The step {step} has no option {name!r}.", hint=f"Its options: {listed}."
            )
        if type(value) is not type(known[name]):
            kind = type(known[name]).__name__
            raise ContractError("unknown-recipe", f"The option {name} of the step {step} must be a {kind}.")
        allowed = (choices or {}).get(name)
        if allowed is not None and value not in allowed:
            raise ContractError(
                "unknown-recipe",
                f"The option {name} of the step {step} can't be {value!r}.",
                hint=f"It can be one of: {', '.join(map(str, allowed))}.",
            )
    return known | options


def on_step_failure(step: str) -> OnFailure:
    """How a failure of a step is told."""
    return OnFailure(f"The step {step}")


def failed(step: str, reason: str) -> EdgeliftError:
    """A broken promise."""
    return ContractError("step-failed", f"The step {step} failed its own check: {reason}.")
