"""Models timed beside each other: one session each, one thread, round-robin in an order drawn anew, many short rounds, each
model warm as the builder has it.

In several sittings, each in a process of its own: two sessions of one and the same file differ by a per cent or two for as
long as they live, by where their weights came to lie. What rounds of one sitting share is no evidence.
"""

import gc
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from edgelift_builder import calls, data
from edgelift_builder.child import Child, OnFailure
from edgelift_builder.facts import EVALUATION
from edgelift_builder.judge.measure import Numbers
from edgelift_builder.measure.latency import settling, warm_us
from edgelift_builder.measure.runtimes import ModelSpec, open_session

SITTINGS = 5
WARM_UP, LEAST, MOST = 20, 30, 500

#: Rounds drawn together, for neighbours share what the machine did meanwhile; and how often.
BLOCK, DRAWS = 10, 2000


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
    """Column `one`'s time ÷ `other`'s with its 95 % interval: the median over sittings of the ratio of medians, by a
    paired bootstrap of sittings and, within them, of blocks of rounds.

    Blocks: H. R. Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17
    (1989). Two stages: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.
    """
    drawn = np.random.default_rng(0)
    within = np.array([_redrawn(times[:, one], times[:, other], drawn) for times in found])
    rows = drawn.integers(0, len(found), (DRAWS, len(found)))
    low, high = np.percentile(np.median(within[rows, np.arange(DRAWS)[:, None]], axis=1), (2.5, 97.5))
    value = np.median([np.median(times[:, one]) / np.median(times[:, other]) for times in found])
    return [round(float(v), 4) for v in (value, low, high)]


def _redrawn(one: Numbers, other: Numbers, drawn: np.random.Generator) -> Numbers:
    """`float64[DRAWS]`: the ratio of medians, rounds drawn anew."""
    count, block = len(one), min(BLOCK, len(one))
    starts = drawn.integers(0, count - block + 1, (DRAWS, -(-count // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)
    return np.median(one[rows], axis=1) / np.median(other[rows], axis=1)
