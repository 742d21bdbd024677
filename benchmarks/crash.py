"""Breaks the agent at every durable operation of an update, once and lastingly, and looks at what serves then."""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.common import arguments, show, write
from benchmarks.crashing.points import ERRORS, MODES, Bench, Case, Outcome, drawn_cases, every_case
from benchmarks.crashing.rig import preload
from benchmarks.crashing.scenarios import SCENARIOS

#: Progress is told this often, cases.
TELL_EVERY = 25


def main() -> None:
    parsed = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    preload()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgelift-crash-") as folder:
        bench = Bench(Path(folder))
        cases = _cases(parsed, bench)
        outcomes = _run(bench, cases, parsed.workers)
    figures = summary(outcomes)
    _tell(outcomes, figures, time.monotonic() - started)
    write(parsed.json, figures)
    sys.exit(1 if figures["bad_end_states"] or figures["unreached"] else 0)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--only", choices=["once", "lasting"], help="one kind of faults alone")
    parser.add_argument("--sample", type=int, metavar="N", help="only N points of each state, and N lasting ones")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--slice", default="1/1", metavar="I/N", help="the I-th of N equal parts of all cases")
    parser.add_argument("--workers", type=int, default=4, help="cases that run at once (4: most of it is waiting)")
    return parser.parse_args()


def _cases(parsed: argparse.Namespace, bench: Bench) -> list[Case]:
    """Count every scenario's operations, then choose."""
    names = parsed.scenario or list(SCENARIOS)
    modes = parsed.mode or MODES
    cases: list[Case] = []
    with ThreadPoolExecutor(parsed.workers) as pool:
        for name, points in zip(names, pool.map(bench.count, [SCENARIOS[n] for n in names]), strict=True):
            phases = Counter(point.partition("/")[0] for point in points)
            print(f"{name:18} {len(points):4} operations: {dict(phases)}", file=sys.stderr, flush=True)
            if parsed.sample:
                cases += drawn_cases(name, points, parsed.seed, per_phase=parsed.sample, lasting=parsed.sample)
            else:
                cases += every_case(name, points, modes, lasting=parsed.only != "once")
    if parsed.only:
        cases = [case for case in cases if case.lasting == (parsed.only == "lasting")]
    part, _, parts = parsed.slice.partition("/")
    return cases[int(part) - 1 :: int(parts)]


def _run(bench: Bench, cases: Sequence[Case], workers: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    started = time.monotonic()
    pool = ThreadPoolExecutor(workers)
    try:
        for run in as_completed([pool.submit(bench.run, case) for case in cases]):
            outcome = run.result()
            outcomes.append(outcome)
            for fault in outcome.faults:
                print(f"BAD {outcome.case}: {fault}", file=sys.stderr, flush=True)
            if outcome.faults:
                print(outcome.log, file=sys.stderr, flush=True)
            if len(outcomes) % TELL_EVERY == 0 or len(outcomes) == len(cases):
                bad = sum(bool(o.faults) for o in outcomes)
                spent = time.monotonic() - started
                print(f"{len(outcomes)}/{len(cases)} cases, {bad} bad, {spent:.0f} s", file=sys.stderr, flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    return outcomes


def summary(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The figures: points that were hit, those with a bad end, those never reached; by scenario and fault."""
    by_scenario = []
    for name in SCENARIOS:
        mine = [outcome for outcome in outcomes if outcome.case.scenario == name]
        if mine:
            by_scenario.append(
                {"scenario": name, **_figures(mine), "states": sorted({o.case.phase for o in mine})}
            )
    return {**_figures(outcomes), "by_scenario": by_scenario}


def _figures(outcomes: Sequence[Outcome]) -> dict[str, int]:
    hit = [outcome for outcome in outcomes if outcome.reached]
    return {
        "points": sum(not outcome.case.lasting for outcome in hit),
        "lasting_points": sum(outcome.case.lasting for outcome in hit),
        "bad_end_states": sum(bool(outcome.faults) for outcome in outcomes),
        "unreached": len(outcomes) - len(hit),
    }


def _tell(outcomes: Sequence[Outcome], figures: dict[str, object], spent_s: float) -> None:
    kinds = [(mode, False) for mode in MODES] + [(mode, True) for mode in ERRORS]
    rows = []
    for name in SCENARIOS:
        for mode, lasting in kinds:
            mine = [o for o in outcomes if (o.case.scenario, o.case.mode, o.case.lasting) == (name, mode, lasting)]
            if mine:
                figure = _figures(mine)
                hit = figure["points"] + figure["lasting_points"]
                kind = f"{mode}{', lasting' if lasting else ''}"
                rows.append([name, kind, hit, figure["bad_end_states"], figure["unreached"]])
    show("crash points", rows, ["scenario", "fault", "points", "bad", "unreached"])
    for outcome in outcomes:
        for fault in outcome.faults:
            print(f"BAD {outcome.case}: {fault}")
        if not outcome.reached:
            print(f"UNREACHED {outcome.case} ({outcome.tries} tries)")
    print(
        ", ".join(f"{name} {value}" for name, value in figures.items() if name != "by_scenario"),
        f"({spent_s:.0f} s)",
    )


if __name__ == "__main__":
    main()
