"""The first two stages: the source is loaded in a child process, and every variant's steps are run there.

A variant whose steps fail is kept with its error, for the report; only a required one ends the build.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from edgelift_builder import choose, known_bad, package
from edgelift_builder.candidate import Candidate, Failed, Made
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import SourceFacts
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.optimise import weight_only
from edgelift_builder.piece import Piece
from edgelift_builder.pipeline import StepContext, run_steps
from edgelift_builder.recipe import AS_IT_CAME, StepCall, Variant
from edgelift_builder.source import load
from edgelift_builder.staging import is_full
from edgelift_builder.steps import STEPS
from edgelift_builder.targets import Target, pins
from edgelift_builder.work import Work
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import SessionOptions


def load_source(source_process: Child, path: Path, function: str, work: Work) -> SourceFacts:
    """Run the user's function, or open the model file, in the child; see `load.load_source`."""
    if not function:
        on_failure = OnFailure(path.name, raised="source-invalid", hung="source-hung", died="source-invalid")
    else:
        on_failure = OnFailure(
            f"{function} in {path.name}", raised="source-raised", hung="source-hung", died="source-raised",
            hint="Run again with --debug for all that it printed.",
        )  # fmt: skip
    request = work.request
    return source_process.call(
        load.load_source,
        str(path),
        function,
        request.data,
        str(work.folder),
        on_failure=on_failure,
        timeout_s=request.timeout_s,
    )


def choose_recipe(source_process: Child, facts: SourceFacts, work: Work) -> SourceFacts:
    """Settle which recipe this source gets, see `choose`; the facts, with a remark where that was a choice."""
    if facts.quantised or not work.recipe.families:
        return facts
    with work.stage("convert", "Telling what the model is made of"):
        context = step_context(source_process, facts, work.targets[0], work)
        work.recipe, why = choose.recipe_for(work.recipe, facts, context)
    return replace(facts, remarks=[*facts.remarks, why])


def make(source_process: Child, facts: SourceFacts, work: Work) -> list[Made | Failed]:
    """Run every variant's steps for every target; what two have in common runs once."""
    outcomes: list[Made | Failed] = []
    for target in work.targets:
        context = step_context(source_process, facts, target, work)
        for variant in _as_they_came(facts) if facts.quantised else choose.variants(work.recipe, target, facts):
            candidate = Candidate(target, variant)
            if candidate.runtime in target.runtimes and variant.format in facts.formats:
                outcomes.append(make_one(candidate, context, work))
    if not outcomes:
        raise ContractError(
            "unknown-recipe",
            f"The recipe {work.recipe.name} makes nothing that this source can become: {', '.join(facts.formats)}.",
            hint="Name another recipe with --recipe.",
        )
    return outcomes


#: How a file becomes an artifact when nothing is done to it.
_EXPORTS = {"onnx": "export-onnx", "tflite": "export-tflite", "torchscript": "export-torchscript"}


def _as_they_came(facts: SourceFacts) -> list[Variant]:
    """What comes quantised is shipped as it is: quantising it again could only lose."""
    alone = len(facts.formats) == 1
    return [Variant(AS_IT_CAME, name, [StepCall(_EXPORTS[name])], required=alone) for name in facts.formats]


def step_context(source_process: Child, facts: SourceFacts, target: Target, work: Work) -> StepContext:
    """What the steps for one target work with."""
    fresh = work.request.force
    return StepContext(source_process, facts, work.folder, target, work.allowed(facts), fresh, work.done)


def make_one(candidate: Candidate, context: StepContext, work: Work) -> Made | Failed:
    """Run its steps, and hold what they made against the advisories."""
    reached = candidate
    with work.stage("convert", f"Making {candidate.label}"):
        try:
            piece = run_steps(candidate.variant.steps, STEPS, context)
            made = candidate.made(piece, _spec(candidate, piece, context), _size(piece))
            reached = made
            made = _advised(_loadable(made))
        except ContractError as error:
            if candidate.variant.required or is_full(work.folder):
                raise
            return Failed(reached, error)
    return made


def _loadable(made: Made) -> Made:
    """Refuse what no runtime of the target's boards can load; where only some can't, it is told.

    Raises:
        ContractError: `runtime-too-old`.
    """
    wanted, systems = package.runtime_range(made), made.target.pythons
    if not (old := pins.too_old(systems, made.runtime, wanted)):
        return made
    where = ", ".join(f"{version} for Python {python}" for python, version in old.items())
    what = f"{made.label} needs {made.runtime} {wanted}, and there is none newer than {where}"
    if len(old) == len(systems):
        raise ContractError(
            "runtime-too-old", f"{what}, which is what {made.target.title} has.",
            hint="Export it for an older opset, or put a system with a newer Python on the board.",
        )  # fmt: skip
    return replace(
        made, piece=replace(made.piece, remarks=(*made.piece.remarks, f"{what}: boards with it refuse it"))
    )


def _advised(made: Made) -> Made:
    """Refuse what an advisory speaks of; what came so is shipped where that is not wrong, and says it."""
    about = (
        made.piece.model_path,
        made.runtime,
        made.target.hardware_class,
        package.runtime_range(made),
        made.label,
    )
    if not made.as_it_came:
        known_bad.check(*about)
        return made
    told = known_bad.check_as_it_came(*about)
    return replace(made, piece=replace(made.piece, remarks=(*made.piece.remarks, *told)))


def _spec(candidate: Candidate, piece: Piece, context: StepContext) -> ModelSpec:
    facts = context.facts
    return ModelSpec(
        runtime=candidate.runtime,
        path=piece.model_path,
        options=_options(candidate, piece),
        inputs=tuple(s.name for s in facts.inputs),
        outputs=tuple(s.name for s in facts.outputs),
        batch_free=candidate.variant.format != "tflite" and facts.batch_free,
        int8=piece.precision in ("int8", "int4"),
        half=piece.precision == "float16" or any(s.dtype == "FP16" for s in facts.outputs),
        axes=facts.axes,
        kinds={s.name: s.dtype for s in facts.outputs},
    )


def _options(candidate: Candidate, piece: Piece) -> SessionOptions:
    options = candidate.target.session(candidate.runtime)
    if not candidate.as_it_came:
        return msgspec.structs.replace(options, entries=options.entries | _folding(piece))
    # Settings made for our own graphs move another's: `session.qdqisint8allowed` one of unsigned weights by two steps.
    return msgspec.structs.replace(options, entries={})


def _folding(piece: Piece) -> dict[str, str]:
    return weight_only.FOLDED if piece.widened and piece.format == "onnx" else {}


def _size(piece: Piece) -> int:
    return sum((piece.folder / path).stat().st_size for path, _ in piece.files)
