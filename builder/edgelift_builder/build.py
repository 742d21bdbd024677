"""The whole way from a source to a release folder, in order: `build` reads like the design's first line.

    load → convert, optimise → examine → measure → decide → package

Each stage fills in the candidates a little further; a candidate that fails stays in the list with its error,
for the report. Only what is required (the float ONNX of a recipe) ends the build when it fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgelift_builder import emulate, gates, package, search
from edgelift_builder.assess import emulate_all, examine_all, float_ratio, measure_all, time_together
from edgelift_builder.candidate import Candidate, find_float
from edgelift_builder.child import Child
from edgelift_builder.facts import SourceFacts
from edgelift_builder.make import load_source, make, make_one
from edgelift_builder.pipeline import Bench
from edgelift_builder.recipe import Variant, load_recipe
from edgelift_builder.report import page, report
from edgelift_builder.request import Request, release_counter
from edgelift_builder.source.named import split_source
from edgelift_builder.staging import put_in_place, refuse_existing, staging
from edgelift_builder.steps import check_recipe
from edgelift_builder.targets import load_target
from edgelift_builder.work import Progress, Work
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import ACCEPTS, this_machine
from edgelift_contract.ids import check_name

#: Enough rounds to tell a candidate from float while searching; what is kept is measured in full with the others.
SEARCH_ROUNDS = 40


@dataclass(frozen=True)
class Built:
    """Where the release stands, and what the report says."""

    folder: Path
    report: report.BuildReport


def build(request: Request, progress: Progress) -> Built:
    """Build a release.

    Raises:
        ContractError: the source, recipe, target or version is wrong, or nothing can be shipped.
        DeviceError: this machine has no space or memory, or may not write.
    """
    targets = [load_target(name) for name in dict.fromkeys(request.targets)]
    recipe = load_recipe(request.recipe)
    if request.budget_pp is not None:
        recipe = msgspec.structs.replace(recipe, accuracy_drop_pp=request.budget_pp)
    check_recipe(recipe, targets)
    counter = release_counter(request)
    machine = emulate.find_root() if request.emulate else None
    path, function = split_source(request.source)
    if request.out is not None:
        refuse_existing(request.out, force=request.force)
    host = this_machine()
    parent = request.out.absolute().parent if request.out else Path("releases").absolute()
    with staging(parent) as folder:
        work = Work(request, targets, recipe, host, folder / "work", progress)
        work.folder.mkdir()
        wanted = sum(1 for t in targets for v in recipe.variants)
        progress.total(2 + 2 * wanted + len(targets))
        with Child(folder / "source.log") as workshop:
            with work.stage("load", f"Running {function} in {path.name}" if function else f"Opening {path.name}"):
                facts = load_source(workshop, path, function, work)
            name = check_name("model", request.model or facts.name)
            out = request.out or parent / f"{name}@{request.version}"
            refuse_existing(out, force=request.force)
            candidates = make(workshop, facts, work)
            with Child(folder / "examine.log") as examiner:
                examine_all(examiner, workshop, facts, candidates, work)
                trials = _search(examiner, workshop, facts, candidates, work)
                measure_all(examiner, candidates, work)
            emulate_all(machine, candidates, work)
        gates.decide(candidates, accept=request.accept)
        about = package.Identity(name, request.version, counter, facts, recipe, host)
        with work.stage("package", "Packaging"):
            made = _package(about, candidates, trials, folder / "release", work)
            put_in_place(folder / "release", out)
    return Built(out, made)


def _search(
    examiner: Child, workshop: Child, facts: SourceFacts, candidates: list[Candidate], work: Work
) -> list[search.Trial]:
    """Look for more candidates, the time shared evenly by the targets; those worth keeping join the others."""
    trials: list[search.Trial] = []
    floats = [c for c in candidates if c.is_float]
    for target in work.targets if work.request.search_s else ():
        bench = Bench(
            workshop, facts, work.folder, target, work.recipe.accuracy_drop_pp, work.request.force, work.done
        )

        def attempt(variant: Variant, bench: Bench = bench) -> Candidate:
            candidate = Candidate(bench.target, variant, work.recipe.accuracy_drop_pp)
            make_one(candidate, bench, work)
            examine_all(examiner, workshop, facts, [candidate], work)
            float_one = find_float(floats, candidate)
            if bench.target.hardware_class in ACCEPTS[work.host] and candidate.examined and float_one:
                with work.stage("measure", f"Timing {candidate.label}"):
                    time_together(examiner, [float_one, candidate], work, rounds=SEARCH_ROUNDS)
                candidate.float_ratio = float_ratio(float_one, candidate)
            return candidate

        share = work.request.search_s / len(work.targets)
        kept, tried = search.explore(target, tuple(facts.formats), attempt, share)
        candidates += kept
        trials += tried
    return trials


def _package(
    about: package.Identity, candidates: list[Candidate], trials: list[search.Trial], folder: Path, work: Work
) -> report.BuildReport:
    shipped = [c for c in candidates if c.shipped]
    if not shipped:
        told = "; ".join(dict.fromkeys(f"{c.label}: {c.reason}" for c in candidates))
        raise ContractError("nothing-to-ship", f"No candidate passed its gates. {told}")
    folder.mkdir()
    for candidate in shipped:
        candidate.artifact, _ = package.write_artifact(candidate, about, folder)
    ranked = {t.name: gates.rank([c for c in shipped if c.target is t]) for t in work.targets}
    package.write_index(about, ranked, folder)
    made = report.write_report(
        about, Path(work.request.source).name, candidates, ranked, work.seconds, trials, folder
    )
    (folder / page.PAGE_FILE).write_text(page.render(made), encoding="utf-8")
    return made
