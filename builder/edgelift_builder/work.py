"""What the stages of one build share: what is asked for, where the files lie, who shows how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

from edgelift_builder.facts import SourceFacts
from edgelift_builder.judge import budgets
from edgelift_builder.pipeline import StepOutput
from edgelift_builder.recipe import Recipe
from edgelift_builder.request import Request
from edgelift_builder.targets import Target
from edgelift_contract.hardware import HardwareClass


class BuildProgress(Protocol):
    """Whoever shows how far a build is."""

    def total(self, stages: int) -> None:
        """How many stages there will be."""

    def stage(self, text: str) -> AbstractContextManager[None]:
        """One stage, from its begin to its end."""


@dataclass
class Work:
    """What the stages share.

    Attributes:
        request, targets, recipe: what is to be built.
        host: hardware class of this machine.
        folder: scratch space for data sets and what steps make.
        progress: who shows it.
        seconds: stage → how long it took so far.
        done: results of steps by their keys.
    """

    request: Request
    targets: list[Target]
    recipe: Recipe
    host: HardwareClass
    folder: Path
    progress: BuildProgress
    seconds: dict[str, float] = field(default_factory=dict)
    done: dict[str, StepOutput] = field(default_factory=dict)

    def allowed(self, facts: SourceFacts) -> budgets.Allowed:
        """What a variant may lose of each metric.

        Raises:
            ContractError: what `budgets.resolve` raises.
        """
        return budgets.resolve(
            facts.metrics, self.recipe.accuracy_drop_pp, self.request.budget, self.request.budgets
        )

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        """Show one stage while it lasts, and add its time to that of its name."""
        started = monotonic()
        with self.progress.stage(text):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - started
