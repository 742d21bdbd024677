"""The next stages: what a candidate answers, beside float; what it costs; and its target's processor, emulated.

A candidate that fails here stays with its error, for the report; only a required one ends the build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgelift_builder import data, emulate
from edgelift_builder.candidate import Examined, Failed, Made, Outcome, find_float
from edgelift_builder.case_data import read_case
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import SourceFacts
from edgelift_builder.judge import labelled, telling
from edgelift_builder.judge.panel import Panel
from edgelift_builder.judge.scored import Scored
from edgelift_builder.measure import examine, latency, memory
from edgelift_builder.measure.guest import Guests
from edgelift_builder.source import choosing, held_out, own_metric
from edgelift_builder.staging import is_full
from edgelift_builder.work import Work
from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import ACCEPTS


class Assessor:
    """Judges candidates by the float model's own answers, and measures them.

    Args:
        runtimes: the process that runs artifacts; it holds no user code.
        source: the process that holds the source, and so its own metric.
        facts: of the source.
        work: what the stages share.
        samples: the folder of the case that judges; the work's own when None.
    """

    def __init__(
        self, runtimes: Child, source: Child, facts: SourceFacts, work: Work, samples: Path | None = None
    ) -> None:
        self._runtimes, self._source, self._facts, self._work = runtimes, source, facts, work
        self._samples = samples or work.folder
        case = read_case(self._samples, facts.task)
        judging = (
            own_metric.by_own(facts.own, self._own_scores) if facts.own else telling.judging(case, facts.task)
        )
        allowed = work.allowed(facts)
        budgets = allowed.judging if samples is None else allowed.choosing
        self._panel = Panel(judging, case.reference, budgets)
        self._count, self._count_of_samples = 0, data.length(case.reference)
        self._reference = case.reference

    def examine(self, made: Made | Failed) -> Outcome:
        """Load it again in its runtime, run the whole evaluation set, and judge it against float."""
        if isinstance(made, Failed):
            return made
        with self._work.stage("examine", f"Running {made.label} on {self._count_of_samples} samples"):
            try:
                return self._examine(made)
            except ContractError as error:
                if made.variant.required or error.code == "source-invalid" or is_full(self._work.folder):
                    raise
                return Failed(made, error)

    def _examine(self, made: Made) -> Examined:
        self._count += 1
        folder = self._samples / "examined" / str(self._count)
        found = self._runtimes.call(
            examine.examine, made.spec, str(self._samples), str(folder), on_failure=OnFailure(made.label)
        )
        outputs = data.load(found.outputs)
        if not (
            made.is_float or made.as_it_came or self._facts.own
        ):  # held to float's, or by a metric that knows of NaN
            numbered = held_out.original if self._facts.set_aside else int
            labelled.check_artifact(outputs, self._reference, numbered)
        return made.examined(found, self._panel.opinion(outputs), guessed=self._facts.guessed)

    def _own_scores(self, outputs: data.DataSet) -> Scored:
        """By the source's own metric, which lives in its process."""
        file = self._work.folder / "to-score.npz"
        data.save(file, outputs)
        on_failure = OnFailure(
            "The source's metric", raised="source-raised", hung="source-hung", died="source-raised"
        )
        timeout_s = self._work.request.timeout_s
        found = self._source.call(
            own_metric.scores, str(file), str(self._work.folder), on_failure=on_failure, timeout_s=timeout_s
        )
        return own_metric.scored(found, data.length(outputs))

    def chooser(self) -> Assessor:
        """Who judges what a search tries: by calibration samples, so that what judges in the end was not searched by.
        Itself, where the source has no samples to spare for that.
        """
        if not self._facts.held_out:
            return self
        folder = self._work.folder / "choosing"
        with self._work.stage("examine", "Running the source on the samples that choose"):
            self._source.call(
                choosing.lay_out,
                str(self._work.folder),
                str(folder),
                self._facts.axes,
                on_failure=OnFailure(
                    "The source", raised="source-raised", hung="source-hung", died="source-raised"
                ),
                timeout_s=self._work.request.timeout_s,
            )
        return Assessor(
            self._runtimes,
            self._source,
            replace(self._facts, own=None, task=self._facts.told, set_aside=False),
            self._work,
            folder,
        )

    def measure(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Latency and memory of what this machine may run; all of a target's candidates in one interleaved run."""
        measured: dict[Outcome, Outcome] = {}
        for target in self._work.targets:
            mine = [c for c in outcomes if isinstance(c, Examined) and c.target is target]
            if target.hardware_class not in ACCEPTS[self._work.host] or not mine:
                continue
            with self._work.stage("measure", f"Measuring {len(mine)} candidates for {target.name}"):
                times = self.time(mine)
                for one in mine:
                    measured[one] = one.measured(
                        times[one], float_ratio(times, one), self._cost(one), self._work.host
                    )
        return [measured.get(outcome, outcome) for outcome in outcomes]

    def time(self, candidates: list[Examined], rounds: int = latency.ROUNDS) -> dict[Examined, latency.Latency]:
        """Latency of all of them in one interleaved run of at most `rounds` rounds."""
        specs, on_failure = [c.spec for c in candidates], OnFailure("Measuring latency")
        times = self._runtimes.call(latency.measure, specs, str(self._work.folder), rounds, on_failure=on_failure)
        return dict(zip(candidates, times, strict=True))

    def _cost(self, candidate: Examined) -> memory.Cost:
        with Child(self._work.folder.parent / "memory.log") as alone:
            return alone.call(
                memory.cost, candidate.spec, str(self._work.folder), on_failure=OnFailure("Measuring memory")
            )


def float_ratio(times: dict[Examined, latency.Latency], candidate: Examined) -> latency.Ratio | None:
    """How many times as fast as the float that was timed in the same run; None where there was none."""
    float_one = find_float(times, candidate)
    return latency.ratio(times[float_one], times[candidate]) if float_one else None


def emulate_all(machine: Path | None, outcomes: list[Outcome], work: Work) -> list[Outcome]:
    """Run what this machine cannot measure on its target's emulated processor; what fails there has failed."""
    if machine is None:
        return outcomes
    with emulate.machine_at(machine) as guests:
        return [_emulate(guests, outcome, work) for outcome in outcomes]


def _emulate(machine: Guests, outcome: Outcome, work: Work) -> Outcome:
    if isinstance(outcome, Failed) or not emulate.able(outcome):
        return outcome
    with work.stage("emulate", f"Running {outcome.label} on an emulated {outcome.target.emulated_cpu}"):
        try:
            return replace(outcome, emulation=emulate.emulate(outcome, work.folder, machine))
        except ContractError as error:
            return Failed(outcome, error)
