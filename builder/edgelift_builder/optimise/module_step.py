"""A step that turns the module in the child into another one: a name, its options, and what is done to a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, StepOutput, check_options, demand, on_step_failure
from edgelift_builder.source.held import keep_module, module
from edgelift_builder.targets import Target
from edgelift_contract.errors import ContractError

#: (a copy of the module, folder of the data sets, settings) → (the module made, remarks for people). Runs in the child.
Body: TypeAlias = Callable[[Any, Path, dict[str, Any]], tuple[Any, list[str]]]


def as_they_are(settings: dict[str, Any]) -> dict[str, Any]:
    """No check beyond each option's type."""
    return settings


def share_of_model(step: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Refuse an `amount` that is no share; raises ContractError `unknown-recipe`."""
    if not 0 < settings["amount"] < 1:
        raise ContractError("unknown-recipe", f"The amount of the step {step} must be between 0 and 1.")
    return settings


@dataclass(frozen=True)
class ModuleStep:
    """module → module, in the child that holds the source.

    Attributes:
        name: as recipes have it.
        body: a function of a module, so that it can be named to the child; what it promises it checks itself, there.
        options: option → default.
        check: completes the settings, or raises ContractError `unknown-recipe`.
    """

    name: str
    body: Body
    options: dict[str, Any]
    check: Callable[[dict[str, Any]], dict[str, Any]] = as_they_are

    def settings(self, options: dict[str, Any], _target: Target) -> dict[str, Any]:
        """The recipe's options, completed; the same for every target."""
        return self.check(check_options(self.name, options, self.options))

    def requires(self, piece: Piece) -> None:
        """Works on the module itself."""
        demand(self.name, piece, "source")

    def run(self, piece: Piece, settings: dict[str, Any], context: StepContext, folder: Path) -> StepOutput:
        """Do it to a copy in the child; raises what the body raises."""
        remarks = context.child.call(
            apply,
            self.body,
            piece.handle,
            folder.name,
            str(context.folder),
            settings,
            on_failure=on_step_failure(self.name),
        )
        return StepOutput(Piece("source", "", folder, remarks=tuple(remarks)), changed=True)

    def ensures(self, _before: Piece, _result: StepOutput) -> None:
        """The module is in the child: its body has checked it there, and the gates measure what becomes of it."""


def apply(body: Body, handle: str, to: str, data_folder: str, settings: dict[str, Any]) -> list[str]:
    """In the child: do `body` to a copy of the module `handle`, keep what comes of it as `to`; returns remarks."""
    made, remarks = body(copy.deepcopy(module(handle)), Path(data_folder), settings)
    keep_module(to, made)
    return remarks
