"""The first two stages: the source is loaded in a child process, and every variant's steps are run there.

A variant whose steps fail is kept with its error, for the report; only a required one ends the build.
"""

from __future__ import annotations

from pathlib import Path

from edgelift_builder import known_bad, package
from edgelift_builder.candidate import Candidate
from edgelift_builder.child import Child, Words
from edgelift_builder.facts import SourceFacts
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.pipeline import Bench, run_steps
from edgelift_builder.source import load
from edgelift_builder.staging import is_full
from edgelift_builder.steps import STEPS
from edgelift_builder.work import Work
from edgelift_contract.errors import ContractError


def load_source(workshop: Child, path: Path, function: str, work: Work) -> SourceFacts:
    """Run the user's function, or open the model file, in the child; see `load.load_source`."""
    if not function:
        words = Words(path.name, raised="source-invalid", hung="source-hung", died="source-invalid")
    else:
        words = Words(
            f"{function} in {path.name}", raised="source-raised", hung="source-hung", died="source-raised",
            hint="Run again with --debug for all that it printed.",
        )  # fmt: skip
    request = work.request
    return workshop.call(
        load.load_source,
        str(path),
        function,
        request.data,
        str(work.folder),
        words=words,
        timeout_s=request.timeout_s,
    )


def make(workshop: Child, facts: SourceFacts, work: Work) -> list[Candidate]:
    """Run every variant's steps for every target; what two have in common runs once."""
    candidates: list[Candidate] = []
    for target in work.targets:
        bench = Bench(
            workshop, facts, work.folder, target, work.recipe.accuracy_drop_pp, work.request.force, work.done
        )
        for variant in work.recipe.variants:
            candidate = Candidate(target, variant, work.recipe.accuracy_drop_pp)
            if candidate.runtime not in target.runtimes or variant.format not in facts.formats:
                continue
            candidates.append(candidate)
            make_one(candidate, bench, work)
    if not candidates:
        raise ContractError(
            "unknown-recipe",
            f"The recipe {work.recipe.name} makes nothing that this source can become: {', '.join(facts.formats)}.",
            hint="Name another recipe with --recipe.",
        )
    return candidates


def make_one(candidate: Candidate, bench: Bench, work: Work) -> None:
    """Run its steps: fills in `piece` and `spec`, or `error`."""
    target, variant, facts = candidate.target, candidate.variant, bench.facts
    with work.stage("convert", f"Making {candidate.label}"):
        try:
            candidate.piece = run_steps(variant.steps, STEPS, bench)
            known_bad.check(
                candidate.piece.model_path, candidate.runtime, target.hardware_class,
                package.runtime_range(candidate), candidate.label,
            )  # fmt: skip
        except ContractError as error:
            if variant.required or is_full(work.folder):
                raise
            candidate.error = error
            return
    candidate.spec = ModelSpec(
        runtime=candidate.runtime,
        path=candidate.piece.model_path,
        options=target.session(candidate.runtime),
        inputs=tuple(s.name for s in facts.inputs),
        outputs=tuple(s.name for s in facts.outputs),
        batch_free=variant.format != "tflite" and facts.batch_free,
        int8=candidate.piece.precision in ("int8", "int4"),
    )
