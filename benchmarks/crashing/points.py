"""Counting a scenario's durable operations, and breaking it at one of them, once or lastingly.

A point is `phase/operation and place/number`, as `FaultyDisk` names it: other threads' writes don't shift it. A
clean run records all of them. A point that another run did not come to is tried again a few times; one that never
came is told as unreached, never dropped.
"""

import random
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.crashing.rig import DEVICE, UNSEEN, Rig
from benchmarks.crashing.scenarios import SCENARIOS, Scenario, begin, judge, prepare, serving_faults, settled
from edgelift_agent.testing.host import LONG_S

MODES = ("kill", "ENOSPC", "EIO", "EROFS")
ERRORS = MODES[1:]
#: Clean runs by which points are counted; those that only some of them had are told apart.
CLEAN_RUNS = 2
TRIES = 4
#: Starts that a lasting fault outlives.
RESTARTS = 2


@dataclass(frozen=True)
class Case:
    """One fault of one scenario."""

    scenario: str
    point: str
    mode: str
    lasting: bool = False

    @property
    def phase(self) -> str:
        return self.point.partition("/")[0]

    def __str__(self) -> str:
        return f"{self.scenario} {self.mode}{' lasting' if self.lasting else ''} at {self.point}"


@dataclass
class Outcome:
    """What a case came to; `faults` names what is wrong, empty for a good end."""

    case: Case
    reached: bool = False
    tries: int = 0
    faults: list[str] = field(default_factory=list)
    log: str = ""


class Bench:
    """Prepared device folders and counted points below one folder."""

    def __init__(self, root: Path, clean_runs: int = CLEAN_RUNS) -> None:
        self._root, self._clean_runs = root, clean_runs

    def count(self, scenario: Scenario) -> list[str]:
        """The scenario's points in the order in which a clean run came to them: those of every clean run."""
        prepared = self._root / f"{scenario.name}-prepared"
        prepare(scenario, prepared)
        runs = [self._clean_run(scenario, prepared, number) for number in range(self._clean_runs)]
        return [point for point in runs[0] if all(point in run for run in runs)]

    def _clean_run(self, scenario: Scenario, prepared: Path, number: int) -> list[str]:
        folder = self._root / f"{scenario.name}-clean-{number}"
        rig = _copy(prepared, folder)
        record = folder / "record"
        try:
            begin(rig, scenario)
            rig.start("--record", str(record))
            if scenario.order:
                rig.order(scenario.order)
            done = rig.wait(lambda: settled(rig, scenario), LONG_S, traffic=scenario.requests)
            faults = judge(rig, scenario, done=done)
            code = rig.stop()
        finally:
            rig.close()
        if faults or code:
            log = Path(rig.log).read_text()[-4000:]
            raise RuntimeError(f"{scenario.name} fails without any fault: {faults} (exit {code})\n{log}")
        points = record.read_text().splitlines()
        shutil.rmtree(folder, ignore_errors=True)
        return points

    def run(self, case: Case) -> Outcome:
        """Break the scenario there, judge the end; up to `TRIES` times until the point was reached."""
        scenario = SCENARIOS[case.scenario]
        outcome = Outcome(case)
        while not outcome.reached and outcome.tries < TRIES:
            outcome.tries += 1
            name = f"{case.scenario}-{case.mode}-{case.lasting}-{case.point.replace('/', '_').replace(' ', '_')}"
            folder = self._root / name
            rig = _copy(self._root / f"{case.scenario}-prepared", folder)
            try:
                begin(rig, scenario)
                (_break_lastingly if case.lasting else _break_once)(rig, scenario, outcome)
            finally:
                rig.close()
                if outcome.faults:
                    outcome.log = Path(rig.log).read_text()[-6000:] if Path(rig.log).exists() else ""
                shutil.rmtree(folder, ignore_errors=True)
            if outcome.faults:
                break
        return outcome

    def run_in_phase(self, case: Case, points: Sequence[str]) -> list[Outcome]:
        """Break the scenario there, or, when no try comes to it, at another of `points` of the same phase.

        A clean run's points need not come again under load: whether a window of telemetry closes while an update
        reports, or just after, is for time to say. The last outcome is the one that was reached, if any was.
        """
        outcomes: list[Outcome] = []
        for point in [case.point, *(p for p in points if p != case.point and p.startswith(f"{case.phase}/"))]:
            outcomes.append(self.run(replace(case, point=point)))
            if outcomes[-1].reached or outcomes[-1].faults:
                break
        return outcomes


def _copy(prepared: Path, folder: Path) -> Rig:
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.sock", "agent.log")
    shutil.copytree(prepared, folder, symlinks=True, ignore=ignored)
    return Rig(folder)


