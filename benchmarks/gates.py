"""How often a gate is wrong, what it finds and when: simulated fleets through the real histograms, beside naive tests."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import binomtest

from benchmarks.common import arguments, show, write
from benchmarks.gating import waits
from benchmarks.gating.cases import ENDS, RULES, SLOWDOWNS, Found, Kind, Outcome, judge_fleet
from benchmarks.gating.fleets import REQUESTS, WINDOWS
from benchmarks.gating.kept import ALL, TESTS, Kept
from benchmarks.gating.plot import draw
from edgelift_fleet.rollout.gates.draws import ways
from edgelift_fleet.rollout.gates.shares import suffices
from edgelift_fleet.simulate.noise import Noise

#: How often it says how far it is.
_TELL_S = 5


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--fleets", type=int, default=2000, help="of each case (2000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, default=0, help="of the first fleet")
    parser.add_argument(
        "--kept", type=Path, metavar="FILE", help="keep each fleet there, and go on where it was stopped"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw what is found, over the slowdown")
    parsed = parser.parse_args()
    began, seeds = time.monotonic(), range(parsed.seed, parsed.seed + parsed.fleets)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found, stopped = _run(seeds, parsed.jobs, Kept(parsed.kept))
    if not found:
        sys.exit("stopped before the first fleet was done")
    cases = _cases(found)
    figures = {**_summary(cases), "fleets": len(found), "seconds": round(time.monotonic() - began), "cases": cases}
    write(parsed.json, figures)
    _print(cases)
    if parsed.plot:
        parsed.plot.write_text(draw(cases))
    wrong = [name for name, rate in figures["false_alarm_rate"].items() if rate["low"] > RULES.alpha]
    print(f"{figures['fleets']} fleets a case, {figures['seconds']} s; false alarms: " + _said(figures))
    if stopped:
        sys.exit(f"stopped after {len(found)} of {len(seeds)} fleets")
    sys.exit(f"more false alarms than {RULES.alpha:.0%}: {', '.join(wrong)}" if wrong else 0)


def _run(seeds: range, jobs: int, kept: Kept) -> tuple[list[Found], bool]:
    """What was said of each fleet that is done, and was it stopped before all were?"""
    missing = [seed for seed in seeds if seed not in kept.found]
    began = told = time.monotonic()
    stopped = False
    try:
        for done, (seed, said) in enumerate(_simulated(missing, jobs), start=1):
            kept.add(seed, said)
            now = time.monotonic()
            if now - told > _TELL_S:
                told, left = now, (len(missing) - done) * (now - began) / done
                of = f"{len(seeds) - len(missing) + done} of {len(seeds)} fleets"
                print(f"{of}, about {left / 60:.0f} min left", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stopped = True
    return [kept.found[seed] for seed in seeds if seed in kept.found], stopped


def _simulated(seeds: list[int], jobs: int) -> Iterator[tuple[int, Found]]:
    """Fleet by fleet in the order of their seeds: which are done when it is stopped must not hang on what they are like."""
    if not seeds:
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(jobs, _leave_stopping_to_the_parent) as pool:
        yield from zip(seeds, pool.imap(_judge, seeds, chunksize=1), strict=True)


def _leave_stopping_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cases(found: list[Found]) -> list[dict[str, Any]]:
    return [_case(*key, [said[key] for said in found]) for key in ALL if key in found[0]]


def _judge(seed: int) -> Found:
    return judge_fleet(seed) | waits.judge_waiting(seed)


def _case(kind: Kind, slowdown: float, test: str, said: list[Outcome]) -> dict[str, Any]:
    alarms = [one.alarm for one in said if one.alarm is not None]
    interval = binomtest(len(alarms), len(said)).proportion_ci(0.95, method="exact")
    able = suffices(ways([(kind.members, kind.controls)] * kind.classes), RULES.alpha)
    return {
        "case": _name(kind),
        "test": test,
        "members": kind.members * kind.classes,
        "controls": kind.controls * kind.classes,
        "classes": kind.classes,
        "slow_classes": kind.slow_classes,
        "slowdown": slowdown,
        "stated_rate": (RULES.alpha if able else None) if test == "gate" else None,
        "traffic": kind.traffic or "steady",
        "n": len(said),
        "alarms": len(alarms),
        "rate": len(alarms) / len(said),
        "low": round(float(interval.low), 5),
        "high": round(float(interval.high), 5),
        "median_delay_min": median(alarms) if alarms else None,
        "unmeasured": sum(one.unmeasured for one in said) / len(said),
        "last_look_min": median(one.looked for one in said),
    }


def _name(kind: Kind) -> str:
    traffic = f", {kind.traffic}" if kind.traffic else ""
    if kind.classes == 1:
        return f"{kind.members} against {kind.controls}{traffic}"
    slow = "each" if kind.slow_classes == kind.classes else f"{kind.slow_classes}"
    return f"{kind.classes} × {kind.members} against {kind.controls}, {slow} slow{traffic}"


def _summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    gate = [case for case in cases if case["test"] == "gate"]
    worst = {
        name: max((c for c in gate if c["slowdown"] == slowdown and c["stated_rate"]), key=lambda c: c["rate"])
        for name, slowdown in (("no_change", 0.0), ("allowed", RULES.slower))
    }
    kept = ("case", "rate", "n", "low", "high")
    return {
        "alpha": RULES.alpha,
        "allowed_slowdown": RULES.slower,
        "looks_min": ENDS,
        "noise": {**vars(Noise()), "windows": WINDOWS, "requests_a_window": REQUESTS},
        "traffic": {name: vars(traffic) for name, traffic in waits.TRAFFIC.items()},
        "false_alarm_rate": {name: {key: case[key] for key in kept} for name, case in worst.items()},
        "power": [
            {key: case[key] for key in ("case", "slowdown", "rate", "median_delay_min", "n", "unmeasured")}
            for case in gate
            if case["slowdown"] > RULES.slower
        ],
    }


def _said(figures: dict[str, Any]) -> str:
    rates = figures["false_alarm_rate"]
    return "; ".join(
        f"{name.replace('_', ' ')} {rate['rate']:.2%} at most (from {rate['low']:.2%}, {rate['case']})"
        for name, rate in rates.items()
    )


def _print(cases: list[dict[str, Any]]) -> None:
    rows = []
    for name in dict.fromkeys(case["case"] for case in cases):
        for test in TESTS:
            mine = {c["slowdown"]: c for c in cases if (c["case"], c["test"]) == (name, test)}
            if mine:
                stated = "no stated rate" if test == "gate" and mine[0.0]["stated_rate"] is None else ""
                rows.append([name, stated or test, *(_cell(mine.get(slowdown)) for slowdown in SLOWDOWNS)])
    columns = [f"+{slowdown:.0%}" + (" (allowed)" if slowdown == RULES.slower else "") for slowdown in SLOWDOWNS]
    show("called bad, and the median minute", rows, ["boards against controls", "test", *columns])


def _cell(case: dict[str, Any] | None) -> str:
    if case is None:
        return "–"
    delay = f" ({case['median_delay_min']:.0f} min)" if case["alarms"] else ""
    unmeasured = f", {case['unmeasured']:.0%} unmeasured" if case["unmeasured"] else ""
    return f"{case['rate']:.1%}{delay}{unmeasured}"


if __name__ == "__main__":
    main()
