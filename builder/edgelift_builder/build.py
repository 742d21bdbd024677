"""The whole way from a source to a release folder, in order: `build` reads like the design's first line.

    load → convert, optimise → examine → measure → decide → package

Each stage fills in the candidates a little further; a candidate that fails stays in the list with its error,
for the report. Only what is required (the float ONNX of a recipe) ends the build when it fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec
import numpy as np

from edgelift_builder import data, emulate, gates, known_bad, package, search
from edgelift_builder.candidate import Candidate, find_float
from edgelift_builder.child import Child, Words
from edgelift_builder.measure import evaluate, examine, latency, memory
from edgelift_builder.measure.runtimes import ModelSpec
from edgelift_builder.pipeline import Bench, StepResult, run_steps
from edgelift_builder.recipe import Recipe, Variant, load_recipe
from edgelift_builder.report import page, report
from edgelift_builder.source import load
from edgelift_builder.staging import is_full, put_in_place, refuse_existing, staging
from edgelift_builder.steps import STEPS, check_recipe
from edgelift_builder.targets import Target, load_target
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import ACCEPTS, HardwareClass, this_machine
from edgelift_contract.ids import check_name, parse_release

DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        source: `file.py:function`, or a model file.
        data: what judges a model file: `file.py:function` or an `.npz`; see `file_data`.
        targets, recipe: by name, or the path of a TOML file.
        version: of the release; counter: its number, needed where the version is none.
        model: instead of the source's own name.
        out: the release folder; `releases/<model>@<version>` when None.
        budget_pp: most that a variant may lose against float, percentage points; the recipe's when None.
        emulate: run ARM artifacts on their target's emulated processor.
        search_s: how long to search for recipes beyond the named one, seconds; 0 is not at all.
        timeout_s: how long the user's code may take.
        accept: ship also what only broke a budget.
        force: replace an existing release folder, and leave the cache of steps aside.
    """

    source: str
    targets: list[str]
    recipe: str = "default"
    version: str = "1"
    counter: int | None = None
    model: str = ""
    out: Path | None = None
    budget_pp: float | None = None
    emulate: bool = False
    search_s: float = 0.0
    timeout_s: float = DEFAULT_TIMEOUT_S
    accept: bool = False
    force: bool = False
    data: str = ""


@dataclass(frozen=True)
class Built:
    """Where the release stands, and what the report says."""

    folder: Path
    report: report.BuildReport


class Progress(Protocol):
    """Whoever shows how far a build is."""

    def total(self, stages: int) -> None:
        """How many stages there will be."""

    def stage(self, text: str) -> AbstractContextManager[None]:
        """One stage, from its begin to its end."""


@dataclass
class _Work:
    """What the stages share."""

    request: Request
    targets: list[Target]
    recipe: Recipe
    host: HardwareClass
    folder: Path
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    examined: int = 0
    done: dict[str, StepResult] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        started = monotonic()
        with self.progress.stage(text):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - started


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
    path, function = load.split_source(request.source)
    if request.out is not None:
        refuse_existing(request.out, force=request.force)
    host = this_machine()
    parent = request.out.absolute().parent if request.out else Path("releases").absolute()
    with staging(parent) as folder:
        work = _Work(request, targets, recipe, host, folder / "work", progress)
        work.folder.mkdir()
        wanted = sum(1 for t in targets for v in recipe.variants)
        progress.total(3 + 2 * wanted + len(targets))
        with Child(folder / "source.log") as workshop:
            with work.stage("load", f"Running {function} in {path.name}" if function else f"Opening {path.name}"):
                facts = _load(workshop, path, function, work)
            name = check_name("model", request.model or facts.name)
            out = request.out or parent / f"{name}@{request.version}"
            refuse_existing(out, force=request.force)
            candidates = _make(workshop, facts, work)
            with Child(folder / "examine.log") as examiner:
                _examine(examiner, workshop, facts, candidates, work)
                trials = _search(examiner, workshop, facts, candidates, work)
                _measure(examiner, candidates, work)
            _emulate(machine, candidates, work)
        gates.decide(candidates, accept=request.accept)
        about = package.Identity(name, request.version, counter, facts, recipe, host)
        with work.stage("package", "Packaging"):
            made = _package(about, candidates, trials, folder / "release", work)
            put_in_place(folder / "release", out)
    return Built(out, made)


def release_counter(request: Request) -> int:
    """The release counter: as given, else the version where it is a number.

    Raises:
        ContractError: `bad-id`.
    """
    parse_release(f"model@{request.version}")
    if request.counter is not None:
        return request.counter
    if request.version.isdecimal():
        return int(request.version)
    raise ContractError(
        "bad-id",
        f"The version {request.version!r} is not a number, so it does not say which release is newer.",
        hint="Add --counter N, higher than that of every earlier release of the model.",
    )


def _load(workshop: Child, path: Path, function: str, work: _Work) -> load.SourceFacts:
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


