"""The whole way from a source to a release folder, in order.

    load → convert, optimise → examine → measure → decide → package

Each stage takes the candidates a type further, see `candidate`; one that fails stays in the list with its error, for
the report. Only what is required (the float ONNX of a recipe) ends the build when it fails.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgelift_builder import choose, emulate, gates, package, search
from edgelift_builder.assess import Assessor, emulate_all, float_ratio
from edgelift_builder.candidate import (
    Candidate,
    Decided,
    Failed,
    Made,
    Outcome,
    Packaged,
    Shipped,
    find_float,
)
from edgelift_builder.child import Child
from edgelift_builder.facts import CALIBRATION, EVALUATION, LABELS, REFERENCE, SourceFacts
from edgelift_builder.index import write_index
from edgelift_builder.make import choose_recipe, load_source, make, make_one, step_context
from edgelift_builder.pipeline import StepContext
from edgelift_builder.recipe import Recipe, Variant, load_recipe
from edgelift_builder.report import page
from edgelift_builder.report.describe import write_report
from edgelift_builder.report.report import BuildReport
from edgelift_builder.request import Request, check_budgets, release_counter
from edgelift_builder.source.named import check_data, split_source
from edgelift_builder.source.vouched import verify_source
from edgelift_builder.staging import put_in_place, refuse_existing, staging
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import Target, load_target
from edgelift_builder.work import BuildProgress, Work
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import this_machine
from edgelift_contract.ids import check_name

#: Enough rounds to tell a candidate from float while searching; what is kept is measured in full with the others.
SEARCH_ROUNDS = 40


@dataclass(frozen=True)
class Built:
    """Where the release stands, what the report says, and of what source."""

    folder: Path
    report: BuildReport
    facts: SourceFacts


def build(request: Request, progress: BuildProgress, data_to: Path | None = None) -> Built:
    """Build a release.

    Args:
        request: what to build.
        progress: who shows how far it is.
        data_to: an empty folder that receives the data sets by which it was made and judged, see `facts`.

    Raises:
        ContractError: the source, recipe, target or version is wrong, or nothing can be shipped.
        DeviceError: this machine has no space or memory, or may not write.
    """
    targets = [load_target(name) for name in dict.fromkeys(request.targets)]
    recipe = _recipe(request, targets)
    counter = release_counter(request)
    machine = emulate.find_root() if request.emulate else None
    check_budgets(request.budget, request.budgets)
    path, function = split_source(request.source)
    check_data("" if function else request.data)
    signature = verify_source(path, request.signature, request.signer_key, request.signer_chain)
    parent = request.out.absolute().parent if request.out else Path("releases").absolute()
    if request.model:
        check_name("model", request.model)
    if request.out or request.model:  # else the source's own name says where
        refuse_existing(_out(request, parent, request.model), force=request.force)
    host = this_machine()
    with staging(parent) as folder:
        work = Work(request, targets, recipe, host, folder / "work", progress)
        work.folder.mkdir()
        with Child(folder / "source.log") as source_process:
            with work.stage("load", f"Running {function} in {path.name}" if function else f"Opening {path.name}"):
                facts = load_source(source_process, path, function, work)
            work.allowed(facts)  # a budget of a metric that there isn't is refused before anything is made
            facts = choose_recipe(source_process, facts, work)
            progress.total(_stages(facts, work))
            name = check_name("model", request.model or facts.name)
            out = _out(request, parent, name)
            refuse_existing(out, force=request.force)
            made = make(source_process, facts, work)
            outcomes, trials = _assess(source_process, facts, made, work)
        outcomes = emulate_all(machine, outcomes, work)
        decided = gates.decide(outcomes, accept=request.accept)
        about = package.Identity(name, request.version, counter, facts, work.recipe, host, signature)
        if data_to is not None:
            _hand_over(work.folder, data_to)
        with work.stage("package", "Packaging"):
            report = _package(about, decided, trials, folder / "release", work)
            put_in_place(folder / "release", out, force=request.force)
    return Built(out, report, facts)


def _hand_over(folder: Path, to: Path) -> None:
    for name in (EVALUATION, CALIBRATION, LABELS, REFERENCE):
        if (folder / name).exists():
            shutil.copyfile(folder / name, to / name)


def _stages(facts: SourceFacts, work: Work) -> int:
    """How many there are from the source's loading to the packaging, at most; a search adds to them."""
    wanted = sum(len(choose.variants(work.recipe, target, facts)) for target in work.targets)
    return 3 + 2 * wanted + len(work.targets)


def _out(request: Request, parent: Path, name: str) -> Path:
    return request.out or parent / f"{name}@{request.version}"


def _recipe(request: Request, targets: list[Target]) -> Recipe:
    recipe = load_recipe(request.recipe)
    check_recipe(recipe, targets)
    return recipe


def _assess(
    source_process: Child, facts: SourceFacts, made: list[Made | Failed], work: Work
) -> tuple[list[Outcome], list[search.Trial]]:
    """Everything that was made, and what a search adds, examined and measured."""
    with Child(work.folder.parent / "examine.log") as runtime_process:
        assessor = Assessor(runtime_process, source_process, facts, work)
        outcomes = [assessor.examine(one) for one in made]
        kept, trials = _search(assessor, source_process, facts, outcomes, work)
        return assessor.measure([*outcomes, *kept]), trials


def _search(
    assessor: Assessor, source_process: Child, facts: SourceFacts, outcomes: list[Outcome], work: Work
) -> tuple[list[Outcome], list[search.Trial]]:
    """Look for more candidates, the time shared evenly by the targets: those worth keeping, and all trials."""
    kept: list[Outcome] = []
    chooser = assessor.chooser() if work.request.search_s else assessor
    trials: list[search.Trial] = []
    for target in work.targets if work.request.search_s else ():
        context = step_context(source_process, facts, target, work)

        def attempt(variant: Variant, context: StepContext = context) -> Outcome:
            candidate = Candidate(context.target, variant)
            outcome = chooser.examine(make_one(candidate, context, work))
            float_one = find_float(outcomes, candidate)
            if isinstance(outcome, Failed) or not float_one:
                return outcome
            if context.target.hardware_class != work.host:
                return outcome
            with work.stage("measure", f"Timing {candidate.label}"):
                times = assessor.time([float_one, outcome], rounds=SEARCH_ROUNDS)
            return outcome.measured(times[outcome], float_ratio(times, outcome), None, work.host)

        share = work.request.search_s / len(work.targets)
        found, tried = search.explore(
            target, tuple(facts.formats), choose.conditions(target, facts), attempt, share
        )
        kept += found if chooser is assessor else [assessor.examine(one) for one in found]
        trials += tried
    return kept, trials


def _package(
    about: package.Identity, decided: list[Decided], trials: list[search.Trial], folder: Path, work: Work
) -> BuildReport:
    if not any(isinstance(one, Shipped) for one in decided):
        reasons = "; ".join(dict.fromkeys(f"{one.candidate.label}: {one.reason}" for one in decided))
        raise ContractError("nothing-to-ship", f"No candidate passed its gates. {reasons}")
    folder.mkdir()
    ended = [package.write_artifact(one, about, folder) if isinstance(one, Shipped) else one for one in decided]
    packaged = [one for one in ended if isinstance(one, Packaged)]
    ranked = {t.name: gates.rank([one for one in packaged if one.candidate.target is t]) for t in work.targets}
    write_index(about, ranked, folder)
    report = write_report(about, Path(work.request.source).name, ended, ranked, work.seconds, trials, folder)
    (folder / page.PAGE_FILE).write_text(page.render(report), encoding="utf-8")
    return report
