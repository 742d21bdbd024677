"""The next stages: what a candidate answers, beside float; what it costs; and its target's processor, emulated.

A candidate that fails here is kept with its error, for the report; only a required one ends the build.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgelift_builder import data, emulate
from edgelift_builder.candidate import Candidate, find_float
from edgelift_builder.child import Child, Words
from edgelift_builder.facts import LABELS, REFERENCE, SourceFacts
from edgelift_builder.measure import evaluate, examine, latency, memory
from edgelift_builder.source import held
from edgelift_builder.staging import is_full
from edgelift_builder.work import Work
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import ACCEPTS


def examine_all(
    examiner: Child, workshop: Child, facts: SourceFacts, candidates: list[Candidate], work: Work
) -> None:
    """Load each again in its runtime, run the whole evaluation set, and judge it against float."""
    reference = data.load(work.folder / REFERENCE)
    labels = data.load(work.folder / LABELS)
    baseline = _score(workshop, facts, reference, work.folder / REFERENCE, labels, reference, work)
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


def _score(
    workshop: Child,
    facts: SourceFacts,
    outputs: data.DataSet,
    file: Path,
    labels: data.DataSet,
    reference: data.DataSet,
    work: Work,
) -> evaluate.Scores:
    if not facts.own_metric:
        return evaluate.score(outputs, labels, reference)
    words = Words("The source's metric", raised="source-raised", hung="source-hung", died="source-raised")
    scores = workshop.call(
        held.own_scores, str(file), str(work.folder), words=words, timeout_s=work.request.timeout_s
    )
    return np.asarray(scores, dtype=np.float64)


def measure_all(examiner: Child, candidates: list[Candidate], work: Work) -> None:
    """Latency and memory of what this machine may run; all of a target's candidates in one interleaved run."""
    for target in work.targets:
        mine = [c for c in candidates if c.target is target and c.examined]
        if target.hardware_class not in ACCEPTS[work.host] or not mine:
            continue
        with work.stage("measure", f"Measuring {len(mine)} candidates for {target.name}"):
            time_together(examiner, mine, work)
            for candidate in mine:
                with Child(work.folder.parent / "memory.log") as alone:
                    candidate.cost = alone.call(
                        memory.cost, candidate.spec, str(work.folder), words=Words("Measuring memory")
                    )
            for candidate in mine:
                candidate.float_ratio = float_ratio(find_float(candidates, candidate), candidate)


def time_together(examiner: Child, candidates: list[Candidate], work: Work, rounds: int = latency.ROUNDS) -> None:
    """Latency of all of them in one interleaved run of at most `rounds` rounds."""
    specs = [c.spec for c in candidates if c.spec]
    words = Words("Measuring latency")
    times = examiner.call(latency.measure, specs, str(work.folder), rounds, words=words)
    for candidate, found in zip(candidates, times, strict=True):
        candidate.latency = found


def float_ratio(float_one: Candidate | None, candidate: Candidate) -> latency.Ratio | None:
    """How many times as fast as float; None where one of the two was not timed."""
    if float_one is None or float_one.latency is None or candidate.latency is None:
        return None
    return latency.ratio(float_one.latency, candidate.latency)


def emulate_all(machine: Path | None, candidates: list[Candidate], work: Work) -> None:
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