def _make(workshop: Child, facts: load.SourceFacts, work: _Work) -> list[Candidate]:
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
            _make_one(candidate, bench, work)
    if not candidates:
        raise ContractError(
            "unknown-recipe",
            f"The recipe {work.recipe.name} makes nothing that this source can become: {', '.join(facts.formats)}.",
            hint="Name another recipe with --recipe.",
        )
    return candidates


def _make_one(candidate: Candidate, bench: Bench, work: _Work) -> None:
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


def _examine(
    examiner: Child, workshop: Child, facts: load.SourceFacts, candidates: list[Candidate], work: _Work
) -> None:
    """Load each again in its runtime, run the whole evaluation set, and judge it against float."""
    reference = data.load(work.folder / load.REFERENCE)
    labels = data.load(work.folder / load.LABELS)
    baseline = _score(workshop, facts, reference, work.folder / load.REFERENCE, labels, reference, work)
    for candidate in candidates:
        if candidate.spec is None:
            continue
        with work.stage("examine", f"Running {candidate.label} on {facts.samples} samples"):
            try:
                work.examined += 1
                folder = str(work.folder / "examined" / str(work.examined))
                candidate.examined = examiner.call(
                    examine.examine, candidate.spec, str(work.folder), folder, words=Words(candidate.label)
                )
                outputs = data.load(candidate.examined.outputs)
                scores = _score(workshop, facts, outputs, candidate.examined.outputs, labels, reference, work)
                candidate.judgement = evaluate.judge(facts.metric, scores, baseline, candidate.budget_pp)
            except ContractError as error:
                if candidate.variant.required or error.code == "source-invalid" or is_full(work.folder):
                    raise
                candidate.error = error


def _search(
    examiner: Child, workshop: Child, facts: load.SourceFacts, candidates: list[Candidate], work: _Work
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
            _make_one(candidate, bench, work)
            _examine(examiner, workshop, facts, [candidate], work)
            float_one = find_float(floats, candidate)
            if bench.target.hardware_class in ACCEPTS[work.host] and candidate.examined and float_one:
                with work.stage("measure", f"Timing {candidate.label}"):
                    _time(examiner, [float_one, candidate], work, rounds=_SEARCH_ROUNDS)
                candidate.float_ratio = _ratio(float_one, candidate)
            return candidate

        share = work.request.search_s / len(work.targets)
        kept, tried = search.explore(target, tuple(facts.formats), attempt, share)
        candidates += kept
        trials += tried
    return trials


#: Enough rounds to tell a candidate from float while searching; what is kept is measured in full with the others.
_SEARCH_ROUNDS = 40


def _score(
    workshop: Child,
    facts: load.SourceFacts,
    outputs: data.DataSet,
    file: Path,
    labels: data.DataSet,
    reference: data.DataSet,
    work: _Work,
) -> evaluate.Scores:
    if not facts.own_metric:
        return evaluate.score(outputs, labels, reference)
    words = Words("The source's metric", raised="source-raised", hung="source-hung", died="source-raised")
    scores = workshop.call(
        load.own_scores, str(file), str(work.folder), words=words, timeout_s=work.request.timeout_s
    )
    return np.asarray(scores, dtype=np.float64)


def _measure(examiner: Child, candidates: list[Candidate], work: _Work) -> None:
    """Latency and memory of what this machine may run; all of a target's candidates in one interleaved run."""
    for target in work.targets:
        mine = [c for c in candidates if c.target is target and c.examined]
        if target.hardware_class not in ACCEPTS[work.host] or not mine:
            continue
        with work.stage("measure", f"Measuring {len(mine)} candidates for {target.name}"):
            _time(examiner, mine, work)
            for candidate in mine:
                with Child(work.folder.parent / "memory.log") as alone:
                    candidate.cost = alone.call(
                        memory.cost, candidate.spec, str(work.folder), words=Words("Measuring memory")
                    )
            for candidate in mine:
                candidate.float_ratio = _ratio(find_float(candidates, candidate), candidate)


def _time(examiner: Child, candidates: list[Candidate], work: _Work, rounds: int = latency.ROUNDS) -> None:
    specs = [c.spec for c in candidates if c.spec]
    words = Words("Measuring latency")
    times = examiner.call(latency.measure, specs, str(work.folder), rounds, words=words)
    for candidate, found in zip(candidates, times, strict=True):
        candidate.latency = found


def _ratio(float_one: Candidate | None, candidate: Candidate) -> latency.Ratio | None:
    if float_one is None or float_one.latency is None or candidate.latency is None:
        return None
    return latency.ratio(float_one.latency, candidate.latency)


def _emulate(machine: Path | None, candidates: list[Candidate], work: _Work) -> None:
    """Run what this machine cannot measure on its target's emulated processor; what fails there is rejected."""
    for candidate in candidates if machine else ():
        if not emulate.able(candidate):
            continue
        with work.stage("emulate", f"Running {candidate.label} on an emulated {candidate.target.emulated_cpu}"):
            try:
                assert machine
                candidate.emulation = emulate.emulate(candidate, work.folder, machine)
            except ContractError as error:
                candidate.error = error


def _package(
    about: package.Identity, candidates: list[Candidate], trials: list[search.Trial], folder: Path, work: _Work
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
