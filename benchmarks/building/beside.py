"""Models timed beside each other: one session each, one thread, round-robin in an order drawn anew, many short rounds, each
model warm as the builder has it.

In several sittings, each in a process of its own: two sessions of one and the same file differ by a per cent or two for as
long as they live, by where their weights came to lie. What rounds of one sitting share is no evidence.
"""

import gc
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from scipy.stats import t

from benchmarks.building.zoo import ZOO
from edgelift_builder import calls, data
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import EVALUATION
from edgelift_builder.judge.measure import Numbers
from edgelift_builder.measure.latency import settling, warm_us
from edgelift_builder.measure.runtimes import ModelSpec, open_session

SITTINGS = 9
WARM_UP, LEAST, MOST = 20, 16, 500

#: One interval is asked of every model of the zoo. With 95 % for each, of eleven that are just as fast as the plain recipe's
#: one would be called slower in every fourth run: so 95 % for all of them at once, by Bonferroni's inequality.
DOUBT = 0.05 / len(ZOO)


def sittings(specs: list[ModelSpec], data_folder: Path, folder: Path, seconds: float) -> list[Numbers]:
    """For each sitting `float64[rounds, models]`, microseconds; `seconds` for all of them, or a little longer."""
    found = []
    for number in range(SITTINGS):
        with Child(folder / "times.log") as child:
            on_failure = OnFailure("Timing beside each other")
            arguments = (specs, str(data_folder), seconds / SITTINGS, number)
            found.append(child.call(times_us, *arguments, on_failure=on_failure))
    return found


def times_us(specs: list[ModelSpec], data_folder: str, seconds: float, seed: int) -> Numbers:
    """One sitting, in a child: as many rounds as fit into `seconds`, `LEAST` to `MOST`."""
    inputs = data.load(Path(data_folder) / EVALUATION)
    samples = [calls.one(inputs, i, specs[0].axes) for i in range(min(data.length(inputs), MOST))]
    drawn = np.random.default_rng(seed)
    sessions = {
        i: open_session(specs[i]) for i in drawn.permutation(len(specs))
    }  # no place in memory is anybody's
    for i in range(WARM_UP):
        for session in sessions.values():
            session.run(samples[i % len(samples)])
    times = np.zeros((MOST, len(specs)))
    before = {column: settling(session, samples[0]) for column, session in sessions.items()}
    done, end = 0, perf_counter_ns() + seconds * 1e9
    gc.collect()
    gc.disable()
    try:
        while done < MOST and (done < LEAST or perf_counter_ns() < end):
            sample = samples[done % len(samples)]
            for column in drawn.permutation(len(specs)):
                times[done, column] = warm_us(sessions[column], sample, before[column])
            done += 1
    finally:
        gc.enable()
    return times[:done]


def ratio(found: list[Numbers], one: int, other: int) -> list[float]:
    """Column `one`'s time ÷ `other`'s with its interval: the geometric mean over sittings of the ratio of medians, and
    Student's t of their logarithms, with a doubt of `DOUBT`.
    """
    ratios = np.log([np.median(times[:, one]) / np.median(times[:, other]) for times in found])
    half = t.ppf(1 - DOUBT / 2, len(ratios) - 1) * ratios.std(ddof=1) / np.sqrt(len(ratios))
    middle = ratios.mean()
    return [round(float(np.exp(v)), 4) for v in (middle, middle - half, middle + half)]