def _break_once(rig: Rig, scenario: Scenario, outcome: Outcome) -> None:
    """One operation fails, or the process ends right after it; the next start is sound."""
    case, mark = outcome.case, rig.folder / "struck"
    rig.start("--fault", case.mode, "--at", case.point, "--mark", str(mark))
    if scenario.order:
        rig.order(scenario.order)
    rig.wait(lambda: settled(rig, scenario) or not rig.alive, LONG_S, traffic=scenario.requests)
    # Stopping writes too: let the fault strike there as well, before the end state is judged.
    code = rig.stop()
    outcome.reached = mark.exists()
    if not outcome.reached:
        return
    wanted = (-signal.SIGKILL, UNSEEN) if case.mode == "kill" else (0,)
    if code not in wanted:
        outcome.faults.append(f"the agent ended with {code}")
    rig.start()
    _end_well(rig, scenario, outcome)


def _break_lastingly(rig: Rig, scenario: Scenario, outcome: Outcome) -> None:
    """Everything fails from there on, over restarts; then the fault ends and the running agent heals."""
    case, mark = outcome.case, rig.folder / "struck"
    arguments = ("--fault", case.mode, "--at", case.point, "--mark", str(mark), "--lasting")
    rig.start(*arguments)
    if scenario.order:
        rig.order(scenario.order, timeout_s=3.0)
    rig.wait(lambda: mark.exists() or settled(rig, scenario) or not rig.alive, LONG_S, traffic=scenario.requests)
    if mark.exists() and rig.alive:
        _look_while_broken(rig, scenario, outcome, "at once")
    code = rig.stop()
    outcome.reached = mark.exists()
    if not outcome.reached:
        return
    if code:
        outcome.faults.append(f"the agent ended with {code}")
    for restart in range(1, RESTARTS + 1):
        rig.start(*arguments)
        _look_while_broken(rig, scenario, outcome, f"restart {restart}")
        if restart < RESTARTS and (code := rig.stop()):
            outcome.faults.append(f"the agent ended with {code} after restart {restart}")
    mark.unlink()
    _end_well(rig, scenario, outcome)
    if not rig.wait(lambda: not rig.degraded() and not _told_degraded(rig), LONG_S):
        outcome.faults.append("still degraded after the fault's end")


def _look_while_broken(rig: Rig, scenario: Scenario, outcome: Outcome, when: str) -> None:
    """What is committed serves at the first answer; status and host are told."""
    if not rig.wait(lambda: rig.is_live or not rig.alive, LONG_S) or not rig.alive:
        outcome.faults.append(f"{when}: the agent does not live")
        return
    if when == "at once" and scenario.requests:
        # The model in probation is a bad one: until it is swapped back, which no disk may prevent, it fails.
        rig.wait(lambda: not serving_faults(rig, scenario.meanwhile), LONG_S, traffic=True)
    outcome.faults += [f"{when}: {fault}" for fault in serving_faults(rig, scenario.meanwhile)]
    if when == "at once":
        return  # what is broken is told when something needs it: every start does
    if not rig.wait(lambda: bool(rig.degraded()), LONG_S):
        outcome.faults.append(f"{when}: its status does not say degraded")
    if not rig.wait(lambda: _told_degraded(rig), LONG_S):
        outcome.faults.append(f"{when}: the host was not told degraded")


def _told_degraded(rig: Rig) -> bool:
    report = rig.host.last(DEVICE)
    return report is not None and bool(report.degraded)


def _end_well(rig: Rig, scenario: Scenario, outcome: Outcome) -> None:
    if scenario.order and not settled(rig, scenario):
        rig.order(scenario.order)
    done = rig.wait(lambda: settled(rig, scenario), LONG_S, traffic=scenario.requests)
    outcome.faults += judge(rig, scenario, done=done)


def every_case(scenario: str, points: Sequence[str], modes: Iterable[str], *, lasting: bool) -> list[Case]:
    """Every point with every mode; and, if wanted, once more with one lasting error, each in its turn."""
    once = [Case(scenario, point, mode) for mode in modes for point in points]
    errors = [mode for mode in modes if mode in ERRORS]
    if not lasting or not errors:
        return once
    return once + [Case(scenario, point, errors[n % len(errors)], lasting=True) for n, point in enumerate(points)]


def drawn_cases(
    scenario: str, points: Sequence[str], seed: int | str, *, per_phase: int, lasting: int
) -> list[Case]:
    """A sample that leaves out no state: `per_phase` points of each phase, and `lasting` lasting faults."""
    chosen = random.Random(f"{seed}-{scenario}")
    by_phase: dict[str, list[str]] = {}
    for point in points:
        by_phase.setdefault(point.partition("/")[0], []).append(point)
    drawn = [(p, False) for found in by_phase.values() for p in chosen.sample(found, min(per_phase, len(found)))]
    drawn += [(point, True) for point in chosen.sample(list(points), min(lasting, len(points)))]
    return [Case(scenario, point, chosen.choice(ERRORS if last else MODES), lasting=last) for point, last in drawn]
